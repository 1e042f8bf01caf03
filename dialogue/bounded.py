"""A mapping bounded in number, bytes and time; the least recently put value goes first."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

Value = TypeVar("Value")

LIMIT = 10_000
LIMIT_BYTES = 256 << 20
SECONDS = 3600.0  # how long an unused conversation is kept


@dataclass(frozen=True)
class Bounds:
    """How much is kept, for how long, and by which clock.

    Raises ValueError if nothing could be kept.
    """

    limit: int = LIMIT
    limit_bytes: int = LIMIT_BYTES
    seconds: float = SECONDS
    clock: Callable[[], float] = time.monotonic

    def __post_init__(self) -> None:
        if self.limit < 1 or self.limit_bytes < 1 or self.seconds <= 0:
            raise ValueError(
                f"a store of {self.limit} conversations, {self.limit_bytes} bytes and "
                f"{self.seconds} s keeps nothing; each must be above 0"
            )


NORMAL = Bounds()


class Bounded(Generic[Value]):
    """Values by name, each kept for at most `seconds` after it was put. Not locked."""

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        # least recently put first
        self._kept: OrderedDict[str, tuple[float, int, Value]] = OrderedDict()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._kept)

    def __contains__(self, name: str) -> bool:
        self._expire()
        return name in self._kept

    def __iter__(self) -> Iterator[str]:
        return iter(self._kept)

    @property
    def nbytes(self) -> int:
        """The size of the values and their names, in bytes."""
        return self._bytes

    def get(self, name: str) -> Value | None:
        """Return the value of that name, or None if there is none or it expired."""
        self._expire()
        return self._kept[name][2] if name in self._kept else None

    def put(self, name: str, value: Value, *, nbytes: int) -> None:
        """Keep a value as the newest, and drop the oldest ones beyond a bound."""
        self.drop(name)
        size = nbytes + len(name)
        self._kept[name] = (self._bounds.clock(), size, value)
        self._bytes += size
        self._expire()
        # A value too big for the store is kept alone, since somebody is using it.
        while len(self._kept) > 1 and (
            len(self._kept) > self._bounds.limit or self._bytes > self._bounds.limit_bytes
        ):
            self.drop(next(iter(self._kept)))

    def drop(self, name: str) -> None:
        """Drop a value, if there is one of that name."""
        if name in self._kept:
            self._bytes -= self._kept.pop(name)[1]

    def _expire(self) -> None:
        while self._kept:
            name, (put, _, _) = next(iter(self._kept.items()))
            if self._bounds.clock() - put <= self._bounds.seconds:
                return
            self.drop(name)
