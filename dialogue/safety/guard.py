"""Answer the two safety questions: does an utterance get a fixed answer, and what may be said."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from dialogue.safety.answers import CALM, CRISIS, LINES, NO_LINE, NO_SIDE, TOPICS
from dialogue.safety.lists import BLOCKED, hits, is_offensive
from dialogue.safety.play import NO_PLAY, Play
from dialogue.safety.topics import agrees, is_delicate, topic
from dialogue.seeded_choice import pick
from dialogue.text_files import read_lines

Level = Literal["strict", "standard", "off"]
CALMLY = frozenset(("drugs", "hate"))  # topics that are deflected like an offence
LEVELS: tuple[Level, ...] = ("strict", "standard", "off")


@dataclass(frozen=True)
class Guarded:
    """A fixed answer to an utterance, and its reason: a topic, or "offensive".

    Neither the utterance nor the answer is added to the history.
    """

    reason: str
    text: str


def level_from_environment() -> Level:
    """Return the level in SAFETY: strict, standard (the default) or off.

    Raises ValueError on any other value.
    """
    value = os.environ.get("SAFETY") or "standard"
    for level in LEVELS:
        if value == level:
            return level
    raise ValueError(f"SAFETY is {value!r}; it must be one of {', '.join(LEVELS)}")


def fixed_answer(
    utterance: str, *, seed: str, locale: str = "", level: Level = "standard", play: Play = NO_PLAY
) -> Guarded | None:
    """Return the fixed answer to an utterance, or None if the model may answer it.

    A crisis is answered at every level; at `off` nothing else is, and at `strict` mild words are
    offensive, too. seed: picks the wording. locale, such as en-US: picks the crisis line. play:
    what the earlier turns tell about a game.
    """
    about = topic(utterance, play=play)
    if about == "crisis":
        return Guarded(about, pick(CRISIS, seed).format(line=LINES.get(locale, NO_LINE)))
    if level == "off":
        return None
    if is_offensive(utterance, strict=level == "strict") or about in CALMLY:
        return Guarded(about or "offensive", pick(CALM, seed))
    if about == "side":
        return Guarded(about, pick(NO_SIDE, seed))
    return None if about is None else Guarded(about, pick(TOPICS[about], seed))


def may_say(level: Level) -> Callable[[str, str], bool] | None:
    """Return the filter of candidates: (utterance, reply) -> whether to allow it. None at `off`.

    An allowed reply has no listed word, not even a mild one, touches no topic that has a fixed
    answer, and does not agree with an utterance about something delicate.
    """
    if level == "off":
        return None
    return lambda utterance, reply: (
        not hits(reply) and topic(reply) is None and not (is_delicate(utterance) and agrees(reply))
    )


def never_say(level: Level) -> list[str]:
    """Return the phrases that a search must not write, to leave the beam room for better ones."""
    return [] if level == "off" else read_lines(BLOCKED)
