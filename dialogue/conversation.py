"""What is kept of a conversation between turns: its history and its last texts.

Conversations are immutable values.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from dialogue.models import History
from dialogue.vocabulary import without_marks
from dialogue.words import ngrams

KEPT_TURNS = 200  # texts kept; the history is not cut


@dataclass(frozen=True)
class Turn:
    """One utterance and who said it."""

    speaker: Literal["user", "bot"]
    text: str


@dataclass(frozen=True)
class Conversation:
    """The model's history of everything said, and the last turns as text.

    The history has one row; it is None at the beginning.
    """

    history: History | None = None
    turns: tuple[Turn, ...] = field(default=())

    def after(self, turn: Turn, history: History) -> Conversation:
        """Return the conversation with one more turn."""
        return Conversation(history, (*self.turns, turn)[-KEPT_TURNS:])

    def said(self, speaker: str) -> list[str]:
        """Return what one speaker said, oldest first."""
        return [turn.text for turn in self.turns if turn.speaker == speaker]

    def ngrams_said(self, n: int, *, last: int | None = None) -> set[tuple[str, ...]]:
        """Return the n-grams of words in the bot's replies, or in so many of the last ones.

        There are none if n is 0.
        """
        texts = self.said("bot") if last is None else self.said("bot")[-last:]
        return {gram for text in texts for gram in ngrams(without_marks(text), n)}

    def numbers(self) -> list[float]:
        """Return the numbers of the history, for display; none at the beginning."""
        return [] if self.history is None else [float(n) for n in self.history.flatten().tolist()]

    @property
    def nbytes(self) -> int:
        """The approximate size of the history and the texts, in bytes."""
        history = 0 if self.history is None else self.history.nbytes
        return history + sum(len(turn.text) + 100 for turn in self.turns)
