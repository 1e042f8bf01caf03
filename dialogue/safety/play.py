"""Recognise what happens in play and hurts nobody: being beaten at chess, killing a dragon.

"He beats me every time" may be about dominoes or about a husband; only what was said just before
can tell. `Play` is what a session remembers of that, small enough for its attributes. The patterns
are in play.toml.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from dialogue.safety.patterns import joined
from dialogue.safety.text import fold
from dialogue.text_files import read_text

PATTERNS = Path(__file__).with_name("play.toml")
LOOKED_AT = 300  # characters; people mention a game within fewer
TURNS = 3  # after this many turns without a mention of it, a game is over
NEVER = -1  # `turns` after a crisis answer: from then on, a game no longer explains anything


@dataclass(frozen=True)
class Play:
    """Whether somebody is talking about a game that they play.

    turns: for how many more turns their words may be about it. rough: a game in which people hit
    each other.
    """

    turns: int = 0
    rough: bool = False

    def after(self, utterance: str, *, about: str = "") -> Play:
        """Return what is known after an utterance. about: the reason for a fixed answer, or ""."""
        patterns, folded = _compiled(), fold(utterance[:LOOKED_AT])
        if about == "crisis" or self.turns == NEVER:
            return Play(NEVER)
        if patterns.danger.search(folded) or patterns.not_played.search(folded):
            return Play()
        if patterns.played.search(folded):
            return Play(TURNS, rough=bool(patterns.rough.search(folded)))
        if self.turns and patterns.of_it.search(folded):
            return Play(TURNS, self.rough)
        turns = 0 if patterns.somebody.search(folded) else max(self.turns - 1, 0)
        return Play(turns, self.rough and turns > 0)

    @classmethod
    def read(cls, value: object) -> Play:
        """Load what `written` returned; anything malformed means no game."""
        match value:
            case [bool(), bool()] | [bool(), _]:
                return cls()
            case [int(turns), bool(rough)] if NEVER <= turns <= TURNS:
                return cls(turns, rough and turns > 0)
        return cls()

    def written(self) -> list[int | bool]:
        """Return the value as a session attribute."""
        return [self.turns, self.rough]


NO_PLAY = Play()


def without_play(folded: str, before: Play = NO_PLAY) -> str:
    """Return a folded text without what happens in play, or unchanged if it speaks of harm.

    "my wife beat me at chess and left" becomes "my wife | and left". before: what the earlier turns
    tell about a game.
    """
    patterns = _compiled()
    if patterns.danger.search(folded):
        return folded
    folded = patterns.play.sub("|", folded)
    if before.turns > 0:
        folded = patterns.beaten.sub("|", folded)
        if before.rough:
            folded = patterns.hit.sub("|", folded)
    return folded


def version() -> int:
    """Return the version of the patterns, which reports name."""
    return int(_read()["version"])


class _Patterns(NamedTuple):
    danger: re.Pattern[str]
    play: re.Pattern[str]
    played: re.Pattern[str]
    not_played: re.Pattern[str]
    rough: re.Pattern[str]
    of_it: re.Pattern[str]
    somebody: re.Pattern[str]
    beaten: re.Pattern[str]
    hit: re.Pattern[str]


@cache
def _read() -> dict[str, Any]:
    return tomllib.loads(read_text(PATTERNS))


@cache
def _compiled() -> _Patterns:
    patterns = _read()

    def compiled(name: str) -> re.Pattern[str]:
        return re.compile(rf"(?<!\S)(?:{joined(patterns[name], patterns['fragments'])})(?!\S)")

    return _Patterns(*map(compiled, _Patterns._fields))
