"""Text -> the folded form that the lists are written for: what is spelt to slip past a list reads as what it means."""

from __future__ import annotations

import re
import unicodedata

_MARKS = re.compile(r"['’‘ʼ`´\u0300-\u036f\u00ad\u200b-\u200d\ufeff]")
_LEET = str.maketrans("0134579@$!+|", "oieastgasiti")
_LEET_WORD = re.compile(r"[a-z0-9@$!+|*]*[a-z*][a-z0-9@$!+|*]*")
_TRAILING = re.compile(r"[!+|]+$")  # "shit!" is an exclamation, "sh!t" is not
_BREAK = "\x1f"  # stands for a sentence's end while a text is folded: "|" is a letter in leet
_NOT_FOLDED = re.compile(rf"[^a-z0-9*{_BREAK}]+")
# A sentence ends here, unless the full stop is an initial's, a title's or one of several: "f. u. c. k.", "mr. dick", "i... die".
_SENTENCE_END = re.compile(
    r"(?<=\w)(?<!\b\w)(?<!\bmr)(?<!\bms)(?<!\bmrs)(?<!\bdr)(?<!\bst)(?:\.|[!?]+)[\"”')\]]*(?=\s+\S)"
)
_STRETCHED = re.compile(r"([a-z])\1{2,}")
_SPELT = re.compile(r"(?<!\S)[a-z0-9*](?: [a-z0-9*]){2,}(?!\S)")
SPELT_LETTERS, SPELT_RUN = (
    14,
    200,
)  # of a run of single letters, so many are put together (no listed word is longer); looked at


def fold(text: str) -> str:
    """Fold a text: lower case, no accents or apostrophes, leet and stretched letters undone, one space between words.

    "I'm  a P0RN star!" is "im a porn star"; between two sentences stands "|", so that no phrase is found across them
    ("would suck. You should" holds no "suck you"). Letters spelt one by one are followed by the words that they may be
    ("f u c k" by "fuck"), stretched ones ("boooobs" is "boobs") by the word with one of the letter ("shiiit" by "shit").
    """
    lowered = _MARKS.sub(
        "", text.lower() if text.isascii() else unicodedata.normalize("NFKD", text).lower()
    )
    sentences = _SENTENCE_END.sub(f" {_BREAK} ", lowered)
    folded = " ".join(
        _NOT_FOLDED.sub(" ", _LEET_WORD.sub(_plain, sentences)).replace(_BREAK, " | ").split()
    )
    further = [_STRETCHED.sub(r"\1", word) for word in folded.split() if _STRETCHED.search(word)]
    further += [
        word
        for run in _SPELT.findall(folded)
        for word in _put_together(run.replace(" ", "")[:SPELT_RUN])
    ]
    return " | ".join([_STRETCHED.sub(r"\1\1", folded), *further])


def _plain(match: re.Match[str]) -> str:
    """Undo leet in a word with at least two letters or marks of it: "5th" and "4k" stay numbers."""
    word = _TRAILING.sub("", match[0])
    letters = sum(character.isalpha() or character == "*" for character in word)
    return word.translate(_LEET) if letters >= 2 and not re.fullmatch(r"\d+[a-z]+", word) else word


def _put_together(letters: str) -> list[str]:
    """List the words that may stand in a run of letters, from three letters on."""
    return [
        letters[i:j]
        for i in range(len(letters))
        for j in range(i + 3, min(len(letters), i + SPELT_LETTERS) + 1)
    ]
