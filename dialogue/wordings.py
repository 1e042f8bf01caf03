"""Other wordings of stock replies, so that people hear the same thought in ever new words.

A few stock replies suit much of what people say. The ranker weighs each as it stands in the
checkpoint; once it is chosen, one of its wordings is said. wordings.txt lists them, as templates
indented below the reply:

    I'd have to think about that.
        {I'd|I would} have to think about {that|it}.
        Let me think about that{| first}.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from dialogue.text_files import read_lines

FILE = Path(__file__).with_name("wordings.txt")
_INDENT = "    "
_CHOICE = re.compile(r"\{([^{}]*)\}")


def expand(template: str) -> list[str]:
    """Return all texts of a template, in which {a|b} stands for a or b."""
    parts = _CHOICE.split(template)  # every other part is what stood between braces
    choices = [part.split("|") if place % 2 else [part] for place, part in enumerate(parts)]
    return ["".join(chosen) for chosen in itertools.product(*choices)]


def wordings(reply: str) -> tuple[str, ...]:
    """Return all wordings of a reply, itself first; for most texts there is no other."""
    texts = itertools.chain.from_iterable(map(expand, _templates().get(reply, ())))
    return tuple(dict.fromkeys([reply, *texts]))


def meanings(text: str) -> tuple[str, ...]:
    """Return the replies that a text is a wording of, usually one or none."""
    return _replies().get(text, ())


def read(lines: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Read replies, each with its templates.

    Raises ValueError if a template belongs to no reply, or its braces do not match.
    """
    found: dict[str, list[str]] = {}
    reply = ""
    for number, line in enumerate(lines, start=1):
        text, where = line.strip(), f"{FILE.name}, line {number}"
        if not text or text.startswith("#"):
            continue
        if not line.startswith(_INDENT):
            reply = text
            found.setdefault(reply, [])
        elif not reply:
            raise ValueError(f"{where}: {text!r} stands below no reply")
        elif set(_CHOICE.sub("", text)) & set("{|}"):
            raise ValueError(f"{where}: {text!r} has a brace or | too many; expected {{a|b}}")
        else:
            found[reply].append(text)
    return {reply: tuple(templates) for reply, templates in found.items()}


@cache
def _templates() -> dict[str, tuple[str, ...]]:
    return read(read_lines(FILE))


@cache
def _replies() -> dict[str, tuple[str, ...]]:
    """Return the replies behind each wording."""
    replies: dict[str, tuple[str, ...]] = {}
    for reply in _templates():
        for text in wordings(reply):
            replies[text] = (*replies.get(text, ()), reply)
    return replies
