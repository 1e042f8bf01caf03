"""A conversation in a terminal: the skill's answers, their candidates, and the search settings."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import uuid
from collections.abc import Callable, Iterator
from dataclasses import asdict, fields
from typing import TYPE_CHECKING, NoReturn

from rich.console import Console
from rich.table import Table

from dialogue.agent import DialogueAgent, Reply
from dialogue.answers import Answer, answer
from dialogue.config import DecodeConfig, add_options, decode_config
from dialogue.safety import Level, Play
from dialogue.seeded_choice import pick
from dialogue.wordings import wordings

if TYPE_CHECKING:
    from prompt_toolkit.completion import CompleteEvent, Completer
    from prompt_toolkit.document import Document

COMMANDS = {
    "/beam": "shows what the last reply was chosen from",
    "/why": "says who answered, and why each other candidate was passed over",
    "/json": "shows the same as JSON",
    "/settings": "shows the settings of the search, or changes them: /settings --beam-size 5",
    "/reset": "begins anew",
    "/quit": "leaves",
}
WHO = {
    "safety": "a fixed answer of safety",
    "identity": "a fixed answer about itself",
    "repair": "an apology, because the last reply missed",
    "agent": "the model",
}


class Talk:
    """One conversation with the agent, and its last answer."""

    def __init__(self, agent: DialogueAgent, *, safety: Level = "standard") -> None:
        self.agent, self._safety = agent, safety
        self._name = f"terminal {uuid.uuid4()}"
        self.answer: Answer | None = None
        self.reply: Reply | None = None  # the agent's whole reply, if the answer is the agent's
        self._replied_by = agent  # kept because the settings may have changed since
        self._play = Play()  # what is known of a game

    def say(self, utterance: str) -> Answer:
        """Answer an utterance as the skill does."""
        self.reply, self._replied_by = None, self.agent

        def respond(written: str) -> str:
            (self.reply,) = self.agent.replies([self._name], [written])
            return self.reply.text

        last = self.answer.text if self.answer and self.answer.may_miss else ""
        self.answer = answer(
            utterance,
            respond=respond,
            note=lambda written, reply: self.agent.note(self._name, written, reply),
            choose=lambda wordings: pick(wordings, utterance),
            seed=utterance,
            safety=self._safety,
            play=self._play,
            said=last,
        )
        self._play = self._play.after(utterance, about=self.answer.about)
        return self.answer

    def why(self) -> list[str]:
        """Return why each candidate of the last reply was passed over; "" for the one said."""
        return self._replied_by.why(self.reply) if self.reply else []

    def end(self) -> None:
        """Forget everything that was said."""
        self.agent.forget(self._name)
        self.answer = self.reply = None
        self._play = Play()


def talk(agent: DialogueAgent, console: Console, *, safety: Level = "standard") -> None:
    """Read lines, and answer or obey them, until /quit or the end of the input."""
    conversation, read = Talk(agent, safety=safety), _reader(console)
    help_line = ", ".join(f"{name} {meaning}" for name, meaning in COMMANDS.items())
    console.print(f"Talk to it. {help_line}.", style="dim", highlight=False)
    while True:
        try:
            line = read().strip()
        except (EOFError, KeyboardInterrupt):
            return
        name, _, rest = line.partition(" ")
        if name == "/quit":
            return
        if name == "/settings":
            _settle(conversation, rest, console)
        elif name == "/reset":
            conversation.end()
            console.print("A new conversation.", style="dim")
        elif name in COMMANDS:
            _show(conversation, name, console)
        elif name.startswith("/"):
            console.print(
                f"{name} is not a command; {help_line}.",
                style="dim",
                markup=False,
                highlight=False,
            )
        elif line:
            text = conversation.say(line).text
            console.print("[bold]bot[/bold] ", end=" ")
            console.print(text, markup=False, highlight=False)


def _reader(console: Console) -> Callable[[], str]:
    """Return a function that reads a line, with history and completion if somebody types."""
    if not (sys.stdin.isatty() and console.is_terminal):
        return lambda: console.input("[bold]you[/bold]  ")
    from prompt_toolkit import PromptSession  # takes a while to import
    from prompt_toolkit.formatted_text import HTML
    from prompt_toolkit.history import InMemoryHistory  # what is said is not written to disk

    session: PromptSession[str] = PromptSession(
        history=InMemoryHistory(), completer=completer(), complete_while_typing=True
    )
    return lambda: session.prompt(HTML("<b>you</b>  "))


def completer() -> Completer:
    """Build the completer for the commands and for the options of /settings."""
    from prompt_toolkit.completion import Completer, Completion

    class Commands(Completer):
        def get_completions(
            self, document: Document, complete_event: CompleteEvent
        ) -> Iterator[Completion]:
            line = document.text_before_cursor
            name, space, rest = line.partition(" ")
            if not space and line.startswith("/"):
                for known, meaning in COMMANDS.items():
                    if known.startswith(line):
                        yield Completion(known, start_position=-len(line), display_meta=meaning)
            elif name == "/settings" and (word := rest.rpartition(" ")[2]).startswith("-"):
                for setting in fields(DecodeConfig):
                    option = f"--{setting.name.replace('_', '-')}"
                    if option.startswith(word):
                        yield Completion(
                            option, start_position=-len(word), display_meta=setting.metadata["help"]
                        )

    return Commands()


def _show(conversation: Talk, name: str, console: Console) -> None:
    if conversation.answer is None:
        console.print("Nothing has been said yet.", highlight=False)
    elif name == "/json":
        console.print_json(json.dumps(told(conversation)), highlight=False)
    elif name == "/beam" and conversation.reply:
        console.print(candidates(conversation.reply), highlight=False)
    else:
        given = conversation.answer
        reason = f": {given.reason}" if given.reason else ""
        times = (
            [*given.seconds[:1], *conversation.reply.seconds]
            if conversation.reply
            else given.seconds
        )
        taken = ", ".join(f"{stage} {1000 * seconds:.1f} ms" for stage, seconds in times)
        console.print(f"It was {WHO[given.by]}{reason} ({taken}).", markup=False, highlight=False)
        if name == "/why" and conversation.reply:
            console.print(candidates(conversation.reply, conversation.why()), highlight=False)


def candidates(reply: Reply, why: list[str] | None = None) -> Table:
    """Return a reply's candidates as a table, best first, and why each was passed over if given."""
    table = Table("score", "log p(reply | history)", *(["why not"] if why else []), "reply")
    said = reply.conversation.turns[-1].text
    for at, candidate in enumerate(reply.candidates):
        reasons = [why[at]] if why else []
        is_said = not why[at] if why else said in wordings(candidate.text)
        style = "bold" if is_said else ""
        table.add_row(
            f"{candidate.score:.2f}",
            f"{candidate.log_prob:.2f}",
            *reasons,
            said if is_said else candidate.text,
            style=style,
        )
    return table


