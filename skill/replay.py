"""python -m skill.replay FILE...: replay recorded conversations, show changes, check expectations.

docs/simulator.md describes the file: {"locale": ..., "turns": [{"say": ..., "expect": {...}}]}.
Other formats are ask-cli's replay files, requests as the Alexa console shows them, and plain text
(one utterance per line, an empty line between conversations).
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from flask import Flask

from dialogue.agent import DialogueAgent
from dialogue.command_line import add_model, command
from dialogue.config import DecodeConfig, add_options, decode_config
from dialogue.safety import Level, level_from_environment
from dialogue.state.memory import MemoryState
from dialogue.text_files import read_text
from dialogue.words import repeats_ngram, words
from skill import build_skill, contract, device, interaction_settings
from skill.device import NOT_UNDERSTOOD, Session
from skill.endpoint import mount
from skill.interaction_settings import InteractionSettings, load
from skill.transaction import Transactions

SESSION = "amzn1.echo-api.session.replay"
SILENCE = "(silence)"  # in plain text, an utterance that was not understood
REPEATED_WORDS = 3
ASK_CLI_QUITS = ".quit"
_EXPECTED: dict[str, tuple[type, str]] = {
    "text": (str, "text"),
    "pattern": (str, "a regular expression"),
    "listens": (bool, "true or false"),
    "ends": (bool, "true or false"),
    "max_words": (int, "a number"),
    "no_repetition": (bool, "true or false"),
    "contract": (bool, "true or false"),
}
_TURN = {"say", "intent", "end", "request", "answer", "expect"}
_FILE = {"locale", "user", "session", "settings", "turns"}


@dataclass(frozen=True)
class Turn:
    """One step: something said (None: a launch), an intent, a session's end, or a whole request.

    answer: the recorded answer, or None if it is not known. expect: see `faults`.
    """

    say: str | None = None
    intent: str = ""
    end: str = ""
    request: dict[str, Any] | None = None
    answer: str | None = None
    expect: Mapping[str, Any] = field(default_factory=dict)

    def to(self, session: Session, interaction: InteractionSettings) -> dict[str, Any]:
        """Build the turn's request."""
        if self.request is not None:
            return self.request
        if self.end:
            return device.end(session, self.end)
        return (
            device.intend(session, self.intent)
            if self.intent
            else device.say(session, self.say, interaction=interaction)
        )

    @property
    def shown(self) -> str:
        """The turn in a few words."""
        if self.request is not None:
            return f"({self.request['request']['type']})"
        if self.intent or self.end:
            return f"({self.intent or self.end})"
        return (
            f"(open {load().invocation_name})"
            if self.say is None
            else SILENCE
            if self.say == NOT_UNDERSTOOD
            else self.say
        )


@dataclass(frozen=True)
class Talk:
    """A recorded conversation.

    settings: search settings by name. goes_on: whether a session that ends is opened again.
    """

    name: str
    turns: tuple[Turn, ...]
    session: Session = field(default_factory=lambda: Session(SESSION))
    settings: Mapping[str, Any] = field(default_factory=dict)
    goes_on: bool = True


@dataclass(frozen=True)
class Told:
    """The outcome of a turn: the speech, and the expectations that it did not meet."""

    turn: Turn
    text: str
    faults: tuple[str, ...] = ()

    @property
    def has_changed(self) -> bool:
        """Whether the recorded answer was different."""
        return self.turn.answer is not None and self.turn.answer != self.text


