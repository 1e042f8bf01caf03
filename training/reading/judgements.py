"""Judgements: candidates that a reader has judged in their contexts, as a file of the project.

    {"corpus": "companion", "id": "...", "context": ["...", "..."], "candidates": [
        {"reply": "...", "sensible": 1, "specific": 0}, {"reply": "...", "sensible": 0, "specific": 0, "fault": "asks"}]}

Contexts of the project's own talk stand there as text. Those of public corpora stand there as "id" and
"turn", the index of the turn that is answered, and are joined when the file is loaded; a candidate
that is the true reply has "true" in place of its text. So nothing of others is copied.
"""

from __future__ import annotations

import gzip
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dialogue.atomic_file import replace_file
from dialogue.text_files import decoded
from training import corpora
from training.corpora.transcript import Complaints, Transcript

FILE = Path(corpora.__file__).parent / "judgements.jsonl.gz"
OWN = ("companion", "everyday")  # corpora whose text stands in the file
MOST_TURNS = 12  # of a context that is joined


@dataclass(frozen=True)
class JudgedReply:
    """A candidate and what a reader found of it. is_true: it is the corpus's own reply."""

    text: str
    sensible: bool
    specific: bool
    fault: str = ""
    is_true: bool = False


@dataclass(frozen=True)
class Judged:
    """A context, its last turn the person's, and its judged candidates."""

    corpus: str
    id: str
    turns: tuple[str, ...]
    replies: tuple[JudgedReply, ...]


def load(path: Path = FILE) -> tuple[list[Judged], Counter[str]]:
    """Read judgements. Return them, and how many contexts of which corpus are left out because it is not here.

    Raises ValueError that names the line where one is no judged context.
    """
    entries = read_entries(path)
    wanted = {entry["corpus"] for entry in entries if "turn" in entry}
    transcripts: dict[tuple[str, str], Transcript] = {}
    missing: Counter[str] = Counter()
    for name in sorted(wanted):
        try:
            found = corpora.load([name], "train", Complaints())
        except ValueError:
            continue
        transcripts |= {(name, transcript.id): transcript for transcript in found}
    judged = []
    for number, entry in enumerate(entries, start=1):
        try:
            one = _joined(entry, transcripts)
        except (KeyError, TypeError, IndexError, ValueError) as error:
            raise ValueError(
                f"{path}, line {number}: no judged context ({error!r}); see {__name__}"
            ) from None
        if one is None:
            missing[entry["corpus"]] += 1
        else:
            judged.append(one)
    return judged, missing


def save(path: Path, entries: Iterable[Mapping[str, Any]]) -> None:
    """Write entries in the form of this file, the same bytes for the same entries."""
    lines = "".join(json.dumps(entry, ensure_ascii=False) + "\n" for entry in entries)
    replace_file(path, lambda partial: partial.write_bytes(gzip.compress(lines.encode(), mtime=0)))


def read_entries(path: Path = FILE) -> list[dict[str, Any]]:
    """Return the entries of a file as they stand there. Raises ValueError where it holds none."""
    try:
        data = path.read_bytes()
        text = decoded(gzip.decompress(data) if data.startswith(b"\x1f\x8b") else data)
        entries = [json.loads(line) for line in text.split("\n") if line.strip()]
    except (OSError, EOFError, ValueError) as error:
        raise ValueError(
            f"{path} holds no judgements ({error}); expected JSON lines, plain or gzipped"
        ) from None
    if not all(
        isinstance(entry, dict) and isinstance(entry.get("corpus"), str) for entry in entries
    ):
        raise ValueError(f"{path} holds no judgements; expected a corpus in every line")
    return entries


def _joined(
    entry: Mapping[str, Any], transcripts: Mapping[tuple[str, str], Transcript]
) -> Judged | None:
    """Read one entry; None where its conversation is not here."""
    true_reply = ""
    if "turn" in entry:
        transcript = transcripts.get((entry["corpus"], entry["id"]))
        if transcript is None:
            return None
        last = int(entry["turn"])
        turns = tuple(transcript.turns[max(0, last + 1 - MOST_TURNS) : last + 1])
        if last + 1 < len(transcript.turns):
            true_reply = transcript.turns[last + 1]
    else:
        turns = tuple(map(str, entry["context"]))
    if not turns:
        raise ValueError("a context without turns")
    replies = tuple(_reply(candidate, true_reply) for candidate in entry["candidates"])
    return Judged(entry["corpus"], str(entry["id"]), turns, replies)


def _reply(candidate: Mapping[str, Any], true_reply: str) -> JudgedReply:
    is_true = bool(candidate.get("true"))
    text = candidate.get("reply", true_reply)
    if not isinstance(text, str) or not text.strip():
        raise ValueError("a candidate without text")
    return JudgedReply(
        text,
        bool(candidate["sensible"]),
        bool(candidate["specific"]),
        str(candidate.get("fault", "")),
        is_true,
    )
