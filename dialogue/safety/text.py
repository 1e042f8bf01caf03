"""Fold text into the form of the word lists, so that odd spellings do not evade them."""

from __future__ import annotations

import re
import unicodedata

_MARKS = re.compile(r"['’‘ʼ`´\u0300-\u036f\u00ad\u200b-\u200d\ufeff]")
_LEET = str.maketrans("0134579@$!+|", "oieastgasiti")
_LEET_WORD = re.compile(r"[a-z0-9@$!+|*]*[a-z*][a-z0-9@$!+|*]*")
_TRAILING = re.compile(r"[!+|]+$")  # "shit!" is an exclamation, "sh!t" is not
_BREAK = "\x1f"  # marks the end of a sentence during folding, since "|" is a letter in leet
_NOT_FOLDED = re.compile(rf"[^a-z0-9*{_BREAK}]+")
# The end of a sentence; not the full stop of an initial ("f. u. c. k.") or a title ("mr. dick"),
# nor one of several ("i... die").
_SENTENCE_END = re.compile(
    r"(?<=\w)(?<!\b\w)(?<!\bmr)(?<!\bms)(?<!\bmrs)(?<!\bdr)(?<!\bst)(?:\.|[!?]+)[\"”')\]]*(?=\s+\S)"
)
_STRETCHED = re.compile(r"([a-z])\1{2,}")
_SPELT = re.compile(r"(?<!\S)[a-z0-9*](?: [a-z0-9*]){2,}(?!\S)")
# In a run of single letters, the longest word to try (no listed word is longer), and how many
# letters of the run to examine.
SPELT_LETTERS, SPELT_RUN = 14, 200


def fold(text: str) -> str:
    """Return a text in lower case, without accents, apostrophes, leet or stretched letters.

    "I'm  a P0RN star!" becomes "im a porn star". Sentences are separated by "|", so that no phrase
    is found across them ("would suck. You should" does not contain "suck you"). Words that letters
    spelt one by one may form are appended ("fuck" for "f u c k"), and so is a stretched word with
    the letter only once ("shit" for "shiiit"); in place, the letter is kept twice ("boooobs"
    becomes "boobs").
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
    """Undo leet in a word with at least two letters or asterisks; "5th" and "4k" stay numbers."""
    word = _TRAILING.sub("", match[0])
    letters = sum(character.isalpha() or character == "*" for character in word)
    return word.translate(_LEET) if letters >= 2 and not re.fullmatch(r"\d+[a-z]+", word) else word


def _put_together(letters: str) -> list[str]:
    """Return all substrings of a run of letters that may be words of three letters or more."""
    return [
        letters[i:j]
        for i in range(len(letters))
        for j in range(i + 3, min(len(letters), i + SPELT_LETTERS) + 1)
    ]