class Skill:
    """The whole skill in this process; it also reports the rules that a response breaks."""

    def __init__(
        self,
        agent: DialogueAgent,
        *,
        interaction: InteractionSettings | None = None,
        safety: Level = "standard",
    ) -> None:
        self.interaction = interaction or load()
        app = Flask(__name__)
        app.testing = True  # so that a broken contract is raised instead of becoming an error page
        skill = build_skill(agent, interaction=self.interaction, safety=safety)
        kept = Transactions(MemoryState(), lambda _: agent)
        mount(app, skill, verifier=None, transactions=kept, interaction=self.interaction)
        self._client = app.test_client()

    def post(self, request: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
        """Send a request, and return the response and the rules that it breaks.

        Raises ValueError if the skill refuses the request.
        """
        try:
            reply = self._client.post("/", json=request)
        except contract.BrokenContract as broken:
            return {"version": "1.0", "response": {}}, [str(broken)]
        if reply.status_code != 200:
            raise ValueError(f"the skill refuses a request: {reply.text.strip()}")
        response: dict[str, Any] = reply.get_json()
        return response, contract.check(response, request, self.interaction)


def replay(skill: Skill, talk: Talk) -> Iterator[Told]:
    """Replay a conversation turn by turn."""
    session, said, number = talk.session, list[str](), 1
    for turn in talk.turns:
        request = turn.to(session, skill.interaction)
        response, broken = skill.post(request)
        text = device.spoken(response)
        yield Told(turn, text, tuple(faults(turn.expect, response, before=said, broken=broken)))
        said.append(text)
        # A stored request carries its own session, which may be new regardless of what came before.
        was_open, session = (
            session.is_open or request.get("session", {}).get("new", False),
            device.after(session, response),
        )
        if was_open and not session.is_open:
            if not talk.goes_on:
                return
            number += 1  # the next turn opens a new session
            session = Session(
                f"{talk.session.id}.{number}", session.locale, session.user, session.interfaces
            )
    # Leave nothing behind for the next conversation.
    if session.is_open:
        skill.post(device.end(session, "USER_INITIATED"))


def faults(
    expect: Mapping[str, Any],
    response: dict[str, Any],
    *,
    before: Sequence[str],
    broken: Sequence[str],
) -> Iterator[str]:
    """Yield the expectations that a response does not meet.

    before: what was said earlier. broken: the rules of the contract that the response breaks.
    The expectations are: text, the exact speech; pattern, found in the speech; listens and ends,
    whether the session stays open; max_words; no_repetition, no three words in a row twice and
    nothing that was said before; contract, no broken rules (expected unless it is false).
    """
    text, listens = device.spoken(response), response["response"].get("shouldEndSession") is False
    if expect.get("contract", True):
        yield from (f"the contract: {rule}" for rule in broken)
    if "text" in expect and text != expect["text"]:
        yield f"expected {expect['text']!r}"
    if "pattern" in expect and not re.search(expect["pattern"], text):
        yield f"expected the pattern {expect['pattern']!r}"
    for name, is_so in (("listens", listens), ("ends", not listens)):
        if name in expect and expect[name] != is_so:
            wanted = "listens" if expect[name] == (name == "listens") else "ends the session"
            yield f"expected that it {wanted}"
    if "max_words" in expect and len(words(text)) > expect["max_words"]:
        yield f"expected at most {expect['max_words']} words, found {len(words(text))}"
    if expect.get("no_repetition"):
        if repeats_ngram(text, REPEATED_WORDS):
            yield f"expected no {REPEATED_WORDS} words in a row twice"
        if text and text in before:
            yield "expected something that was not said before"


# --- files ----------------------------------------------------------------------------------------


def read_talks(path: Path) -> list[Talk]:
    """Load a file in any of the formats. Raises ValueError, which names the file and its fault."""
    try:
        return parse(read_text(path), path.name)
    except ValueError as error:
        raise ValueError(str(error) if str(path) in str(error) else f"{path}: {error}") from None


def parse(text: str, name: str) -> list[Talk]:
    """Parse a file's text. Raises ValueError if it is in none of the formats."""
    if name.endswith(".json") or text.lstrip().startswith(("{", "[")):
        try:
            found = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"it is not JSON ({error})") from None
        return [_talk(found, name)]
    scripts = [part.splitlines() for part in re.split(r"\n\s*\n", text.strip())]
    if not any(scripts):
        raise ValueError("it holds no utterance; expected one per line")
    return [
        Talk(
            f"{name} {number}",
            (Turn(), *map(_line, script)),
            Session(f"rehearsal {number}"),
            goes_on=False,
        )
        for number, script in enumerate(scripts, start=1)
    ]


def _line(line: str) -> Turn:
    return Turn(say=NOT_UNDERSTOOD if line.strip() == SILENCE else line)


def _talk(found: Any, name: str) -> Talk:
    if isinstance(found, dict) and "request" in found:
        found = [found]
    if isinstance(found, list):
        return Talk(
            name,
            tuple(_request(one, f"request {number}") for number, one in enumerate(found, start=1)),
        )
    if isinstance(found, dict) and "userInput" in found:
        return _of_ask_cli(found, name)
    if (
        not isinstance(found, dict)
        or not isinstance(found.get("turns"), list)
        or not found["turns"]
    ):
        raise ValueError('expected {"turns": [{"say": ...}, ...]}, or the userInput of ask-cli')
    _only(found, _FILE, "the file")
    session = Session(
        **{
            place: found[key]
            for key, place in (("session", "id"), ("locale", "locale"), ("user", "user"))
            if key in found
        }
        | ({} if "session" in found else {"id": SESSION})
    )
    settings = found.get("settings", {})
    if not isinstance(settings, dict):
        raise ValueError("settings must be an object of DecodeConfig's names and values")
    settings_of(settings)
    return Talk(
        name,
        tuple(turn_of(one, f"turn {number}") for number, one in enumerate(found["turns"], start=1)),
        session,
        settings,
    )


def _of_ask_cli(found: dict[str, Any], name: str) -> Talk:
    said = found["userInput"]
    if not isinstance(said, list) or not said or not all(isinstance(line, str) for line in said):
        raise ValueError("userInput must be a list of utterances")
    if found.get("type", "text") != "text":
        raise ValueError(f"the type is {found['type']!r}; only text is read")
    session = Session(SESSION, locale=found.get("locale", "en-US"))
    return Talk(
        name,
        tuple(Turn(say=line) for line in said if line.strip() and line.strip() != ASK_CLI_QUITS),
        session,
    )


