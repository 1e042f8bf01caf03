"""python -m skill.bench: time a turn without the agent, and a refusal. The last line is JSON.

    turn     a signed chat request through the whole server, with an agent that takes no time:
             verify (the leaf certificate is cached), read, handle, speech, contract
    refusal  the same request with a wrong signature
    and each part of a turn by itself

The bench makes its own key and fetches nothing.
"""

from __future__ import annotations

import argparse
import json
import logging
import statistics
import sys
import time
from base64 import b64encode
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, cast

from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from flask import Flask
from rich.console import Console
from rich.table import Table

from dialogue.agent import DialogueAgent
from dialogue.command_line import at_least, command
from dialogue.store import Conversations
from skill import build_skill, contract, envelope
from skill.endpoint import answer, mount
from skill.interaction_settings import load
from skill.speech import to_speech
from skill.verify import CHAIN_HOST, Leaf, Verifier

REPLY = (
    "i don ' t know, i think it ' s 50% luck. <continued_utterance> "
    "have you seen it on the 1st of may, or in 2019?"
)
URL = f"https://{CHAIN_HOST}/echo.api/bench.pem"


class InstantAgent:
    """An agent that always gives the same reply, at once."""

    def respond(
        self, conversations: list[str], utterances: list[str], *, deadline: float
    ) -> list[str]:
        """Return the reply, once for each conversation."""
        return [REPLY for _ in conversations]

    def note(self, conversation: str, utterance: str, reply: str) -> None:
        """Keep nothing."""

    def add(self, conversation: str, said: str) -> None:
        """Keep nothing."""

    def forget(self, conversation: str) -> None:
        """Do nothing, since nothing is kept."""

    def with_store(self, store: Conversations) -> InstantAgent:
        """Return itself."""
        return self


def chat_request() -> dict[str, Any]:
    """Build a chat request like Alexa's."""
    application, user = (
        {"applicationId": "amzn1.ask.skill.bench"},
        {"userId": "amzn1.ask.account.BENCH"},
    )
    interaction = load()
    slot = {
        "name": interaction.slot,
        "value": "i saw a great movie yesterday",
        "confirmationStatus": "NONE",
        "source": "USER",
    }
    return {
        "version": "1.0",
        "session": {
            "new": False,
            "sessionId": "bench",
            "application": application,
            "attributes": {},
            "user": user,
        },
        "context": {
            "System": {
                "application": application,
                "user": user,
                "device": {"deviceId": "x", "supportedInterfaces": {}},
            }
        },
        "request": {
            "type": "IntentRequest",
            "requestId": "amzn1.echo-api.request.bench",
            "timestamp": datetime.now(UTC).isoformat(),
            "locale": "en-US",
            "dialogState": "IN_PROGRESS",
            "intent": {
                "name": interaction.intent,
                "confirmationStatus": "NONE",
                "slots": {interaction.slot: slot},
            },
        },
    }


def calls() -> dict[str, Callable[[], object]]:
    """Return the calls to time, by name."""
    key = rsa.generate_private_key(65537, 2048)
    interaction, request = load(), chat_request()
    body = json.dumps(request).encode()
    now = datetime.now(UTC)
    verifier = Verifier(skill_ids=("amzn1.ask.skill.bench",), now=lambda: now)
    tomorrow = now + timedelta(days=1)
    verifier.remember(URL, Leaf(key.public_key(), refresh=tomorrow, expires=tomorrow))
    signature = key.sign(body, padding.PKCS1v15(), SHA256())
    headers = {"Signature-256": b64encode(signature).decode(), "SignatureCertChainUrl": URL}
    forged = {**headers, "Signature-256": b64encode(signature[::-1]).decode()}
    skill = build_skill(cast(DialogueAgent, InstantAgent()))
    app = Flask("bench")
    mount(app, skill, verifier=verifier)
    client = app.test_client()

    def dispatch() -> dict[str, Any]:
        return cast(
            dict[str, Any], skill.serializer.serialize(skill.invoke(envelope.read(request), None))
        )

    response = answer(dispatch, request, interaction, strict=True)

    def turn(status: int, sent: dict[str, str]) -> None:
        found = client.post("/", data=body, headers=sent).status_code
        assert found == status, f"expected {status}, got {found}"

    return {
        "turn": lambda: turn(200, headers),
        "refusal": lambda: turn(400, forged),
        "verify": lambda: verifier.check(body, headers),
        "read": lambda: envelope.read(envelope.parse(body)),
        "answer": lambda: answer(dispatch, request, interaction, strict=True),
        "speech": lambda: to_speech(REPLY),
        "contract": lambda: contract.check(response, request, interaction),
    }


def times_of(timed: dict[str, Callable[[], object]], rounds: int) -> list[dict[str, Any]]:
    """Time the calls in interleaved rounds after a warm-up: medians and 95th percentiles in ms."""
    times: dict[str, list[float]] = {name: [] for name in timed}
    for _ in range(rounds + 1):
        for name, call in timed.items():
            start = time.perf_counter()
            call()
            times[name].append((time.perf_counter() - start) * 1e3)
    return [
        {
            "what": name,
            "ms": round(statistics.median(found[1:]), 3),
            "p95_ms": round(sorted(found[1:])[len(found[1:]) * 95 // 100], 3),
        }
        for name, found in times.items()
    ]


@command
def main(arguments: list[str] | None = None) -> int:
    """Time a turn from the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m skill.bench", description="Time a turn outside the agent."
    )
    parser.add_argument("--rounds", type=int, default=500, help="(default: %(default)s)")
    options = parser.parse_args(arguments)
    at_least(1, rounds=options.rounds)
    logging.disable(logging.WARNING)  # otherwise every refusal would log a line
    try:
        rows = times_of(calls(), options.rounds)
    finally:
        logging.disable(logging.NOTSET)
    table = Table(*rows[0])
    for row in rows:
        table.add_row(*map(str, row.values()))
    print(json.dumps({"rows": rows}), flush=True)
    Console(stderr=True).print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
