"""Is an utterance one that nothing may be generated for? The patterns of topics.toml."""

from __future__ import annotations

import re
import tomllib
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from dialogue.safety.patterns import joined
from dialogue.safety.play import NO_PLAY, Play, without_play
from dialogue.safety.text import fold
from dialogue.text_files import read_text
from dialogue.vocabulary import CONTINUED

PATTERNS = Path(__file__).with_name("topics.toml")
LOOKED_AT = 1000  # characters: more than anybody says in one go; the patterns look far ahead, which takes its square
TOPICS = (
    "crisis",
    "medical",
    "legal",
    "financial",
    "personal",
    "drugs",
    "sorrow",
    "side",
)  # what is two of them is the first
_SENTENCE_END = re.compile(rf"{CONTINUED}|[.!?]")


def topic(text: str, *, play: Play = NO_PLAY) -> str | None:
    """Name what a text is about, of TOPICS, as far as it needs a fixed answer; None where it does not.

    play: what is known of a game from the turns before it.
    """
    folded = _compiled().allowed.sub("|", without_play(fold(text[:LOOKED_AT]), play))
    return next(
        (name for name, pattern in _compiled().topics.items() if pattern.search(folded)), None
    )


def is_delicate(text: str) -> bool:
    """Tell whether a text speaks of something that is not to be agreed with or cheered: what divides people, harm, grief."""
    return bool(_compiled().delicate.search(fold(text[:LOOKED_AT])))


def agrees(text: str) -> bool:
    """Tell whether one of a reply's sentences begins by agreeing or cheering."""
    return any(
        _compiled().agreement.match(fold(sentence))
        for sentence in _SENTENCE_END.split(text[:LOOKED_AT])
    )


class _Patterns(NamedTuple):
    allowed: re.Pattern[str]
    topics: dict[str, re.Pattern[str]]
    delicate: re.Pattern[str]
    agreement: re.Pattern[str]


def version() -> int:
    """Return the version of the patterns, which reports name."""
    return int(_read()["version"])


@cache
def _read() -> dict[str, Any]:
    return tomllib.loads(read_text(PATTERNS))


@cache
def _compiled() -> _Patterns:
    lists = _read()

    def compiled(patterns: list[str], *, before: str = "") -> re.Pattern[str]:
        return re.compile(rf"{before}\b(?:{joined(patterns, lists['fragments'])})\b")

    return _Patterns(
        allowed=compiled(lists["allowed"]),
        topics={name: compiled(lists[name]["patterns"]) for name in TOPICS},
        delicate=compiled(lists["delicate"]["patterns"]),
        agreement=compiled(
            lists["agreement"]["patterns"], before=r"(?:(?:well|oh|ah|lol|wow|hey|hmm) )*"
        ),
    )
