"""python -m dialogue: chat with the agent in a terminal.

With --openings, answer a file of first utterances instead.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Console

from dialogue.agent import DialogueAgent
from dialogue.command_line import add_device, add_model, command
from dialogue.config import add_options, decode_config
from dialogue.device import choose_device
from dialogue.safety import Level, level_from_environment
from dialogue.terminal import Talk, talk
from dialogue.text_files import read_lines


def answer_openings(
    agent: DialogueAgent, openings: Sequence[str], *, safety: Level = "standard"
) -> Iterator[tuple[str, str]]:
    """Answer each opening in a separate conversation.

    Yields the reply, and "fallback", the reason for a fixed answer, or "".
    """
    for opening in openings:
        conversation = Talk(agent, safety=safety)
        given, reply = conversation.say(opening), conversation.reply
        yield given.text, "fallback" if reply and reply.is_fallback else given.reason
        conversation.end()


def read_openings(path: Path) -> list[str]:
    """Return first utterances, one per line, skipping blank lines.

    Raises ValueError if there are none.
    """
    openings = [line for line in read_lines(path) if line.strip()]
    if not openings:
        raise ValueError(f"--openings {path} holds no utterance; expected one per line")
    return openings


@command
def main(arguments: list[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(
        prog="python -m dialogue", description="Chat with the agent in a terminal."
    )
    add_model(parser)
    parser.add_argument(
        "--precision",
        default=os.environ.get("PRECISION") or "auto",
        help="precision of the output layer: auto, fp32, bf16, fp16 or int8 (env PRECISION)",
    )
    add_device(parser)
    parser.add_argument(
        "--openings",
        type=Path,
        metavar="FILE",
        help="answer each line by itself; print opening, reply and reason, tab-separated",
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
    for opening, (reply, why) in zip(
        openings, answer_openings(agent, openings, safety=safety), strict=True
    ):
        print(opening, reply, why, sep="\t")
    return 0


if __name__ == "__main__":
    sys.exit(main())
