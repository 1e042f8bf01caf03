"""What each talker of skill.load does, run by locust in its own process.

Importing locust patches the process: time.sleep lets the other talkers run. Every turn becomes one
line of JSON in the file that LOAD_TURNS names.
"""

from __future__ import annotations

import base64
import json
import os
import random
import time
import uuid
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from locust import FastHttpUser, task
from locust.env import Environment

from dialogue.recognised import as_recognised
from skill import device, phrases
from skill.session import TURN
from skill.transaction import STATE

OPTIONS: dict[str, Any] = json.loads(os.environ["LOAD_OPTIONS"])
FIXED = frozenset(
    " ".join(text.split())
    for wordings in (phrases.LATE, getattr(phrases, "BUSY", ()))
    for text in wordings
)
STOP_SECONDS = 15  # for answers still pending when time runs out
_turns: list[dict[str, Any]] = []


class Talker(FastHttpUser):
    """Opens the skill, says some utterances with a pause before each, and starts over."""

    def on_start(self) -> None:
        """Start at a random moment, so that the talkers do not all come at once."""
        time.sleep(random.uniform(0, OPTIONS["think"]))

    @task
    def talk(self) -> None:
        """Hold one conversation, or part of one if time runs out."""
        session = device.Session(id=f"amzn1.echo-api.session.load.{uuid.uuid4()}")
        for utterance in (None, *random.sample(OPTIONS["utterances"], OPTIONS["turns"])):
            if self.environment.runner.state in ("stopping", "stopped"):
                return
            session = self.turn(session, utterance)
            if not session.is_open:
                return
            time.sleep(pause())

    def turn(self, session: device.Session, utterance: str | None) -> device.Session:
        """Say something, record how it was answered, and return the session afterwards."""
        record: dict[str, Any] = {
            "session": session.id,
            "user": session.user,
            "said": as_recognised(utterance or ""),
            "launch": utterance is None,
            "pending": True,  # stays so if time runs out before the answer comes
        }
        _turns.append(record)
        body = json.dumps(device.say(session, utterance))
        headers = {"Content-Type": "application/json", **signed(body.encode())}
        begun = time.perf_counter()
        with self.client.post("/", data=body, headers=headers, catch_response=True) as answer:
            ms = (time.perf_counter() - begun) * 1e3
            try:
                response = json.loads(answer.text or "") if answer.status_code == 200 else None
            except ValueError:
                response = None
            spoken = " ".join(device.spoken(response).split()) if response else ""
            if not spoken:
                answer.failure(f"status {answer.status_code}, nothing said")
        further = device.after(session, response) if response else session
        steps = further.attributes.get(TURN, 0) - session.attributes.get(TURN, 0)
        counts = TURN in further.attributes or TURN in session.attributes  # otherwise sealed
        record |= {
            "pending": False,
            "ms": ms,
            "error": not spoken,
            "fixed": spoken in FIXED,
            "state": str(further.attributes.get(STATE, "")),
            "steps": steps if spoken and counts else 1,  # of the session's own count of turns
        }
        return further


def pause() -> float:
    """Return the seconds before the next utterance.

    They vary by half: if all pauses were equal, people who were once answered together would come
    back together from then on.
    """
    return float(OPTIONS["think"]) * random.uniform(0.5, 1.5)


def signed(body: bytes) -> dict[str, str]:
    """Sign a body as Alexa does, if there is a key."""
    if not OPTIONS["key"]:
        return {}
    key = load_pem_private_key(Path(OPTIONS["key"]).read_bytes(), None)
    if not isinstance(key, rsa.RSAPrivateKey):
        raise ValueError(f"{OPTIONS['key']} is no RSA key")
    signature = base64.b64encode(key.sign(body, padding.PKCS1v15(), SHA256())).decode()
    return {"Signature-256": signature, "SignatureCertChainUrl": OPTIONS["chain_url"]}


def run() -> None:
    """Let the talkers talk for the given time, and write all turns to the file."""
    environment = Environment(user_classes=[Talker], host=OPTIONS["url"], stop_timeout=STOP_SECONDS)
    runner = environment.create_local_runner()
    time.sleep(0.01)  # gevent's clock stood still during the imports
    begun = time.perf_counter()
    runner.start(OPTIONS["talkers"], spawn_rate=OPTIONS["talkers"])
    while time.perf_counter() - begun < OPTIONS["seconds"]:
        time.sleep(0.05)
    runner.quit()
    lines = "".join(json.dumps(turn) + "\n" for turn in _turns)
    Path(os.environ["LOAD_TURNS"]).write_text(lines, encoding="ascii")


if __name__ == "__main__":
    run()
