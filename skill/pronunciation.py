"""Turn written text into spoken text: numbers, abbreviations, symbols, and chat language."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable

_ONES = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten",
    "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen",
    "nineteen",
)  # fmt: skip
_TENS = (
    "zero", "ten", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety",
)  # fmt: skip
_SCALES = ((10**9, "billion"), (10**6, "million"), (1000, "thousand"), (100, "hundred"))
_IRREGULAR = {
    "one": "first", "two": "second", "three": "third", "five": "fifth", "eight": "eighth",
    "nine": "ninth", "twelve": "twelfth",
}  # fmt: skip
_MONEY = {"$": ("dollar", "cents"), "£": ("pound", "pence"), "€": ("euro", "cents")}
_FRACTIONS = {
    "1/2": "a half",
    "1/3": "a third",
    "2/3": "two thirds",
    "1/4": "a quarter",
    "3/4": "three quarters",
}

_TYPED = {
    "lol": "haha", "lmao": "haha", "rofl": "haha", "xd": "haha", "idk": "I don't know",
    "omg": "oh my gosh", "btw": "by the way", "imo": "in my opinion", "imho": "in my opinion",
    "tbh": "to be honest", "brb": "be right back", "ttyl": "talk to you later",
    "ikr": "I know, right", "np": "no problem", "nvm": "never mind", "irl": "in real life",
    "afaik": "as far as I know", "fyi": "for your information", "rn": "right now", "thx": "thanks",
    "pls": "please", "plz": "please", "ppl": "people", "b/c": "because", "cuz": "because",
    "w/": "with", "w/o": "without", "u": "you", "ur": "your", "r": "are", "im": "I'm",
    "ive": "I've", "dont": "don't", "mr": "mister", "mrs": "missus", "dr": "doctor",
    "prof": "professor", "jr": "junior", "sr": "senior", "vs": "versus", "etc": "et cetera",
    "approx": "approximately", "e.g": "for example", "i.e": "that is",
}  # fmt: skip
_WITH_A_DOT = ("mr", "mrs", "dr", "prof", "jr", "sr", "vs", "etc", "approx", "e.g", "i.e")
_UNITS = {
    "km": "kilometers", "cm": "centimeters", "mm": "millimeters", "mi": "miles", "ft": "feet",
    "kg": "kilograms", "lb": "pounds", "lbs": "pounds", "oz": "ounces", "mph": "miles per hour",
    "hr": "hours", "hrs": "hours", "min": "minutes", "mins": "minutes", "yrs": "years",
}  # fmt: skip

_QUOTES = str.maketrans(
    {"‘": "'", "’": "'", "ʼ": "'", "`": "'", "“": '"', "”": '"', "½": " ½", "¼": " ¼", "¾": " ¾"}
)
_NUMBER = r"\d{1,3}(?:,\d{3})+|\d+"
_SPACED_STOP = re.compile(r" (?=[.,!?;:](?:\s|[.,!?;:]|$))")
# All but letters, digits and the punctuation that shapes speech: emoji and the like are not spoken.
_UNSPOKEN = re.compile(r"""[^\w\s.,!?;:'"()-]|_""")


def as_said(text: str) -> str:
    """Return a text as people say it, without what cannot be said (emoji, stray marks).

    Upper and lower case are kept. The result is empty if no word is left.
    """
    text = unicodedata.normalize("NFKC", text.translate(_QUOTES)).replace("\u2044", "/")
    for pattern, said in _RULES:
        text = pattern.sub(said, text)
    text = _SPACED_STOP.sub("", " ".join(_UNSPOKEN.sub(" ", text).split())).lstrip(" .,!?;:)-")
    return text if re.search(r"\w", text) else ""


def cardinal(number: int) -> str:
    """Return a number below a trillion in words: 1984 is one thousand nine hundred eighty-four."""
    if number < 20:
        return _ONES[number]
    if number < 100:
        return _TENS[number // 10] + (f"-{_ONES[number % 10]}" if number % 10 else "")
    size, name = next(scale for scale in _SCALES if number >= scale[0])
    rest = number % size
    return f"{cardinal(number // size)} {name}" + (f" {cardinal(rest)}" if rest else "")


def ordinal(number: int) -> str:
    """Return an ordinal number in words: 21 is twenty-first."""
    words = cardinal(number)
    cut = max(words.rfind(" "), words.rfind("-")) + 1
    last = words[cut:]
    return words[:cut] + (
        _IRREGULAR.get(last) or (f"{last[:-1]}ieth" if last.endswith("y") else f"{last}th")
    )


def year(number: int) -> str:
    """Return a four-digit number in words, as the year that it most likely is.

    1984 is nineteen eighty-four, and 2005 is two thousand five.
    """
    century, rest = divmod(number, 100)
    if not 11 <= century <= 20 or 2000 <= number < 2010:
        return cardinal(number)
    ending = "hundred" if not rest else f"oh {_ONES[rest]}" if rest < 10 else cardinal(rest)
    return f"{cardinal(century)} {ending}"


def _whole(digits: str) -> str:
    plain = digits.replace(",", "")
    if len(plain) > 12 or (plain[0] == "0" and len(plain) > 1):
        return " ".join(_ONES[int(digit)] for digit in plain)
    return year(int(plain)) if len(digits) == 4 else cardinal(int(plain))


def _number(match: re.Match[str]) -> str:
    whole, *decimals = match[0].split(".")
    return " ".join(
        [
            _whole(whole),
            *(f"point {' '.join(_ONES[int(digit)] for digit in part)}" for part in decimals),
        ]
    )


def _money(match: re.Match[str]) -> str:
    unit, small = _MONEY[match[1]]
    amount, scale = match[2], match[3] or ""
    if not scale and (price := re.fullmatch(r"([\d,]+)\.(\d\d)", amount)):
        return f" {price[1]} {unit}{'s' * (price[1] != '1')} and {int(price[2])} {small} "
    return f" {amount} {scale} {unit}{'s' * (amount != '1' or bool(scale))} "


def _clock(match: re.Match[str]) -> str:
    hour, minute = int(match[1]), int(match[2])
    past = "o'clock" if not minute else f"oh {_ONES[minute]}" if minute < 10 else cardinal(minute)
    return f"{cardinal(hour)} {past}" if hour < 25 and minute < 60 else match[0]


def _decade(match: re.Match[str]) -> str:
    words = year(int(match[1])) if len(match[1]) == 4 else cardinal(int(match[1]))
    return words[:-1] + "ies" if words.endswith("y") else words + "s"


def _initials(match: re.Match[str]) -> str:
    return " ".join(match[0].replace(".", " ").upper().split())


def _typed(match: re.Match[str]) -> str:
    is_initial = len(match[0]) == 1 and match[0].isupper()
    return match[0] if is_initial else _TYPED[match[0].lower().rstrip(".")]


def _any_of(words: dict[str, str]) -> str:
    return "|".join(
        re.escape(word) + r"\.?" * (word in _WITH_A_DOT)
        for word in sorted(words, key=len, reverse=True)
    )


# The order matters: a later rule would break up what an earlier one matches as a whole.
_RULES: tuple[tuple[re.Pattern[str], str | Callable[[re.Match[str]], str]], ...] = tuple(
    (re.compile(pattern, re.IGNORECASE | re.ASCII), said)
    for pattern, said in (
        (r"(?<=\w) ' ?(?=(?:s|t|m|re|ve|ll|d)\b)", "'"),
        (r"(?<=\w) n't\b", "n't"),
        (r"(?<!\w)(?:[:;=][-o']?[)(\]\[dp/\\|*]+|<3+|\^_*\^)(?!\w)", " "),
        (rf"(?<![\w.'/-])(?:{_any_of(_TYPED)})(?![\w'/-]|\.\w)", _typed),
        (r"(?<![\w.])(?:[a-z]\.){2,}", _initials),
        (r"(?<=\w)\.(?=(?:com|org|net)\b)", " dot "),
        (r"(?<![\d:])(\d{1,2}):(\d\d)(?![\d:])", _clock),
        (r"([$£€])\s?((?:\d[\d,]*\d|\d)(?:\.\d+)?)(?:\s?(k|thousand|million|billion)\b)?", _money),
        (rf"(?<=\d)\s?({'|'.join(_UNITS)})\b", lambda match: f" {_UNITS[match[1].lower()]}"),
        (r"(?<=\d) (?=(?:[12]/3|1/2|[13]/4)(?![\w/]))", " and "),
        (r"(?<![\w/])(?:[12]/3|1/2|[13]/4)(?![\w/])", lambda match: _FRACTIONS[match[0]]),
        (r"(?<=\d)\s?[-–]\s?(?=\d)", " to "),
        (r"(?<![\w)])-\s?(?=\d)", " minus "),
        (r"(?<=\d)\s?[x×*]\s?(?=\d)", " times "),
        (r"(?<=\d)\s?<\s?(?=\d)", " is less than "),
        (r"(?<=\d)\s?>\s?(?=\d)", " is greater than "),
        (r"(?<=\d)/(?=\d)", " "),
        (r"(?<=\w)/(?=\w)", " or "),
        (r"#\s?(?=\d)", " number "),
        (r"&", " and "),
        (r"%", " percent "),
        (r"(?<!\S)@|@(?!\S)|(?<=\w)@(?=\w)", " at "),
        (r"\+", " plus "),
        (r"(?<=[\w\s])=(?=[\w\s])", " equals "),
        (r"°", " degrees "),
        (r"(?<![\w.])'?(\d0|\d{3}0)'?s\b", _decade),
        (
            rf"(?<![\d.,])({_NUMBER})(?:st|nd|rd|th)\b",
            lambda match: ordinal(int(match[1].replace(",", ""))),
        ),
        (r"(?<=\d)\s?k\b", " thousand"),
        (r"(?<=[a-z])(?=\d)|(?<=\d)(?=[a-z])", " "),
        (rf"(?:{_NUMBER})(?:\.\d+)*", _number),
        (r"([!?,;:])\1+", r"\1"),
    )
)
