"""What corpora yield: transcripts, their splits, and how malformed lines are reported."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class Transcript:
    """One conversation as its corpus has it: turns as text, by two speakers who alternate.

    untaught: indices of turns that are input only, excluded from the loss.
    spaced: whether the turns are space-separated words, as in MovieTriples.
    times: how many times one training pass reads the conversation.
    persons: indices of turns that a person addresses to a companion; None if unknown.
    topic: what the conversation is about, where its corpus says so.
    """

    id: str
    corpus: str
    turns: tuple[str, ...]
    untaught: frozenset[int] = frozenset()
    spaced: bool = False
    times: int = 1
    persons: frozenset[int] | None = None
    topic: str = ""


Complain = Callable[[str], None]


@dataclass
class Complaints:
    """What to do about a malformed line: stop at once, or count it and go on.

    A line counts once, however many splits are read from its file.
    """

    skip: bool = False
    first: str = ""
    _seen: set[str] = field(default_factory=set)

    def __call__(self, what: str) -> None:
        """Report one bad line. Raises ValueError unless bad lines are to be skipped."""
        if not self.skip:
            raise ValueError(
                f"{what}; fix the file, or pass --skip-bad-lines to leave such lines out"
            )
        self._seen.add(what)
        self.first = self.first or what

    @property
    def count(self) -> int:
        """Return the number of bad lines."""
        return len(self._seen)


def split_of(conversation_id: str) -> str:
    """Return a conversation's split: the same rule for every corpus with ids."""
    twentieth = int(hashlib.sha1(conversation_id.encode()).hexdigest(), 16) % 20
    return {0: "test", 1: "validation"}.get(twentieth, "train")


def sha256_of(transcripts: Iterable[Transcript]) -> str:
    """Return the sha256 of conversations: of their ids, turns and weights, in order."""
    content = hashlib.sha256()
    for transcript in transcripts:
        # A weight of 1 is left out: older runs, without weights, then still find the same digest.
        weight = [] if transcript.times == 1 else [transcript.times]
        content.update(json.dumps([transcript.id, transcript.turns, *weight]).encode() + b"\n")
    return content.hexdigest()