def _request(found: Any, where: str) -> Turn:
    request = found.get("request") if isinstance(found, dict) else None
    if not isinstance(request, dict) or not isinstance(request.get("type"), str):
        raise ValueError(f"{where} is not a request with a type, as the Alexa console shows it")
    if not isinstance(found.get("session", {}), dict):
        raise ValueError(f"{where}: its session must be an object")
    return Turn(request=found)


def turn_of(found: Any, where: str) -> Turn:
    """Return one turn from JSON. Raises ValueError if it is malformed."""
    if not isinstance(found, dict) or len(found.keys() & {"say", "intent", "end", "request"}) != 1:
        raise ValueError(
            f'{where}: expected an object with "say" (null for a launch), '
            "or one of intent, end and request"
        )
    _only(found, _TURN, where)
    if "request" in found:
        return Turn(
            request=_request(found["request"], where).request,
            answer=found.get("answer"),
            expect=_expect(found, where),
        )
    for key in ("say", "intent", "end", "answer"):
        if not isinstance(found.get(key), str | None) or (
            key in ("intent", "end") and key in found and not found[key]
        ):
            raise ValueError(f"{where}: {key} is {found[key]!r}; expected text")
    return Turn(
        found.get("say"),
        found.get("intent", ""),
        found.get("end", ""),
        None,
        found.get("answer"),
        _expect(found, where),
    )


def _expect(found: dict[str, Any], where: str) -> dict[str, Any]:
    expect = found.get("expect", {})
    if not isinstance(expect, dict):
        raise ValueError(f"{where}: expect must be an object")
    _only(expect, set(_EXPECTED), f"{where}, expect")
    for name, value in expect.items():
        kind, expected = _EXPECTED[name]
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise ValueError(f"{where}: {name} is {value!r}; expected {expected}")
    try:
        re.compile(expect.get("pattern", ""))
    except re.error as error:
        raise ValueError(
            f"{where}: pattern {expect['pattern']!r} is not a regular expression ({error})"
        ) from None
    return expect


def _only(found: dict[str, Any], known: set[str], where: str) -> None:
    if unknown := sorted(found.keys() - known):
        raise ValueError(
            f"{where} has {', '.join(unknown)}; expected one of {', '.join(sorted(known))}"
        )


def settings_of(values: Mapping[str, Any]) -> DecodeConfig:
    """Return search settings from JSON. Raises ValueError on unknown names and bad values."""
    names = {setting.name for setting in fields(DecodeConfig)}
    _only(dict(values), names, "settings")
    # A recording may come from anywhere: it must not name a file or code to load.
    if values.get("block_list"):
        raise ValueError("settings: block_list names a file; set it on the command line")
    if ":" in str(values.get("ranker", "")):
        raise ValueError("settings: this ranker is custom code; set it on the command line")
    whole: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in values.items()
    }
    try:
        return DecodeConfig(**whole)
    except TypeError as error:
        raise ValueError(f"settings: {error}") from None


# --- the command ----------------------------------------------------------------------------------


def show(talk: Talk, told: Sequence[Told]) -> str:
    """Return a conversation as a Markdown table that marks changed answers and failures."""
    lines = [f"## {talk.name}", "", "| you | it |", "|---|---|"]
    for one in told:
        notes = [f"**was** {one.turn.answer}"] * one.has_changed + [
            f"**FAILED** {fault}" for fault in one.faults
        ]
        lines.append(f"| {_cell(one.turn.shown)} | {_cell(' '.join([one.text, *notes]))} |")
    return "\n".join([*lines, ""])


def _cell(text: str) -> str:
    return text.replace("\n", " ").replace("|", "\\|")


@command
def main(arguments: list[str] | None = None) -> int:
    """Replay conversations from the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m skill.replay", description="Replay recorded conversations."
    )
    parser.add_argument(
        "files",
        type=Path,
        nargs="+",
        metavar="FILE",
        help="JSON (also ask-cli's), or plain text with one utterance per line",
    )
    add_model(parser)
    add_options(parser)
    interaction_settings.add_options(parser)
    options = parser.parse_args(arguments)
    interaction = interaction_settings.chosen(options)
    safety = level_from_environment()
    given = decode_config(options)
    # The command line overrides a recording's settings, but only with values that are not defaults.
    asked = {
        place.name: value
        for place in fields(DecodeConfig)
        if (value := getattr(given, place.name)) != place.default
    }
    talks = [talk for path in options.files for talk in read_talks(path)]
    agent = DialogueAgent.load(
        options.checkpoint, model_name=options.model, precision="fp32", decode=given, safety=safety
    )
    changed = failed = turns = 0
    for talk in talks:
        searching = agent.with_settings(
            DecodeConfig(**{**vars(settings_of(talk.settings)), **asked})
        )
        told = list(replay(Skill(searching, interaction=interaction, safety=safety), talk))
        print(show(talk, told))
        turns += len(told)
        changed += sum(one.has_changed for one in told)
        failed += sum(len(one.faults) for one in told)
    print(f"{turns} turns, {changed} answers changed, {failed} expectations failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
