"""What a corpus yields: transcripts, the split each belongs to, and what is done about a line that is none."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class Transcript:
    """One conversation as a corpus has it: its turns as text, two speakers in turn.

    untaught: the numbers of the turns that may be heard, but are not learnt as something to say.
    spaced: its turns are words apart by spaces, as MovieTriples has them.
    times: how many times a pass of training reads it.
    persons: the numbers of the turns that a person speaks to a companion; None where nobody said.
    """

    id: str
    corpus: str
    turns: tuple[str, ...]
    untaught: frozenset[int] = frozenset()
    spaced: bool = False
    times: int = 1
    persons: frozenset[int] | None = None


Complain = Callable[[str], None]


@dataclass
class Complaints:
    """What to do about a line that is no conversation: stop at once, or count and go on.

    A line counts once, however many splits its file is read for.
    """

    skip: bool = False
    first: str = ""
    _seen: set[str] = field(default_factory=set)

    def __call__(self, what: str) -> None:
        """Report one bad line. Raises ValueError unless bad lines are to be skipped."""
        if not self.skip:
            raise ValueError(
                f"{what}; mend the file, or pass --skip-bad-lines to leave such lines out"
            )
        self._seen.add(what)
        self.first = self.first or what

    @property
    def count(self) -> int:
        """Tell how many lines were bad."""
        return len(self._seen)


def split_of(conversation_id: str) -> str:
    """Name the split of a conversation: one rule for every corpus with ids."""
    twentieth = int(hashlib.sha1(conversation_id.encode()).hexdigest(), 16) % 20
    return {0: "test", 1: "validation"}.get(twentieth, "train")


def sha256_of(transcripts: Iterable[Transcript]) -> str:
    """Name conversations by their content: sha256 of their ids, turns and weights, in their order."""
    content = hashlib.sha256()
    for transcript in transcripts:
        # A weight of 1 is left out, so that a run from before there were weights finds its data again.
        weight = [] if transcript.times == 1 else [transcript.times]
        content.update(json.dumps([transcript.id, transcript.turns, *weight]).encode() + b"\n")
    return content.hexdigest()
