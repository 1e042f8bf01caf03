"""What is answered to an utterance, and why: the one path of the skill and of the terminal.

utterance -> a fixed answer of safety, which leaves no trace in the conversation
          -> else an honest sentence where it asks about the companion itself
          -> else what the agent replies to it, in the form that the model has read
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import Literal

from dialogue.identity import WORDINGS, about_itself
from dialogue.recognised import as_written
from dialogue.safety import Level, Play, fixed_answer

Source = Literal["safety", "identity", "agent", "late", "busy"]


@dataclass(frozen=True)
class Answer:
    """What is said, who says it, and why where it is a fixed sentence.

    reason: of safety "offensive" or a topic, of identity what was asked; else "". written: what the agent was given.
    seconds: by stage, in order.
    """

    text: str
    by: Source
    reason: str = ""
    written: str = ""
    seconds: tuple[tuple[str, float], ...] = field(default=(), compare=False)

    @property
    def about(self) -> str:
        """Why safety gave a fixed answer; empty where it gave none."""
        return self.reason if self.by == "safety" else ""


def answer(
    utterance: str,
    *,
    respond: Callable[[str], str],
    note: Callable[[str, str], None],
    choose: Callable[[Sequence[str]], str],
    seed: str,
    locale: str = "",
    safety: Level = "standard",
    play: Play | None = None,
) -> Answer:
    """Answer an utterance.

    respond: utterance -> the agent's reply. note: (utterance, reply) -> taken into the conversation. choose: takes one of
    several wordings. seed, locale, safety, play: as in dialogue.safety.fixed_answer.
    """
    begun = perf_counter()
    fixed = fixed_answer(utterance, seed=seed, locale=locale, level=safety, play=play or Play())
    if fixed:
        return Answer(
            fixed.text, "safety", fixed.reason, seconds=(("safety", perf_counter() - begun),)
        )
    written, asked = as_written(utterance), about_itself(utterance)
    read = perf_counter()
    text = choose(WORDINGS[asked]) if asked else respond(written)
    if asked:
        note(written, text)
    seconds = (("safety", read - begun), ("note" if asked else "agent", perf_counter() - read))
    return Answer(text, "identity" if asked else "agent", asked, written, seconds)
