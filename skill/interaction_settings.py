"""The skill's names and how it takes free speech, from interaction_models/settings.toml."""

from __future__ import annotations

import argparse
import re
import tomllib
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, get_args

from dialogue.safety.answers import LINES
from dialogue.text_files import read_text
from skill.invocation_name import name_faults

PACKAGE = Path(__file__).parent.parent / "interaction_models"
SETTINGS = PACKAGE / "settings.toml"

FreeSpeech = Literal["elicit", "catchall"]

LOCALES = tuple(LINES)
# Unless a slot is being elicited, Alexa requires words around it and passes on only what is in the
# slot. So each word that often begins an utterance has its own intent, whose name tells the handler
# which word Alexa left out.
_CARRIERS = (
    "what", "what's", "who", "who's", "whose", "where", "where's", "when", "why", "how", "how's",
    "which", "is", "isn't", "are", "aren't", "am", "was", "were", "do", "don't", "does", "did",
    "can", "can't", "could", "will", "would", "should", "have", "haven't", "has", "had", "i", "i'm",
    "i've", "i'll", "i'd", "my", "you", "you're", "your", "he", "he's", "she", "she's", "it",
    "it's", "that", "that's", "this", "there", "there's", "they", "they're", "we", "we're", "the",
    "some", "let's", "tell", "give", "talk", "because", "but", "and", "or", "so", "if", "well",
    "yeah", "yes", "no", "not", "maybe", "never", "today", "yesterday", "actually", "also", "oh",
    "okay", "hey", "hi", "hello", "thanks", "sorry", "please",
)  # fmt: skip


@dataclass(frozen=True)
class InteractionSettings:
    """The checked settings. Raises ValueError on what Alexa's console would refuse."""

    invocation_name: str
    free_speech: FreeSpeech
    intent: str
    slot: str
    locales: tuple[str, ...]

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            parts = value if isinstance(value, tuple) else (value,)
            if not parts or not all(isinstance(part, str) for part in parts):
                raise ValueError(
                    f"{field.name} is {value!r}; expected text, or for locales a list of texts"
                )
        if found := name_faults(self.invocation_name):
            raise ValueError(
                f"the invocation name {self.invocation_name!r} cannot be used: {'; '.join(found)}"
            )
        if self.free_speech not in get_args(FreeSpeech):
            raise ValueError(
                f"free_speech is {self.free_speech!r}; "
                f"it must be one of {', '.join(get_args(FreeSpeech))}"
            )
        for name in ("intent", "slot"):
            if not re.fullmatch(r"[A-Za-z][A-Za-z_]*", getattr(self, name)):
                raise ValueError(
                    f"{name} is {getattr(self, name)!r}; expected letters and underscores"
                )
        if unknown := set(self.locales) - set(LOCALES):
            raise ValueError(
                f"locales has {', '.join(sorted(unknown))}; "
                f"the skill speaks English: {', '.join(LOCALES)}"
            )
        if self.intent in _carrier_intents():
            raise ValueError(
                f"intent is {self.intent!r}, which is the name of another intent of this skill; "
                "choose another"
            )

    @property
    def name(self) -> str:
        """The invocation name in title case: "chatty friend" is "Chatty Friend"."""
        return " ".join(word[:1].upper() + word[1:] for word in self.invocation_name.split())

    @cached_property
    def carrier_of(self) -> dict[str, str]:
        """The free-speech intents, each with the word that Alexa leaves out of the slot."""
        return {**(_carrier_intents() if self.free_speech == "elicit" else {}), self.intent: ""}


def load(path: Path = SETTINGS) -> InteractionSettings:
    """Load the settings. Raises ValueError, which names the file, if they cannot be used."""
    try:
        found = tomllib.loads(read_text(path))
        names = {field.name for field in fields(InteractionSettings)}
        if found.keys() != names:
            odd = ", ".join(sorted(found.keys() ^ names))
            raise ValueError(f"{odd} is missing, or is not one of {', '.join(sorted(names))}")
        listed: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in found.items()
        }
        return InteractionSettings(**listed)
    except ValueError as error:  # TOMLDecodeError is a ValueError
        raise ValueError(f"{path}: {error}") from None


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add --invocation-name and --free-speech, which override the file."""
    parser.add_argument(
        "--invocation-name",
        metavar="NAME",
        help="what people say to open the skill (default: settings.toml's)",
    )
    parser.add_argument(
        "--free-speech",
        choices=get_args(FreeSpeech),
        help="how Alexa passes on free speech (default: settings.toml's)",
    )


def chosen(options: argparse.Namespace) -> InteractionSettings:
    """Return the file's settings, overridden by the command line.

    Raises ValueError if they cannot be used.
    """
    asked = {"invocation_name": options.invocation_name, "free_speech": options.free_speech}
    return replace(load(), **{name: value for name, value in asked.items() if value is not None})


def _carrier_intents() -> dict[str, str]:
    return {f"{carrier.capitalize().replace(chr(39), '_')}Intent": carrier for carrier in _CARRIERS}
