"""Conversations by name, for an agent."""

from __future__ import annotations

from typing import Protocol

from dialogue.bounded import NORMAL, Bounded, Bounds
from dialogue.conversation import Conversation


class Conversations(Protocol):
    """Where an agent keeps the conversations that it may be asked to continue."""

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

    Not thread-safe: threads that share it must hold a lock, as the agent does.
    """

    def __init__(self, bounds: Bounds = NORMAL) -> None:
        self._kept = Bounded[Conversation](bounds)

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
        """Keep a conversation as the most recently used; drop the oldest ones beyond a bound."""
        self._kept.put(name, conversation, nbytes=conversation.nbytes)

    def forget(self, name: str) -> None:
        """Drop a conversation, if there is one of that name."""
        self._kept.drop(name)
