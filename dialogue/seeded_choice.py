"""Choose a wording by a seed: the same seed gives the same words."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence


def pick(wordings: Sequence[str], seed: str, *, turn: int = 0) -> str:
    """Return a wording chosen by a seed, such as a session's id; later turns take the next ones."""
    first = int(hashlib.sha256(seed.encode(errors="replace")).hexdigest(), 16)
    return wordings[(first + turn) % len(wordings)]


def in_turn(wordings: Sequence[str], seed: str) -> Iterator[str]:
    """Yield every wording once, from the one that `pick` returns."""
    return (pick(wordings, seed, turn=place) for place in range(len(wordings)))
