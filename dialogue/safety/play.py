"""What is done in play and hurts nobody: being beaten at chess, killing a dragon. The patterns of play.toml.

"He beats me every time" may be about dominoes or about a husband; only what was said just before
tells. `Play` is what a session remembers of that, small enough for its attributes.
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
LOOKED_AT = 300  # characters: who tells of a game does so in fewer
TURNS = 3  # so long a game is spoken of when nothing else is
NEVER = -1  # turns of who has been answered as in danger: no game explains anything any more


@dataclass(frozen=True)
class Play:
    """Whether somebody speaks of a game that they play.

    turns: for how many more turns what they say may be about it. rough: people hit each other in it.
    """

    turns: int = 0
    rough: bool = False

    def after(self, utterance: str, *, about: str = "") -> Play:
        """Return what is known after an utterance. about: why its answer is a fixed one, or ""."""
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
        """Read what `written` wrote; whatever does not fit is no game."""
        match value:
            case [bool(), bool()] | [bool(), _]:
                return cls()
            case [int(turns), bool(rough)] if NEVER <= turns <= TURNS:
                return cls(turns, rough and turns > 0)
        return cls()

    def written(self) -> list[int | bool]:
        """Return it as a session attribute."""
        return [self.turns, self.rough]


NO_PLAY = Play()


def without_play(folded: str, before: Play = NO_PLAY) -> str:
    """Take out of a folded text what is done in play, all of it or, where the text speaks of harm, none.

    "my wife beat me at chess and left" is "my wife | and left". before: what is known of a game
    from the turns before it.
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
