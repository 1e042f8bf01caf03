"""Where conversations live between turns: in this process, bounded in number, bytes and time."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable

from dialogue.conversation import Conversation


class ConversationStore:
    """Conversations by name; the least recently used are dropped first.

    None is kept for longer than `seconds` without use. The store is not locked: threads that share
    it must hold a lock, as the agent's do.
    """

    def __init__(
        self,
        *,
        limit: int = 10_000,
        limit_bytes: int = 256 << 20,
        seconds: float = 3600.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Bound the store. Raises ValueError on a bound that would keep nothing."""
        if limit < 1 or limit_bytes < 1 or seconds <= 0:
            raise ValueError(
                f"a store of {limit} conversations, {limit_bytes} bytes and {seconds} s keeps nothing; each must be above 0"
            )
        self._limit, self._limit_bytes, self._seconds, self._clock = (
            limit,
            limit_bytes,
            seconds,
            clock,
        )
        self._kept: OrderedDict[str, tuple[float, int, Conversation]] = (
            OrderedDict()
        )  # least recently used first
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def nbytes(self) -> int:
        """The number of bytes that the conversations take."""
        return self._bytes

    def get(self, name: str) -> Conversation:
        """Return the conversation of a name; a new one if there is none, or it has expired."""
        self._expire()
        if name not in self._kept:
            return Conversation()
        return self._kept[name][2]

    def put(self, name: str, conversation: Conversation) -> None:
        """Keep a conversation as the most recently used, and drop old ones beyond the bounds."""
        self.forget(name)
        size = conversation.nbytes + len(name)
        self._kept[name] = (self._clock(), size, conversation)
        self._bytes += size
        self._expire()
        while len(self._kept) > 1 and (
            len(self._kept) > self._limit or self._bytes > self._limit_bytes
        ):
            self.forget(next(iter(self._kept)))

    def forget(self, name: str) -> None:
        """Drop a conversation, if it is there."""
        if name in self._kept:
            self._bytes -= self._kept.pop(name)[1]

    def _expire(self) -> None:
        while self._kept:
            name, (used, _, _) = next(iter(self._kept.items()))
            if self._clock() - used <= self._seconds:
                return
            self.forget(name)