def told(conversation: Talk) -> dict[str, object]:
    """Return the last answer and its candidates as a dict for JSON."""
    found: dict[str, object] = asdict(conversation.answer) if conversation.answer else {}
    if conversation.reply:
        found["candidates"] = [
            {"why": why, **asdict(candidate)}
            for candidate, why in zip(
                conversation.reply.candidates, conversation.why(), strict=True
            )
        ]
        found["seconds"] = [
            *list(conversation.answer.seconds[:1] if conversation.answer else ()),
            *conversation.reply.seconds,
        ]
    return found


class _Line(argparse.ArgumentParser):
    """A parser of a line's options that raises ValueError on invalid ones instead of exiting."""

    def error(self, message: str) -> NoReturn:
        raise ValueError(message)


def _settle(conversation: Talk, line: str, console: Console) -> None:
    """Change the settings that a line names, and show those that differ from the defaults.

    An empty line changes nothing and shows all settings.
    """
    parser = _Line(prog="/settings", add_help=False)
    add_options(parser)
    parser.set_defaults(**asdict(conversation.agent.decode_config))
    try:
        chosen = decode_config(parser.parse_args(shlex.split(line)))
        if line:
            conversation.agent = conversation.agent.with_settings(chosen)
    except ValueError as error:
        console.print(f"error: {error}", markup=False, highlight=False)
        return
    usual = DecodeConfig()
    table = Table("setting", "value", "", *(() if line else ("meaning",)))
    for setting in fields(DecodeConfig):
        value, default = getattr(chosen, setting.name), getattr(usual, setting.name)
        is_own = value != default
        if is_own or not line:
            meaning = () if line else (setting.metadata["help"],)
            table.add_row(
                setting.name,
                str(value),
                f"default {default}" if is_own else "",
                *meaning,
                style="bold" if is_own else "",
            )
    console.print(
        table if table.row_count else "All settings have their defaults.", highlight=False
    )
