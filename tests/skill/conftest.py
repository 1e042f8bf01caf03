import json
from pathlib import Path

import pytest

from app import Settings, create_app

REQUESTS = Path(__file__).parent.parent / "requests"


class FakeAgent:
    """Answers with what it heard, and remembers what it was asked to forget."""

    def __init__(self):
        self.heard, self.forgotten, self.reply = [], [], None

    def respond(self, conversations, utterances):
        self.heard.append((conversations[0], utterances[0]))
        if isinstance(self.reply, Exception):
            raise self.reply
        return [self.reply or f"you said {utterances[0]}" for _ in conversations]

    def forget(self, conversation):
        self.forgotten.append(conversation)


@pytest.fixture
def agent():
    return FakeAgent()


@pytest.fixture
def client(agent):
    return create_app(Settings(verify=False), agent).test_client()


def read_request(name):
    return json.loads((REQUESTS / f"{name}.json").read_text())


@pytest.fixture
def post(client):
    """Post a stored request, or an envelope, and return the response's JSON."""

    def send(request, **changes):
        envelope = read_request(request) if isinstance(request, str) else request
        if "said" in changes:
            envelope["request"]["intent"]["slots"]["raw_input"]["value"] = changes["said"]
        if "attributes" in changes:
            envelope["session"]["attributes"] = changes["attributes"]
        answer = client.post("/", json=envelope)
        assert answer.status_code == 200, answer.text
        return answer.get_json()

    return send
