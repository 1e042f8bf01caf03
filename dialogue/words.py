"""The words of a spoken text, and whether they repeat: two segmentations of one word slip past a check on tokens."""

from __future__ import annotations

import re

_WORD = re.compile(r"[\w']+")


def words(text: str) -> list[str]:
    """Split a text into its words, lower case."""
    return _WORD.findall(text.lower())


def repeats_ngram(text: str, n: int) -> bool:
    """Tell whether some n words in a row stand twice in a text."""
    spoken = words(text)
    grams = list(zip(*(spoken[start:] for start in range(n)), strict=False))
    return len(grams) != len(set(grams))


def holds_phrase(text: str, phrase: str) -> bool:
    """Tell whether the words of a phrase stand in a text, in a row."""
    spoken, wanted = words(text), words(phrase)
    return bool(wanted) and any(
        spoken[start : start + len(wanted)] == wanted for start in range(len(spoken))
    )
