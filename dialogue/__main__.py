"""python -m dialogue: talk to the agent in a terminal, or with --openings have a file of first utterances answered."""

from __future__ import annotations

import argparse
import os
import sys
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from dialogue.agent import DialogueAgent, Reply
from dialogue.answers import Answer, answer
from dialogue.command_line import add_device, add_model, command
from dialogue.config import add_options, decode_config
from dialogue.device import choose_device
from dialogue.safety import Level, level_from_environment
from dialogue.seeded_choice import pick
from dialogue.text_files import read_lines
from dialogue.vocabulary import without_marks

COMMANDS = "/beam shows what the last reply was chosen from, /reset begins anew, /quit leaves"


def beam_table(reply: Reply) -> Table:
    """Lay out the candidates of a reply, best first."""
    table = Table("score", "log p(reply | history)", "reply")
    for candidate in reply.candidates:
        chosen = "bold" if without_marks(candidate.text) == reply.text else ""
        table.add_row(f"{candidate.score:.2f}", f"{candidate.log_prob:.2f}", candidate.text, style=chosen)
    return table


class Talk:
    """One conversation with the agent, and what its last reply was chosen from."""

    def __init__(self, agent: DialogueAgent, *, safety: Level = "standard") -> None:
        self._agent, self._safety = agent, safety
        self._name = f"terminal {uuid.uuid4()}"
        self.reply: Reply | None = None

    def say(self, utterance: str) -> Answer:
        """Answer an utterance as the skill does."""
        self.reply = None

        def respond(written: str) -> str:
            (self.reply,) = self._agent.replies([self._name], [written])
            return self.reply.text

        return answer(
            utterance,
            respond=respond,
            note=lambda written, reply: self._agent.note(self._name, written, reply),
            choose=lambda wordings: pick(wordings, utterance),
            seed=utterance,
            safety=self._safety,
        )

    def end(self) -> None:
        """Forget all that was said."""
        self._agent.forget(self._name)
        self.reply = None


def talk(agent: DialogueAgent, console: Console, *, safety: Level = "standard") -> None:
    """Read lines, answer them, obey the commands, until /quit or the end of the input."""
    conversation = Talk(agent, safety=safety)
    console.print(f"Talk to it. {COMMANDS}.", style="dim", highlight=False)
    while True:
        try:
            line = console.input("[bold]you[/bold]  ").strip()
        except (EOFError, KeyboardInterrupt):
            return
        if line == "/quit":
            return
        if line == "/reset":
            conversation.end()
            console.print("A new conversation.", style="dim")
        elif line == "/beam":
            reply = conversation.reply
            console.print(beam_table(reply) if reply else "Nothing was said yet.", highlight=False)
        elif line.startswith("/"):
            console.print(f"{line} is no command; {COMMANDS}.", style="dim", markup=False, highlight=False)
        elif line:
            text = conversation.say(line).text
            console.print("[bold]bot[/bold] ", end=" ")
            console.print(text, markup=False, highlight=False)


def answer_openings(agent: DialogueAgent, openings: Sequence[str], *, safety: Level = "standard") -> Iterator[tuple[str, str]]:
    """Answer each opening in a conversation of its own: the reply, and why it is a fixed one ("fallback", a topic), or ""."""
    for opening in openings:
        conversation = Talk(agent, safety=safety)
        given, reply = conversation.say(opening), conversation.reply
        yield given.text, "fallback" if reply and reply.is_fallback else given.reason
        conversation.end()


def read_openings(path: Path) -> list[str]:
    """Read first utterances, one a line; blank lines are none.

    Raises ValueError where there is none at all.
    """
    openings = [line for line in read_lines(path) if line.strip()]
    if not openings:
        raise ValueError(f"--openings {path} holds no utterance; expected one a line")
    return openings


@command
def main(arguments: list[str] | None = None) -> int:
    """Talk from the command line."""
    parser = argparse.ArgumentParser(prog="python -m dialogue", description="Talk to the agent in a terminal.")
    add_model(parser)
    parser.add_argument(
        "--precision",
        default=os.environ.get("PRECISION") or "auto",
        help="of the output layer: auto, fp32, bf16 or int8 (env PRECISION)",
    )
    add_device(parser)
    parser.add_argument(
        "--openings", type=Path, metavar="FILE", help="answer each line by itself; print opening, reply, why, by tabs"
    )
    add_options(parser)
    options = parser.parse_args(arguments)
    safety = level_from_environment()
    openings = read_openings(options.openings) if options.openings else None
    agent = DialogueAgent.load(
        options.checkpoint,
        device=choose_device(options.device),
        model_name=options.model,
        precision=options.precision,
        decode=decode_config(options),
        safety=safety,
    )
    if openings is None:
        talk(agent, Console(), safety=safety)
        return 0
    for opening, (reply, why) in zip(openings, answer_openings(agent, openings, safety=safety), strict=True):
        print(opening, reply, why, sep="\t")
    return 0


if __name__ == "__main__":
    sys.exit(main())
