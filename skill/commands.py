"""Commands given as free speech: to leave, to get help, to repeat, or to start over.

An utterance is a command if it consists only of commands and of what people say around them:
politeness, thanks, a form of address, hesitation. With anything else in it, it is talk. So "stop
stop", "okay alexa please stop talking" and "sorry can you say that again" are obeyed, but "don't
stop", "never mind the rain" and "help me pick a name" are not. The patterns are in commands.toml.
"""

from __future__ import annotations

import re
import tomllib
from functools import cache
from pathlib import Path
from typing import Literal, NamedTuple, get_args

from dialogue.safety.topics import topic
from dialogue.words import words

Command = Literal["stop", "help", "start over", "repeat"]

PATTERNS = Path(__file__).with_name("commands.toml")
MAX_WORDS = 24  # nobody gives a longer command; this also bounds the matching time

_PART = re.compile(r"\{([a-z_]+)\}")
_BREAK = re.compile(r"(?:^|\n) *")


def command(utterance: str, invocation_name: str) -> Command | None:
    """Return the command that a whole utterance gives (the last of several), or None for talk."""
    grammar = compiled(invocation_name)
    all_of = grammar.any_of_them.fullmatch
    spoken = " ".join(words(utterance.replace("’", "'")))
    for contracted, whole in grammar.written_out:
        spoken = contracted.sub(whole, spoken)
    if len(spoken.split()) > MAX_WORDS or not all_of(spoken):
        return None
    # The last command may start at any word with nothing, or nothing but commands, before it.
    starts = [0, *(space.end() for space in re.finditer(" ", spoken))]
    lasts = [start for start in starts if not start or all_of(spoken, 0, start - 1)]
    for name, ends in grammar.last.items():
        if any(ends.fullmatch(spoken, start) for start in lasts):
            # Safety is checked only after commands, but "i want to die, bye" is no mere farewell.
            return None if "bye" in spoken and topic(utterance) else name
    return None


class Grammar(NamedTuple):
    """The compiled patterns.

    written_out: contractions and their full forms. any_of_them: matches an utterance made up of
    commands and the words around them, or of such words alone; most talk fails on its first words.
    last: for each command, matches the end of an utterance in which it is the last command.
    """

    written_out: list[tuple[re.Pattern[str], str]]
    any_of_them: re.Pattern[str]
    last: dict[Command, re.Pattern[str]]


@cache
def compiled(invocation_name: str) -> Grammar:
    """Compile the patterns for an invocation name; this takes most of a second, but only once."""
    lists = tomllib.loads(PATTERNS.read_text(encoding="utf-8"))
    name = words(invocation_name)
    parts = {"invocation_name": " ".join(name), "first_name": name[0]}

    def whole(pattern: str) -> str:
        return _PART.sub(lambda match: parts[match[1]], _BREAK.sub("", pattern))

    for name, pattern in lists["parts"].items():
        parts[name] = whole(pattern)
    # The first match in this order counts: "start over again please" must not be taken for "again
    # please".
    names: tuple[Command, ...] = get_args(Command)
    one = {name: f"(?:{'|'.join(map(whole, lists['commands'][name]))})" for name in names}
    around = parts["around"]
    anything = f"(?:{around}|{'|'.join(one.values())})"
    return Grammar(
        [(re.compile(rf"\b{contracted}\b"), out) for contracted, out in lists["written_out"]],
        re.compile(rf"(?:{anything}(?: |$))+"),
        {name: re.compile(rf"{pattern}(?: {around})*") for name, pattern in one.items()},
    )
