"""Find words in a text that should not be said: the lists of lists.toml, as one pattern."""

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
# Listed words in the form in which a beam search forbids them: one phrase per line.
BLOCKED = Path(__file__).with_name("blocked.txt")
CATEGORIES = ("slur", "sexual", "profanity", "violence", "mild")  # the first that matches counts
OFFENSIVE = frozenset(CATEGORIES[:-1])


@dataclass(frozen=True)
class Hit:
    """A listed word in a text: its category and its folded form."""

    category: str
    word: str


def hits(text: str) -> list[Hit]:
    """Return the listed words in a text, in order, except in titles, names and talk about play.

    The categories are slur, sexual, profanity, violence (threats, and encouragement of harm) and
    mild.
    """
    allowed, listed = _compiled()
    return [
        Hit(str(match.lastgroup), match[0])
        for match in listed.finditer(allowed.sub("|", without_play(fold(text))))
    ]


def is_offensive(text: str, *, strict: bool = False) -> bool:
    """Return whether a text has a slur, sexual content, profanity or violence; strict: or mild."""
    return any(strict or hit.category in OFFENSIVE for hit in hits(text))


def version() -> int:
    """Return the version of the lists, which reports and model cards name."""
    return int(_read()["version"])


@cache
def _read() -> dict[str, Any]:
    return tomllib.loads(read_text(LISTS))


@cache
def _compiled() -> tuple[re.Pattern[str], re.Pattern[str]]:
    """Return the patterns of what is allowed and of what is listed.

    The categories are alternatives in order, so that the first that matches counts.
    """
    lists = _read()
    fragments = lists["fragments"]
    groups = [f"(?P<{name}>{joined(lists[name]['words'], fragments)})" for name in CATEGORIES]
    allowed = joined(lists["allowed"], fragments)
    return re.compile(rf"(?<!\S)(?:{allowed})(?!\S)"), re.compile(
        rf"(?<!\S)(?:{'|'.join(groups)})s?(?!\S)"
    )
