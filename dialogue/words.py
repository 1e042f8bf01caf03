"""The words of a spoken text, and whether they repeat.

Checking tokens is not enough: the same word may be segmented into different tokens.
"""

from __future__ import annotations

import re

_WORD = re.compile(r"[\w']+")


def words(text: str) -> list[str]:
    """Return a text's words in lower case."""
    return _WORD.findall(text.lower())


def ngrams(text: str, n: int) -> list[tuple[str, ...]]:
    """Return every run of n words in a text."""
    spoken = words(text)
    return list(zip(*(spoken[start:] for start in range(n)), strict=False))


def repeats_ngram(text: str, n: int) -> bool:
    """Return whether any run of n words occurs twice in a text."""
    grams = ngrams(text, n)
    return len(grams) != len(set(grams))


def holds_phrase(text: str, phrase: str) -> bool:
    """Return whether the words of a phrase occur consecutively in a text."""
    spoken, wanted = words(text), words(phrase)
    return bool(wanted) and any(
        spoken[start : start + len(wanted)] == wanted for start in range(len(spoken))
    )
