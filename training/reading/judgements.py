"""Judgements: how readers rated candidate replies in their contexts, one context per line.

    {"corpus": "companion", "id": "...", "context": ["...", "..."], "candidates": [
        {"reply": "...", "sensible": 1, "specific": 0},
        {"reply": "...", "sensible": 0, "specific": 0, "fault": "asks"}]}

"specific" is null where only "sensible" was asked. Contexts from the project's own text are stored
in full. Contexts from public corpora are stored as "id" and "turn", the index of the turn to
answer, and joined on loading; a candidate that is the true reply has "true" instead of its text.
This way nobody else's text is copied.
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
from training.corpora import excerpts

FILE = Path(corpora.__file__).parent / "judgements.jsonl.gz"
OWN = ("companion", "everyday")  # corpora whose text is in the file


@dataclass(frozen=True)
class JudgedReply:
    """A candidate and a reader's judgement of it.

    specific: None if it was not asked. is_true: whether it is the corpus's own reply.
    """

    text: str
    sensible: bool
    specific: bool | None
    fault: str = ""
    is_true: bool = False


@dataclass(frozen=True)
class Judged:
    """A context, which ends with the person's turn, and its judged candidates."""

    corpus: str
    id: str
    turns: tuple[str, ...]
    replies: tuple[JudgedReply, ...]


def load(path: Path = FILE) -> tuple[list[Judged], Counter[str]]:
    """Load judgements. Also return how many contexts of each missing corpus were left out.

    Raises ValueError, naming the line, if one is not a judged context.
    """
    entries = read_entries(path)
    transcripts = excerpts.transcripts(entries)
    missing: Counter[str] = Counter()
    judged = []
    for number, entry in enumerate(entries, start=1):
        try:
            one = _joined(entry, transcripts)
        except (KeyError, TypeError, IndexError, ValueError) as error:
            raise ValueError(
                f"{path}, line {number}: not a judged context ({error!r}); see {__name__}"
            ) from None
        if one is None:
            missing[entry["corpus"]] += 1
        else:
            judged.append(one)
    return judged, missing


def save(path: Path, entries: Iterable[Mapping[str, Any]]) -> None:
    """Write entries in this file's format; the same entries give the same bytes."""
    lines = "".join(json.dumps(entry, ensure_ascii=False) + "\n" for entry in entries)
    replace_file(path, lambda partial: partial.write_bytes(gzip.compress(lines.encode(), mtime=0)))


def read_entries(path: Path = FILE) -> list[dict[str, Any]]:
    """Return a file's entries as stored. Raises ValueError if it is not a file of judgements."""
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


def _joined(entry: Mapping[str, Any], transcripts: excerpts.Transcripts) -> Judged | None:
    """Parse one entry; None if its conversation is not available."""
    true_reply = ""
    if "turn" in entry:
        found = excerpts.context(entry, transcripts)
        if found is None:
            return None
        turns, true_reply = found
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
        None if candidate["specific"] is None else bool(candidate["specific"]),
        str(candidate.get("fault", "")),
        is_true,
    )
