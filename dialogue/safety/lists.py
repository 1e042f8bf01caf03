"""Does a text hold what should not be said? The lists of lists.toml, compiled to one pattern."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from dialogue.safety.patterns import joined
from dialogue.safety.play import without_play
from dialogue.safety.text import fold
from dialogue.text_files import read_text

LISTS = Path(__file__).with_name("lists.toml")
BLOCKED = Path(__file__).with_name(
    "blocked.txt"
)  # listed words as a beam search forbids them: one phrase a line
CATEGORIES = ("slur", "sexual", "profanity", "violence", "mild")  # what fits two is the first
OFFENSIVE = frozenset(CATEGORIES[:-1])


@dataclass(frozen=True)
class Hit:
    """A listed word in a text: its category, and how it reads folded."""

    category: str
    word: str


def hits(text: str) -> list[Hit]:
    """List what a text holds of the lists, in the order in which it stands there; titles, names and play are left alone.

    Categories: slur, sexual, profanity, violence (threats, and encouragement of harm), mild.
    """
    allowed, listed = _compiled()
    return [
        Hit(str(match.lastgroup), match[0])
        for match in listed.finditer(allowed.sub("|", without_play(fold(text))))
    ]


def is_offensive(text: str, *, strict: bool = False) -> bool:
    """Tell whether a text holds a slur, sexual content, profanity or violence; strict: or a mild word."""
    return any(strict or hit.category in OFFENSIVE for hit in hits(text))


def version() -> int:
    """Return the version of the lists, which reports and model cards name."""
    return int(_read()["version"])


@cache
def _read() -> dict[str, Any]:
    return tomllib.loads(read_text(LISTS))


@cache
def _compiled() -> tuple[re.Pattern[str], re.Pattern[str]]:
    """Compile the allowed and the listed; a category stands before the next one where both fit."""
    lists = _read()
    fragments = lists["fragments"]
    groups = [f"(?P<{name}>{joined(lists[name]['words'], fragments)})" for name in CATEGORIES]
    allowed = joined(lists["allowed"], fragments)
    return re.compile(rf"(?<!\S)(?:{allowed})(?!\S)"), re.compile(
        rf"(?<!\S)(?:{'|'.join(groups)})s?(?!\S)"
    )
