"""What is answered without the model, and what the model may say: the two questions that a conversation asks of safety."""

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
LEVELS: tuple[Level, ...] = ("strict", "standard", "off")


@dataclass(frozen=True)
class Guarded:
    """A fixed answer to an utterance, and why: a topic, or "offensive". Neither enters the history of a conversation."""

    reason: str
    text: str


def level_from_environment() -> Level:
    """Read SAFETY: strict, standard (the default) or off. Raises ValueError on another word."""
    value = os.environ.get("SAFETY") or "standard"
    for level in LEVELS:
        if value == level:
            return level
    raise ValueError(f"SAFETY is {value!r}; it must be one of {', '.join(LEVELS)}")


def fixed_answer(
    utterance: str, *, seed: str, locale: str = "", level: Level = "standard", play: Play = NO_PLAY
) -> Guarded | None:
    """Answer an utterance for which nothing may be generated; None: the model may.

    seed: chooses the wording. locale: whose crisis line is named, such as en-US. A crisis is answered at every level; at
    `off` nothing else is, at `strict` mild words are offensive, too. play: what the turns before tell of a game.
    """
    about = topic(utterance, play=play)
    if about == "crisis":
        return Guarded(about, pick(CRISIS, seed).format(line=LINES.get(locale, NO_LINE)))
    if level == "off":
        return None
    if is_offensive(utterance, strict=level == "strict") or about == "drugs":
        return Guarded(about or "offensive", pick(CALM, seed))
    if about == "side":
        return Guarded(about, pick(NO_SIDE, seed))
    return None if about is None else Guarded(about, pick(TOPICS[about], seed))


def may_say(level: Level) -> Callable[[str, str], bool] | None:
    """Build the filter of the n-best: (utterance, reply) -> whether that reply may be said. None at `off`.

    A reply holds no listed word, mild ones included, touches no topic that has a fixed answer, and does not agree where
    the utterance spoke of something delicate.
    """
    if level == "off":
        return None
    return lambda utterance, reply: (
        not hits(reply) and topic(reply) is None and not (is_delicate(utterance) and agrees(reply))
    )


def never_say(level: Level) -> list[str]:
    """List the phrases that a search is not to write at all, so that the beam holds better ones. None at `off`."""
    return [] if level == "off" else read_lines(BLOCKED)
