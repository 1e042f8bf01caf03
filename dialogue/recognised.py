"""What a speech recogniser makes of a text, and the way back to the form that the model has read.

A recogniser gives lower case and no punctuation; it spells letters ("u. s. a.") and writes numbers as words or digits.
`as_recognised` does that to a written text, to train or to measure with. `as_written` undoes what can be undone:
homophones cannot.
"""

from __future__ import annotations

import re

from dialogue.vocabulary import normalise

SENTENCE_WORDS = 4  # from so many words on people write a full stop: test perplexity 28.1 -> 27.5, written 27.0, stripped 28.9
_SPELT = re.compile(r"(?<!\S)(?:[a-z]\. ?){2,}(?=\s|$)|(?<!\S)(?:[a-z]\. )+[a-z]\.(?=\s|$)")
_THOUSANDS_COMMA = re.compile(r"(?<=\d),(?=\d{3})")
# Initials and the project's marks stay; punctuation but apostrophes within words and decimal points goes.
_PUNCTUATION = re.compile(
    r"((?<![\w.])(?:[a-z]\.){2,}|<\w+>)|[^\w\s'.]|(?<!\w)'|'(?!\w)|\.(?!\d)|(?<!\d)\.|_"
)

_ONES = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve", "thirteen",
    "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
)  # fmt: skip
_TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_VALUES = {word: number for number, word in enumerate(_ONES)} | {
    word: 20 + 10 * n for n, word in enumerate(_TENS)
}
_UNIT = "|".join(_ONES[1:10])
_BELOW_HUNDRED = rf"(?:(?:{'|'.join(_TENS)})(?:[ -](?:{_UNIT}))?|{'|'.join(_ONES[10:])})"
_NUMBER = re.compile(
    rf"\b({_BELOW_HUNDRED})(?: ({_BELOW_HUNDRED}|oh (?:{_UNIT})))?\b(?! hundred| thousand| million| billion)"
)
_THOUSANDS = re.compile(rf"\b(two) thousand(?: (?:and )?({_BELOW_HUNDRED}|{_UNIT}))?\b")

_ASKING = re.compile(
    r"(?:(?:and|so|but|well|ok|okay|oh|hey|hi|yeah|yes|no|alexa) )*"
    r"(?:what|who|whom|whose|when|where|why|how|which|(?:do|does|did|is|are|was|were|can|could|will|would|should|have|has|had|"
    r"isn't|aren't|don't|doesn't|didn't|haven't|won't|can't|wouldn't|shouldn't) "
    r"(?:you|i|we|he|she|it|they|that|this|there|the|your|my|any|"
    r"people|someone|anyone)|what's|who's|where's|how's|when's)\b(?! a (?:great|good|nice|bad|shame|pity|day|surprise)\b)"
)


def as_recognised(text: str) -> str:
    """Strip a written text to the form of a recogniser: lower case, no punctuation but apostrophes and decimal points.

    The project's own marks, such as <continued_utterance>, stay. "Hi! It's 1,500 U.S. dollars." is "hi it's 1500 u.s. dollars".
    """
    plain = _PUNCTUATION.sub(
        lambda match: f" {match[1]} " if match[1] else " ",
        _THOUSANDS_COMMA.sub("", normalise(text)),
    )
    return " ".join(plain.split())


def as_written(text: str) -> str:
    """Bring a recogniser's text to the form that the model has read: `as_recognised` undone as far as that is possible.

    Spelt letters are put together ("u. s. a." is "usa"), numbers from ten on become digits ("nineteen ninety four" is
    "1994"), a question gets its mark, and another sentence of four words or more its full stop. A text with a stop at
    its end is left as it is: it was typed.
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
    """Write a number below a hundred, or a year said as two of them, in digits."""
    first = _value(match[1])
    if match[2] is None:
        return str(first)
    return (
        f"{first}{_value(match[2]):02}"
        if first in range(11, 21) and _value(match[2]) < 100
        else f"{first} {_value(match[2])}"
    )
