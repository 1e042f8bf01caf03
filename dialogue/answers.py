"""Answer an utterance, and say why: the one path that the skill and the terminal share.

utterance -> a fixed answer from safety; nothing is added to the history
          -> else an honest sentence, if it asks about the companion itself
          -> else an apology, if it signals that the last reply missed
          -> else the agent's reply to it, rewritten in the form that the model was trained on
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import Literal

from dialogue import identity, repair
from dialogue.recognised import as_written
from dialogue.safety import Level, Play, fixed_answer

Source = Literal["safety", "identity", "repair", "agent", "late", "busy"]


@dataclass(frozen=True)
class Answer:
    """What is said, what produced it, and the reason for a fixed sentence.

    reason: from safety, "offensive" or a topic; from identity, what was asked; from repair, how the
    last reply missed; else "". written: the text given to the agent. seconds: spent on each stage,
    in order.
    """

    text: str
    by: Source
    reason: str = ""
    written: str = ""
    seconds: tuple[tuple[str, float], ...] = field(default=(), compare=False)

    @property
    def about(self) -> str:
        """The reason for a fixed answer from safety, or "" if safety gave none."""
        return self.reason if self.by == "safety" else ""

    @property
    def may_miss(self) -> bool:
        """Whether it is the model's reply or an apology; other answers need no repair."""
        return self.by in ("agent", "repair")


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
    said: str = "",
) -> Answer:
    """Answer an utterance.

    respond: returns the agent's reply to an utterance. note: adds an utterance and a reply to the
    conversation. choose: picks one of several wordings. seed, locale, safety, play: as in
    dialogue.safety.fixed_answer. said: the companion's last answer if it `may_miss`, else "".
    """
    begun = perf_counter()
    fixed = fixed_answer(utterance, seed=seed, locale=locale, level=safety, play=play or Play())
    if fixed:
        return Answer(
            fixed.text, "safety", fixed.reason, seconds=(("safety", perf_counter() - begun),)
        )
    written = as_written(utterance)
    by: Source = "agent"
    wordings: Sequence[str] = ()
    if reason := identity.about_itself(utterance):
        by, wordings = "identity", identity.wordings(utterance)
    elif reason := repair.trouble(utterance, said):
        by, wordings = "repair", repair.WORDINGS[reason]
    read = perf_counter()
    text = choose(wordings) if wordings else respond(written)
    if wordings:
        note(written, text)
    seconds = (("safety", read - begun), ("note" if wordings else "agent", perf_counter() - read))
    return Answer(text, by, reason, written, seconds)
