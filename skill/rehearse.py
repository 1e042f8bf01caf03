"""python -m skill.rehearse FILE: speak the utterances of a file to the whole skill and print what it says, as Markdown.

A line is an utterance, an empty line ends a conversation. Each begins with a launch; "(silence)" is a slot without a value.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.sax.saxutils import unescape

from flask import Flask
from flask.testing import FlaskClient

from dialogue.agent import DialogueAgent
from dialogue.command_line import add_checkpoint, command
from dialogue.text_files import read_text
from skill import build_skill
from skill.endpoint import mount
from skill.interaction_model import CHAT_INTENT, CHAT_SLOT

SILENCE = "(silence)"


def request(utterance: str | None, *, session: str, attributes: dict[str, Any]) -> dict[str, Any]:
    """Build the request of an utterance as Alexa hands it over; None is the launch."""
    said = {} if utterance == SILENCE else {"value": utterance}
    slots = {CHAT_SLOT: {"name": CHAT_SLOT, "confirmationStatus": "NONE", **said}}
    intent = {"name": CHAT_INTENT, "confirmationStatus": "NONE", "slots": slots}
    kind = {"type": "LaunchRequest"} if utterance is None else {"type": "IntentRequest", "intent": intent}
    owner = {"application": {"applicationId": "amzn1.ask.skill.rehearsal"}, "user": {"userId": "amzn1.ask.account.REHEARSAL"}}
    about = {"requestId": session, "timestamp": "2026-01-01T12:00:00Z", "locale": "en-US"}
    opened = {"new": utterance is None, "sessionId": session, "attributes": attributes, **owner}
    return {"version": "1.0", "session": opened, "request": {**kind, **about}}


def rehearse(client: FlaskClient, utterances: list[str], *, session: str) -> Iterator[tuple[str, str]]:
    """Hold one conversation: what was said, and what the skill said to it, until the session ends."""
    attributes: dict[str, Any] = {}
    for utterance in [None, *utterances]:
        answer = client.post("/", json=request(utterance, session=session, attributes=attributes)).get_json()
        attributes = answer["sessionAttributes"]
        speech = re.sub(r"<[^>]+>", " ", answer["response"]["outputSpeech"]["ssml"])
        yield utterance or "(open chatty friend)", " ".join(unescape(speech).split())
        if answer["response"].get("shouldEndSession"):
            return


def read_scripts(path: Path) -> list[list[str]]:
    """Read conversations, an utterance a line, empty lines between them.

    Raises ValueError where there is none.
    """
    scripts = [part.splitlines() for part in re.split(r"\n\s*\n", read_text(path).strip())]
    if not any(scripts):
        raise ValueError(f"{path} holds no utterance; expected one a line")
    return scripts


@command
def main(arguments: list[str] | None = None) -> int:
    """Rehearse from the command line."""
    parser = argparse.ArgumentParser(prog="python -m skill.rehearse", description="Speak a file's utterances to the skill.")
    parser.add_argument("file", type=Path, metavar="FILE", help="an utterance a line; an empty line ends a conversation")
    add_checkpoint(parser)
    options = parser.parse_args(arguments)
    scripts = read_scripts(options.file)
    agent = DialogueAgent.load(options.checkpoint, precision="fp32")
    app = Flask(__name__)
    mount(app, build_skill(agent), verifier=None)
    for number, script in enumerate(scripts, start=1):
        print(f"## {number}\n\n| you | it |\n|---|---|")
        for said, heard in rehearse(app.test_client(), script, session=f"rehearsal {number}"):
            print(f"| {said} | {heard} |")
        print()
    return 0


if __name__ == "__main__":
    sys.exit(main())
