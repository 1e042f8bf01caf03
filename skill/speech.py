"""Turn a reply's text into what Alexa speaks.

The result is well-formed SSML of bounded length: worded as people say it, in sentence case, and
without repetition.
"""

from __future__ import annotations

import re
from xml.sax.saxutils import escape

from dialogue.vocabulary import CONTINUED
from dialogue.words import words
from skill.pronunciation import as_said

MAX_CHARACTERS = 600  # far fewer than Alexa allows, but nobody listens to more in one go
REPEATED_WORDS = 3  # this many words in a row are never said twice in one speech
PAUSE = '<break time="300ms"/>'
# What XML 1.0 does not allow, and halves of surrogate pairs.
ILLEGAL = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

_PLACEHOLDER = re.compile(r"</?(?:person|number|unk|pad|s)>|\ufffd")
_SENTENCE_START = re.compile(r"(?:^|(?<=[.!?] ))([\"'(]*)([^\W\d_])")
_I = re.compile(r"(?<![\w'])i(?=(?:'(?:m|ve|ll|d))?(?![\w']))")
_SENTENCE_END = re.compile(r"[.!?][\"')]*(?= |$)")


def to_speech(text: str) -> str:
    """Return a reply as the content of a <speak> element, or "" if nothing in it can be said.

    "<continued_utterance>" becomes a short pause. A text that repeats itself is cut before the
    repetition, and a long one at the end of a sentence.
    """
    said: list[str] = []
    for part in ILLEGAL.sub(" ", text).split(CONTINUED):
        spoken = _without_repeats(said, _sentence_case(as_said(_PLACEHOLDER.sub(" ", part))))
        said += [spoken] if spoken else []
        if sum(map(len, said)) > MAX_CHARACTERS:
            break
    return PAUSE.join(escape(part) for part in _capped(said))


def _sentence_case(text: str) -> str:
    return _SENTENCE_START.sub(lambda match: match[1] + match[2].upper(), _I.sub("I", text))


def _without_repeats(said: list[str], part: str) -> str:
    """Cut a part before it repeats itself or what was said: after a sentence, else after a word."""
    spoken = words(" ".join(said))
    grams = set(zip(*(spoken[start:] for start in range(REPEATED_WORDS)), strict=False))
    pieces = part.split(" ")
    for index, piece in enumerate(pieces):
        for word in words(piece):
            spoken.append(word)
            gram = tuple(spoken[-REPEATED_WORDS:])
            if gram in grams:
                kept = " ".join(pieces[:index])
                return _whole_sentences(kept) or kept
            if len(gram) == REPEATED_WORDS:
                grams.add(gram)
    return part


def _whole_sentences(text: str) -> str:
    ends = [match.end() for match in _SENTENCE_END.finditer(text)]
    return text[: ends[-1]] if ends else ""


def _capped(parts: list[str]) -> list[str]:
    """Cut the parts at the limit: after a sentence, or after a word if the first is too long."""
    kept: list[str] = []
    room = MAX_CHARACTERS
    for part in parts:
        if len(part) > room:
            cut = _whole_sentences(part[:room])
            if not kept:
                cut = cut or part[:room].rpartition(" ")[0] or part[:room]
            return [*kept, cut] if cut else kept
        kept.append(part)
        room -= len(part)
    return kept
