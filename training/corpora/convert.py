"""Convert a corpus, as its authors publish it, to the JSONL that training reads.

    python -m training.corpora.convert empathetic empatheticdialogues data/empathetic.jsonl.gz

NAME is empathetic, synthetic_persona, personachat, photochat, meena or smalltalk. SOURCE is a file
of that corpus, or a folder that has its files at any depth. Each line of the output is one
conversation, {"id": ..., "topic": ..., "turns": [...]}. training/corpora/published.py describes the
source formats. Nothing is downloaded. Private details stay in the output:
training/corpora/cleaning.py cleans a corpus whenever it is read.
"""

from __future__ import annotations

import argparse
import gzip
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from dialogue.atomic_file import replace_file
from dialogue.command_line import check_writable_file, command
from training.corpora import published
from training.corpora.published import Conversation


class Corpus(NamedTuple):
    """A corpus: the names of its files and the function that reads one."""

    title: str
    patterns: tuple[str, ...]
    read: Callable[[Path], Iterator[Conversation]]


CORPORA = {
    "empathetic": Corpus(
        "EmpatheticDialogues",
        ("train.csv", "valid.csv", "test.csv"),
        published.empathetic,
    ),
    "synthetic_persona": Corpus(
        "Synthetic-Persona-Chat",
        ("Synthetic-Persona-Chat_*.csv", "New-Persona-New-Conversations.csv"),
        published.synthetic_persona,
    ),
    "personachat": Corpus(
        "Persona-Chat",
        ("*_self_original.txt",),
        published.personachat,
    ),
    "photochat": Corpus(
        "PhotoChat",
        ("train_*.json", "dev_*.json", "test_*.json"),
        published.photochat,
    ),
    "meena": Corpus(
        "Meena's published talks",
        ("human.txt", "meena.txt"),
        published.meena,
    ),
    "smalltalk": Corpus(
        "Microsoft's chit-chat",
        ("qna_chitchat_*.tsv", "*_QnAMaker.tsv"),
        published.smalltalk,
    ),
}


class Counts(NamedTuple):
    """How many conversations were written, and how many were left out."""

    written: int
    doubles: int
    single: int


def convert(name: str, source: Path, out: Path) -> Counts:
    """Write one corpus as JSONL, without exact duplicates and unanswered openings.

    Raises ValueError if the source is not that corpus. The file is replaced atomically, and gzipped
    if its name ends in .gz. The same source gives the same bytes.
    """
    corpus = CORPORA[name]
    texts: set[tuple[str, ...]] = set()
    lines: dict[str, bytes] = {}
    doubles = single = 0
    for path in _files(corpus, source):
        for conversation in corpus.read(path):
            if len(conversation.turns) < 2:
                single += 1
            elif conversation.turns in texts:
                doubles += 1
            elif conversation.id in lines:
                raise ValueError(f"{path}: found the id {conversation.id} twice; expected it once")
            else:
                texts.add(conversation.turns)
                lines[conversation.id] = _line(path, conversation)
    if not lines:
        expected = f"{corpus.title} with two turns or more"
        raise ValueError(f"{source}: found no conversation; expected {expected}")
    content = b"".join(lines.values())
    packed = gzip.compress(content, mtime=0) if out.suffix == ".gz" else content
    out.parent.mkdir(parents=True, exist_ok=True)
    replace_file(out, lambda path: path.write_bytes(packed))
    return Counts(len(lines), doubles, single)


def _files(corpus: Corpus, source: Path) -> list[Path]:
    if source.is_file():
        return [source]
    named = {path for pattern in corpus.patterns for path in source.rglob(pattern)}
    found = sorted(path for path in named if path.is_file())
    if not found:
        what = "no such file" if source.is_dir() else "nothing"
        expected = f"{' or '.join(corpus.patterns)} of {corpus.title}"
        raise ValueError(f"{source}: found {what} there; expected {expected}")
    return found


def _line(path: Path, conversation: Conversation) -> bytes:
    try:
        return (json.dumps(conversation._asdict(), ensure_ascii=False) + "\n").encode()
    except UnicodeEncodeError:
        problem = "half a character (a lone surrogate)"
        where = f"{path}, {conversation.id}"
        raise ValueError(f"{where}: found {problem}; expected whole ones") from None


@command
def main(arguments: list[str] | None = None) -> int:
    """Convert one corpus from the command line."""
    about = "Convert a corpus, as its authors publish it, to the JSONL that training reads."
    names = ", ".join(CORPORA)
    parser = argparse.ArgumentParser(prog="python -m training.corpora.convert", description=about)
    parser.add_argument("name", metavar="NAME", choices=CORPORA, help=f"one of {names}")
    parser.add_argument("source", metavar="SOURCE", type=Path, help="one of its files, or a folder")
    parser.add_argument("out", metavar="OUT", type=Path, help="a .jsonl or .jsonl.gz to write")
    options = parser.parse_args(arguments)
    check_writable_file(options.out, option="OUT")
    counts = convert(options.name, options.source, options.out)
    left_out = f"{counts.doubles} duplicates and {counts.single} with fewer than two turns left out"
    print(f"{counts.written} conversations written to {options.out}; {left_out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
