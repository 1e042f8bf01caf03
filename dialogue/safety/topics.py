"""Is an utterance one that nothing may be generated for? The patterns of topics.toml."""

from __future__ import annotations

import re
import tomllib
from functools import cache
from pathlib import Path

from dialogue.safety.text import fold

PATTERNS = Path(__file__).with_name("topics.toml")
TOPICS = ("crisis", "medical", "legal", "financial", "personal", "drugs", "side")  # what is two of them is the first
_AGREES = re.compile(
    r"(?:(?:well|oh|haha|lol) )?(?:yes|yeah|yea|yep|yup|sure|of course|exactly|(?:thats? )?(?:is )?true|agreed?|"
    r"i (?:do |totally |completely )?agree|me too|same|definitely|absolutely|right|you(?:re| are) right|good (?:idea|point)|"
    r"i (?:think|guess|believe|hope) so|i know|totally|for sure|ok|okay|i do|i would|i love|i like|sounds (?:good|great|fun|like)|"
    r"(?:thats? )?(?:is )?(?:a )?(?:great|good|awesome|cool|nice|funny|fun)|it is|they (?:are|do|should)|haha|lol)\b"
)


def topic(text: str) -> str | None:
    """Name what a text is about, of TOPICS, as far as it needs a fixed answer; None where it does not."""
    allowed, patterns, _ = _compiled()
    folded = allowed.sub("|", fold(text))
    return next((name for name, pattern in patterns.items() if pattern.search(folded)), None)


def divides(text: str) -> bool:
    """Tell whether a text speaks of what divides people: politics, religion, groups of people, violence, drugs."""
    return bool(_compiled()[2].search(fold(text)))


def agrees(text: str) -> bool:
    """Tell whether a reply begins by taking the other's side."""
    return bool(_AGREES.match(fold(text)))


@cache
def _compiled() -> tuple[re.Pattern[str], dict[str, re.Pattern[str]], re.Pattern[str]]:
    lists = tomllib.loads(PATTERNS.read_text(encoding="utf-8"))
    subject = lists["side"]["subject"]
    patterns = {name: re.compile(rf"\b(?:{'|'.join(lists[name]['patterns'])})\b".replace("{subject}", subject)) for name in TOPICS}
    return re.compile(rf"\b(?:{'|'.join(lists['allowed'])})\b"), patterns, re.compile(rf"\b(?:{subject})\b")
