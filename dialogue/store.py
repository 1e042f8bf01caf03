"""Conversations by name, as an agent asks for them."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

from dialogue.bounded import LIMIT, LIMIT_BYTES, SECONDS, Bounded
from dialogue.conversation import Conversation


class Conversations(Protocol):
    """Where an agent finds the conversations that it is asked to go on with."""

    def get(self, name: str) -> Conversation:
        """Return the conversation of that name, a new one where there is none."""
        ...

    def put(self, name: str, conversation: Conversation) -> None:
        """Keep a conversation under a name."""
        ...

    def forget(self, name: str) -> None:
        """Drop a conversation; one that is not there is no error."""
        ...


class ConversationStore:
    """Conversations in this process, bounded as dialogue.bounded has it.

    Not locked: whoever shares it between threads holds a lock around it (the agent does).
    """

    def __init__(
        self,
        *,
        limit: int = LIMIT,
        limit_bytes: int = LIMIT_BYTES,
        seconds: float = SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Bound the store. Raises ValueError on a bound that would keep nothing."""
        self._kept = Bounded[Conversation](
            limit=limit, limit_bytes=limit_bytes, seconds=seconds, clock=clock
        )

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def nbytes(self) -> int:
        """The bytes that the conversations take, roughly."""
        return self._kept.nbytes

    def get(self, name: str) -> Conversation:
        """Return the conversation of that name; a new one where there is none or it is over."""
        return self._kept.get(name) or Conversation()

    def put(self, name: str, conversation: Conversation) -> None:
        """Keep a conversation as the most recently used; old ones go where a bound is passed."""
        self._kept.put(name, conversation, nbytes=conversation.nbytes)

    def forget(self, name: str) -> None:
        """Drop a conversation; one that is not there is no error."""
        self._kept.drop(name)
