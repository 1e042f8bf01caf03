"""Contexts to reply to: the turns so far, ending with the person's, and a good reply."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from dialogue.recognised import as_recognised, as_written
from dialogue.text_files import numbered_lines
from training import corpora
from training.corpora import roles
from training.corpora.transcript import Complaints, Transcript

FOLDER = Path(__file__).parent
# Written for this project; nothing is fitted to them. everyday-dev is for choosing settings,
# everyday-test for final figures, sad for checking whether sorrow is met with cheer.
OURS = ("everyday-dev", "everyday-test", "sad")
MOST_TURNS = 11  # of a context from a corpus: a reader must read all of it


@dataclass(frozen=True)
class Context:
    """The turns so far, ending with the person's, and the written or true reply.

    set: where the context comes from.
    """

    id: str
    set: str
    turns: tuple[str, ...]
    reply: str

    @property
    def as_heard(self) -> tuple[str, ...]:
        """Return the turns as the skill gets them."""
        return as_heard(self.turns)


def as_heard(turns: Sequence[str]) -> tuple[str, ...]:
    """Return turns as the skill gets them: the person's through a speech recogniser.

    The last turn is the person's, and the speakers alternate.
    """
    persons = len(turns) % 2
    return tuple(
        as_written(as_recognised(turn)) if number % 2 != persons else turn
        for number, turn in enumerate(turns)
    )


def load(name: str, *, split: str = "test", limit: int | None = None) -> list[Context]:
    """Load contexts by name: one of OURS, a JSONL file whose lines have a reply, or a corpus.

    A corpus gives one context per conversation, ordered by the hashes of their ids. split: of a
    corpus. limit: the maximum number. Raises ValueError if there is no such file or corpus, or if a
    line is not a context.
    """
    path = FOLDER / f"{name}.jsonl" if name in OURS else Path(name)
    if path.suffix == ".jsonl" and path.is_file() and _has_replies(path):
        return list(_read(path))[:limit]
    transcripts = corpora.load([name], split, Complaints())
    found = [context for transcript in transcripts for context in _of_transcript(transcript)]
    found.sort(key=lambda context: hashlib.sha1(context.id.encode()).hexdigest())
    if not found:
        raise ValueError(f"{name} has no conversation of two turns in its split {split!r}")
    return found[:limit]


def _of_transcript(transcript: Transcript) -> Iterator[Context]:
    """Yield at most one context.

    The hash of the id decides where it ends; with a companion, it ends before one of its turns.
    """
    people = transcript.corpus in roles.PEOPLE or transcript.spaced
    places = range(1, min(len(transcript.turns), MOST_TURNS + 1), 1 if people else 2)
    if places:
        hashed = int(hashlib.sha1(f"place {transcript.id}".encode()).hexdigest(), 16)
        place = places[hashed % len(places)]
        turns = transcript.turns[:place]
        yield Context(transcript.id, transcript.corpus, turns, transcript.turns[place])


def _has_replies(path: Path) -> bool:
    _, first = next(numbered_lines(path, Complaints()), (0, ""))
    return '"reply"' in first


def _read(path: Path) -> Iterator[Context]:
    for number, line in numbered_lines(path, Complaints()):
        try:
            entry = json.loads(line)
            turns, reply = entry["turns"], entry["reply"]
            if not turns or not all(
                isinstance(text, str) and text.strip() for text in (*turns, reply)
            ):
                raise TypeError("an empty turn")
        except (ValueError, KeyError, TypeError) as error:
            expected = '{"id": "...", "turns": ["...", ...], "reply": "..."}'
            raise ValueError(
                f"{path}, line {number}: not a context ({error}); expected {expected}"
            ) from None
        yield Context(str(entry.get("id", number)), path.stem, tuple(turns), reply)


def check_distinct(contexts: Sequence[Context]) -> None:
    """Raise ValueError on the first two contexts that share set and id."""
    seen = set()
    for context in contexts:
        if (context.set, context.id) in seen:
            raise ValueError(
                f"two contexts of {context.set} have the id {context.id}; ids must be unique"
            )
        seen.add((context.set, context.id))
