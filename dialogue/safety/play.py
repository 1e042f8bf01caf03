"""What is done in play and hurts nobody: being beaten at chess, killing a dragon. The patterns of play.toml."""

from __future__ import annotations

import re
import tomllib
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from dialogue.safety.patterns import joined
from dialogue.text_files import read_text

PATTERNS = Path(__file__).with_name("play.toml")


def without_play(folded: str) -> str:
    """Take out of a folded text what is done in play, all of it or, where the text speaks of harm, none.

    "my wife beat me at chess and left" is "my wife | and left".
    """
    patterns = _compiled()
    return folded if patterns.danger.search(folded) else patterns.play.sub("|", folded)


def version() -> int:
    """Return the version of the patterns, which reports name."""
    return int(_read()["version"])


class _Patterns(NamedTuple):
    danger: re.Pattern[str]
    play: re.Pattern[str]


@cache
def _read() -> dict[str, Any]:
    return tomllib.loads(read_text(PATTERNS))


@cache
def _compiled() -> _Patterns:
    patterns = _read()

    def compiled(name: str) -> re.Pattern[str]:
        return re.compile(rf"(?<!\S)(?:{joined(patterns[name], patterns['fragments'])})(?!\S)")

    return _Patterns(danger=compiled("danger"), play=compiled("play"))
