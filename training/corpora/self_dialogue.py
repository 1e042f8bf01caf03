"""Conversations as JSONL, one `{"id": ..., "turns": [...]}` per line.

The Self-dialogue Corpus (Fainberg et al. 2018, BSD-3-Clause) is converted to this format from a
checkout of github.com/jfainberg/self_dialogue_corpus:

    python -m training.corpora.self_dialogue CHECKOUT data/self_dialogue.jsonl.gz
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import sys
from collections.abc import Iterator
from pathlib import Path

from dialogue.atomic_file import replace_file
from dialogue.command_line import check_writable_file, command
from dialogue.text_files import numbered_lines, read_text
from dialogue.vocabulary import normalise
from training.corpora.roles import problem_of, with_speakers
from training.corpora.transcript import Complain, Complaints, Transcript, split_of


def find(folder: Path, corpus: str = "self_dialogue") -> Path:
    """Find a corpus in a folder, plain or .gz. Raises ValueError if it is not there."""
    for name in (f"{corpus}.jsonl.gz", f"{corpus}.jsonl"):
        if (folder / name).is_file():
            return folder / name
    command = "self_dialogue" if corpus == "self_dialogue" else "convert"
    raise ValueError(
        f"there is no {corpus}.jsonl(.gz) in {folder}; create it with "
        f"python -m training.corpora.{command}, or set CORPORA to the folder that has it"
    )


def read(
    path: Path,
    split: str,
    complain: Complain,
    *,
    corpus: str = "self_dialogue",
    by_answer: bool = False,
) -> Iterator[Transcript]:
    """Yield the conversations of one split, chosen by the hash of their ids.

    Malformed lines are reported. by_answer: choose the split by the hash of the answers instead, so
    that no answer occurs in two splits. A conversation whose answers belong to different splits is
    left out altogether.
    """
    for number, line in numbered_lines(path, complain):
        try:
            entry = json.loads(line)
            key, turns, speakers = entry["id"], entry["turns"], entry.get("speakers")
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            complain(
                f"{path}, line {number}: not a conversation; "
                'expected {"id": "...", "turns": ["...", ...]}'
            )
        else:
            if (
                not isinstance(key, str)
                or not isinstance(turns, list)
                or not all(isinstance(turn, str) for turn in turns)
            ):
                complain(f"{path}, line {number}: id must be a text and turns a list of texts")
            elif not turns or not all(turn.strip() for turn in turns):
                complain(f"{path}, line {number}: an empty utterance, or no turn at all")
            elif any(
                "\ud800" <= character <= "\udfff" for text in (key, *turns) for character in text
            ):
                complain(
                    f"{path}, line {number}: half a character (a lone surrogate), "
                    "which UTF-8 cannot encode"
                )
            elif problem := problem_of(speakers, turns):
                complain(f"{path}, line {number}: {problem}")
            elif {
                split_of(name) for name in (map(normalise, turns[1::2]) if by_answer else [key])
            } == {split}:
                topic = str(entry.get("topic") or "")
                yield with_speakers(Transcript(key, corpus, tuple(turns), topic=topic), speakers)


def convert(checkout: Path, out: Path) -> int:
    """Write a checkout of the public corpus as JSONL and return the number of conversations.

    Like the corpus's own script, leave out rejected assignments and blocked workers. Raises
    ValueError if the folder is not such a checkout. The file is replaced atomically.
    """
    files = sorted((checkout / "corpus").glob("*/*.csv"))
    if not files:
        raise ValueError(
            f"{checkout} has no corpus/*/*.csv; "
            "expected a checkout of jfainberg/self_dialogue_corpus"
        )
    blocked_file = checkout / "blocked_workers.txt"
    blocked = set(read_text(blocked_file).split()) if blocked_file.is_file() else set()
    conversations = {}
    for file in files:
        try:
            for row in csv.DictReader(line for _, line in numbered_lines(file, Complaints())):
                turns = list(_sentences(row))
                # As in the corpus's own script: no rejected work, no blocked workers.
                if len(turns) > 1 and not row.get("Reject") and row.get("WorkerId") not in blocked:
                    key = row["AssignmentId"]
                    conversations[key] = {"id": key, "topic": file.parent.name, "turns": turns}
        except (KeyError, csv.Error) as error:
            raise ValueError(
                f"{file} is not a table of this corpus: {type(error).__name__} {error}"
            ) from None
    lines = "".join(
        json.dumps(conversations[key], ensure_ascii=False) + "\n" for key in sorted(conversations)
    ).encode()
    out.parent.mkdir(parents=True, exist_ok=True)
    replace_file(
        out,
        lambda path: path.write_bytes(
            gzip.compress(lines, mtime=0) if out.suffix == ".gz" else lines
        ),
    )
    return len(conversations)


def _sentences(row: dict[str, str]) -> Iterator[str]:
    number = 1
    while (text := row.get(f"Answer.sentence{number}")) is not None:
        if text.strip() not in ("", "{}"):  # "{}" is Mechanical Turk's empty answer
            yield text.strip()
        number += 1


@command
def main(arguments: list[str] | None = None) -> int:
    """Convert a checkout from the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m training.corpora.self_dialogue",
        description=(convert.__doc__ or "").splitlines()[0],
    )
    parser.add_argument(
        "checkout", type=Path, help="a checkout of github.com/jfainberg/self_dialogue_corpus"
    )
    parser.add_argument("out", type=Path, help="the file to write, .jsonl or .jsonl.gz")
    options = parser.parse_args(arguments)
    check_writable_file(options.out)
    count = convert(options.checkout, options.out)
    print(f"{count} conversations written to {options.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
