"""What is kept of a conversation between two turns: its history and the last texts.

A value; nothing changes it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from dialogue.models import History

KEPT_TURNS = 200  # texts; the history has no such end


@dataclass(frozen=True)
class Turn:
    """One utterance and who said it."""

    speaker: Literal["user", "bot"]
    text: str


@dataclass(frozen=True)
class Conversation:
    """The model's history of everything said, one row, None at the beginning, and the last turns as
    text.
    """

    history: History | None = None
    turns: tuple[Turn, ...] = field(default=())

    def after(self, turn: Turn, history: History) -> Conversation:
        """Return the conversation one turn further."""
        return Conversation(history, (*self.turns, turn)[-KEPT_TURNS:])

    def said(self, speaker: str) -> list[str]:
        """List what one speaker said, oldest first."""
        return [turn.text for turn in self.turns if turn.speaker == speaker]

    def numbers(self) -> list[float]:
        """List what the history is made of, to be shown; nothing at the beginning."""
        return [] if self.history is None else [float(n) for n in self.history.flatten().tolist()]

    @property
    def nbytes(self) -> int:
        """Measure what it takes to keep, roughly: the history and the texts, in bytes."""
        history = 0 if self.history is None else self.history.nbytes
        return history + sum(len(turn.text) + 100 for turn in self.turns)
