"""Convert written text to a speech recogniser's form, and back to the form that the model reads.

A recogniser returns lower case without punctuation; it spells letters ("u. s. a.") and writes
numbers as words or digits. `as_recognised` does the same to a written text, for training and
evaluation. `as_written` undoes it as far as possible; homophones, for example, stay.
"""

from __future__ import annotations

import re

from dialogue.vocabulary import normalise

# A sentence of at least this many words gets a full stop, as people write it. Test perplexity: 28.1
# -> 27.5; it is 27.0 on the text as written and 28.9 on the text without punctuation.
SENTENCE_WORDS = 4
_SPELT = re.compile(r"(?<!\S)(?:[a-z]\. ?){2,}(?=\s|$)|(?<!\S)(?:[a-z]\. )+[a-z]\.(?=\s|$)")
_THOUSANDS_COMMA = re.compile(r"(?<=\d),(?=\d{3})")
# Punctuation to remove: all but apostrophes within words and decimal points. The group matches what
# to keep: initials and the project's own marks.
_PUNCTUATION = re.compile(
    r"((?<![\w.])(?:[a-z]\.){2,}|<\w+>)|[^\w\s'.]|(?<!\w)'|'(?!\w)|\.(?!\d)|(?<!\d)\.|_"
)

_ONES = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten",
    "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen",
    "nineteen",
)  # fmt: skip
_TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_VALUES = {word: number for number, word in enumerate(_ONES)} | {
    word: 20 + 10 * n for n, word in enumerate(_TENS)
}
_UNIT = "|".join(_ONES[1:10])
_BELOW_HUNDRED = rf"(?:(?:{'|'.join(_TENS)})(?:[ -](?:{_UNIT}))?|{'|'.join(_ONES[10:])})"
_NUMBER = re.compile(
    rf"\b({_BELOW_HUNDRED})(?: ({_BELOW_HUNDRED}|oh (?:{_UNIT})))?\b"
    r"(?! hundred| thousand| million| billion)"
)
_THOUSANDS = re.compile(rf"\b(two) thousand(?: (?:and )?({_BELOW_HUNDRED}|{_UNIT}))?\b")

_ASKING = re.compile(
    r"(?:(?:and|so|but|well|ok|okay|oh|hey|hi|yeah|yes|no|alexa) )*"
    r"(?:what|who|whom|whose|when|where|why|how|which|"
    r"(?:do|does|did|is|are|was|were|can|could|will|would|should|have|has|had|"
    r"isn't|aren't|don't|doesn't|didn't|haven't|won't|can't|wouldn't|shouldn't) "
    r"(?:you|i|we|he|she|it|they|that|this|there|the|your|my|any|"
    r"people|someone|anyone)|what's|who's|where's|how's|when's)\b"
    r"(?! a (?:great|good|nice|bad|shame|pity|day|surprise)\b)"
)


def as_recognised(text: str) -> str:
    """Return a written text in a recogniser's form.

    That is lower case, and no punctuation except apostrophes and decimal points: "Hi! It's 1,500
    U.S. dollars." becomes "hi it's 1500 u.s. dollars". The project's own marks, such as
    <continued_utterance>, stay.
    """
    plain = _PUNCTUATION.sub(
        lambda match: f" {match[1]} " if match[1] else " ",
        _THOUSANDS_COMMA.sub("", normalise(text)),
    )
    return " ".join(plain.split())


def as_written(text: str) -> str:
    """Return a recogniser's text in the form that the model reads, undoing `as_recognised`.

    Spelt letters are joined ("u. s. a." becomes "usa"), numbers of ten or more become digits
    ("nineteen ninety four" becomes "1994"), a question gets its question mark, and any other
    sentence of four words or more its full stop. A text that already ends with a stop was typed,
    and stays as it is.
    """
    text = normalise(text)
    if not text or (text[-1] in ".!?" and not _SPELT.search(text)):
        return text
    text = _SPELT.sub(
        lambda match: (
            match[0].replace(".", "").replace(" ", "") + (" " if match[0].endswith(" ") else "")
        ),
        text,
    ).strip()
    text = _NUMBER.sub(
        _digits, _THOUSANDS.sub(lambda m: str(2000 + (_value(m[2]) if m[2] else 0)), text)
    )
    if not text[-1].isalnum():
        return text
    if _ASKING.match(text):
        return f"{text}?"
    return f"{text}." if len(text.split()) >= SENTENCE_WORDS else text


def _value(words: str) -> int:
    return sum(_VALUES.get(word, 0) for word in re.split(r"[ -]", words))


def _digits(match: re.Match[str]) -> str:
    """Return the digits of a number below a hundred, or of a year spoken as two such numbers."""
    first = _value(match[1])
    if match[2] is None:
        return str(first)
    return (
        f"{first}{_value(match[2]):02}"
        if first in range(11, 21) and _value(match[2]) < 100
        else f"{first} {_value(match[2])}"
    )
