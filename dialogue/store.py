"""Conversations by name, for an agent."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

from dialogue.bounded import LIMIT, LIMIT_BYTES, SECONDS, Bounded
from dialogue.conversation import Conversation


class Conversations(Protocol):
    """Where an agent keeps the conversations that it is asked to continue."""

    def get(self, name: str) -> Conversation:
        """Return the conversation of that name, or a new one if there is none."""
        ...

    def put(self, name: str, conversation: Conversation) -> None:
        """Keep a conversation under a name."""
        ...

    def forget(self, name: str) -> None:
        """Drop a conversation, if there is one of that name."""
        ...


class ConversationStore:
    """Conversations in this process, within the bounds of dialogue.bounded.

    Not locked: threads that share it hold a lock around it, as the agent does.
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
        """The approximate size of the conversations, in bytes."""
        return self._kept.nbytes

    def get(self, name: str) -> Conversation:
        """Return the conversation of that name, or a new one if there is none or it expired."""
        return self._kept.get(name) or Conversation()

    def put(self, name: str, conversation: Conversation) -> None:
        """Keep a conversation as the most recently used; drop old ones above a bound."""
        self._kept.put(name, conversation, nbytes=conversation.nbytes)

    def forget(self, name: str) -> None:
        """Drop a conversation, if there is one of that name."""
        self._kept.drop(name)
