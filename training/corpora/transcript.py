"""What a corpus yields: transcripts, the split each belongs to, and what is done about a line that is none."""

from __future__ import annotations

import gzip
import hashlib
import json
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

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
    """What to do about a line that is no conversation: stop at once, or count and go on."""

    skip: bool = False
    count: int = 0
    first: str = ""

    def __call__(self, what: str) -> None:
        """Report one bad line. Raises ValueError unless bad lines are to be skipped."""
        if not self.skip:
            raise ValueError(f"{what}; mend the file, or pass --skip-bad-lines to leave such lines out")
        self.count += 1
        self.first = self.first or what


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


def numbered_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Yield the lines of a file with their numbers, through gzip where its name says so. Raises ValueError on a broken one."""
    try:
        with path.open("rb") as file, gzip.open(file) if path.suffix == ".gz" else nullcontext(file) as lines:
            yield from enumerate(lines, start=1)
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"cannot read {path}: {error}") from None
