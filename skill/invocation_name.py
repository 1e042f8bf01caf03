"""Alexa's rules for an invocation name.

https://developer.amazon.com/docs/alexa/custom-skills/choose-the-invocation-name-for-a-custom-skill.html
"""

from __future__ import annotations

import re

MIN_CHARACTERS, MAX_CHARACTERS = 2, 50
_ARTICLES = {"a", "an", "the"}
_PREPOSITIONS = {"for", "to", "of", "about", "up", "by", "at", "off", "with"}
_LAUNCHES = {
    "run",
    "start",
    "play",
    "resume",
    "use",
    "launch",
    "ask",
    "open",
    "tell",
    "load",
    "begin",
    "enable",
}
_CONNECTS = {
    "to",
    "from",
    "in",
    "using",
    "with",
    "about",
    "for",
    "that",
    "by",
    "if",
    "and",
    "whether",
}
_WAKES = {"alexa", "amazon", "echo", "computer", "skill", "app"}
_ABBREVIATION = re.compile(r"(?:[a-z]\.)+")
_WORD = re.compile(r"[a-z]+(?:'s|s')?")


def name_faults(name: str) -> list[str]:
    """Return the rules that an invocation name breaks; none if it can be used."""
    words = name.split()
    found = []
    if name != " ".join(words):
        found.append("one space between words, and none around them")
    if not MIN_CHARACTERS <= len(name) <= MAX_CHARACTERS:
        found.append(f"{MIN_CHARACTERS} to {MAX_CHARACTERS} characters, but it has {len(name)}")
    if len(words) < 2:
        found.append("two words or more")
    if name != name.lower():
        found.append("lower case")
    found += [
        f"{word!r} is neither letters (numbers spelt out, an apostrophe only for a possessive) "
        "nor an abbreviation (a. b. c.)"
        for word in words
        if not (_WORD.fullmatch(word.lower()) or _ABBREVIATION.fullmatch(word.lower()))
    ]
    plain = {word.lower() for word in words}
    if len(words) == 2 and (few := plain & (_ARTICLES | _PREPOSITIONS)):
        found.append(f"no article or preposition ({_listed(few)}) in a name of two words")
    if launches := plain & (_LAUNCHES | _CONNECTS):
        found.append(f"no word that opens or asks a skill ({_listed(launches)})")
    if wakes := plain & _WAKES:
        found.append(f"no wake word, nor 'skill' or 'app' ({_listed(wakes)})")
    return found


def _listed(words: set[str]) -> str:
    return ", ".join(sorted(words))
