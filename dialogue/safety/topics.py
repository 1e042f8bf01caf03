"""Find topics for which no reply may be generated, with the patterns of topics.toml."""

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
# Examine at most this many characters, more than anybody says in one go: the patterns look far
# ahead, so their time grows with the square of the length.
LOOKED_AT = 1000
# In this order: the first that matches counts.
TOPICS = ("crisis", "medical", "legal", "financial", "personal", "drugs", "sorrow", "side", "hate")
_SENTENCE_END = re.compile(rf"{CONTINUED}|[.!?]")


def topic(text: str, *, play: Play = NO_PLAY) -> str | None:
    """Return the topic of a text that needs a fixed answer, one of TOPICS, else None.

    play: what the earlier turns tell about a game.
    """
    folded = _compiled().allowed.sub("|", without_play(fold(text[:LOOKED_AT]), play))
    return next(
        (name for name, pattern in _compiled().topics.items() if pattern.search(folded)), None
    )


def is_delicate(text: str) -> bool:
    """Return whether a text is about something that one should not agree with or cheer at.

    That is a divisive issue, harm, or grief.
    """
    return bool(_compiled().delicate.search(fold(text[:LOOKED_AT])))


def agrees(text: str) -> bool:
    """Return whether one of a reply's sentences begins by agreeing or cheering."""
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
