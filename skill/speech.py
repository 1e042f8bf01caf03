"""Reply text -> what Alexa speaks: sentence case, no placeholder, no repetition, well-formed SSML of bounded length."""

from __future__ import annotations

import re
from xml.sax.saxutils import escape

from dialogue.vocabulary import CONTINUED
from dialogue.words import repeats_ngram

MAX_CHARACTERS = 8000  # of a speech, tags included
REPEATED_WORDS = 3  # so many words in a row are never said twice in one speech
PAUSE = '<break time="300ms"/>'

_PLACEHOLDER = re.compile(r"</?(?:person|number|unk|pad|s)>|\ufffd")
# What XML 1.0 does not allow, and halves of surrogate pairs.
ILLEGAL = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_SENTENCE_START = re.compile(r"(?:^|(?<=[.!?] ))([\"'(]*)([^\W\d_])")
_I = re.compile(r"(?<![\w'])i(?=(?:'(?:m|ve|ll|d))?(?![\w']))")
_SENTENCE_END = re.compile(r"[.!?][\"')]*(?= |$)")


def to_speech(text: str) -> str:
    """Turn a reply into the inside of a <speak> element; empty where nothing in it can be said.

    "<continued_utterance>" becomes a short pause. A text that would repeat itself is cut before it does.
    """
    spoken = [_sentence_case(part) for part in _clean(text).split(CONTINUED)]
    said: list[str] = []
    for part in filter(None, (_without_repeats(said, part.strip()) for part in spoken)):
        said.append(part)
    return _capped([escape(part) for part in said])


def _clean(text: str) -> str:
    text = ILLEGAL.sub(" ", text).replace(CONTINUED, "\n")
    return re.sub(r"[^\S\n]+", " ", _PLACEHOLDER.sub(" ", text)).replace("\n", CONTINUED)


def _sentence_case(text: str) -> str:
    text = _I.sub("I", text.strip())
    return _SENTENCE_START.sub(lambda match: match[1] + match[2].upper(), text)


def _without_repeats(said: list[str], part: str) -> str:
    """Cut a part at the last sentence end, else word, before it repeats itself or what was said."""
    before = " ".join(said) + " "
    if not repeats_ngram(before + part, REPEATED_WORDS):
        return part
    pieces = part.split(" ")
    while pieces and repeats_ngram(before + " ".join(pieces), REPEATED_WORDS):
        pieces.pop()
    kept = " ".join(pieces)
    ends = [match.end() for match in _SENTENCE_END.finditer(kept)]
    return kept[: ends[-1]] if ends else kept


def _capped(parts: list[str]) -> str:
    """Join parts with pauses; what passes the limit is cut at a sentence end, else at a word."""
    limit = MAX_CHARACTERS - len("<speak></speak>")
    speech = ""
    for part in parts:
        joined = f"{speech}{PAUSE}{part}" if speech else part
        if len(joined) > limit:
            room = part[: max(0, limit - len(joined) + len(part))]
            ends = [match.end() for match in _SENTENCE_END.finditer(room)]
            cut = room[: ends[-1]] if ends else room.rpartition(" ")[0]
            return f"{speech}{PAUSE}{cut}" if speech and cut else speech or cut
        speech = joined
    return speech
