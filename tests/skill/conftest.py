import itertools
import json
import os
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
import torch
from ask_sdk_core.attributes_manager import AttributesManager
from ask_sdk_core.handler_input import HandlerInput
from pyngrok import conf, installer

from app import Settings, create_app
from skill import tunnel
from skill.envelope import read
from skill.handlers import Interaction
from skill.interaction_settings import load

from . import ngrok, rig

REQUESTS = Path(__file__).parent.parent / "requests"


class FakeAgent:
    """Answers with what it heard, and remembers what it was asked to forget."""

    def __init__(self):
        self.heard, self.noted, self.added, self.forgotten, self.reply = [], [], [], [], None

    def respond(self, conversations, utterances, *, deadline):
        self.heard.append((conversations[0], utterances[0]))
        if isinstance(self.reply, Exception):
            raise self.reply
        return [self.reply or f"you said {utterances[0]}" for _ in conversations]

    def note(self, conversation, utterance, reply):
        self.noted.append((conversation, utterance, reply))

    def add(self, conversation, said):
        self.added.append((conversation, said))

    def forget(self, conversation):
        self.forgotten.append(conversation)

    def with_store(self, store):
        return self

    fingerprint, empty_history = "", torch.zeros(1, 4)

    def close(self):
        """Nothing waits here."""


@pytest.fixture
def agent():
    return FakeAgent()


@pytest.fixture
def client(agent):
    """A server for development: what breaks the contract raises here."""
    app = create_app(Settings(verify=False), agent)
    app.testing = True
    return app.test_client()


def handler_input(envelope):
    """Read an envelope to what handlers take, as the skill's dispatcher does."""
    request = read(envelope)
    found = HandlerInput(
        request_envelope=request, attributes_manager=AttributesManager(request_envelope=request)
    )
    Interaction(load()).process(found)
    return found


def read_request(name):
    return json.loads((REQUESTS / f"{name}.json").read_text())


def spoken(answer):
    """Return what a response says, without its markup."""
    return "".join(ET.fromstring(answer["response"]["outputSpeech"]["ssml"]).itertext())


@pytest.fixture
def post(client):
    """Post a stored request, each time under a new id, or an envelope as it is.

    Returns the response's JSON.
    """
    numbers = itertools.count(1)

    def send(request, **changes):
        envelope = read_request(request) if isinstance(request, str) else request
        if isinstance(request, str) and envelope["request"].get("requestId"):
            envelope["request"]["requestId"] += f".{next(numbers)}"
        if "said" in changes:
            envelope["request"]["intent"]["slots"]["raw_input"]["value"] = changes["said"]
        if "attributes" in changes:
            envelope["session"]["attributes"] = changes["attributes"]
        answer = client.post("/", json=envelope)
        assert answer.status_code == 200, answer.text
        return answer.get_json()

    return send


@pytest.fixture
def talk(post):
    """Hold a session of utterances and the agent's replies; return what was heard."""

    def talk(agent, turns, attributes=None):
        heard, kept = [], attributes or {}
        for said, reply in turns:
            agent.reply = reply
            answer = post("chat", said=said, attributes=kept)
            kept = answer["sessionAttributes"]
            heard.append(spoken(answer))
        return heard

    return talk


@pytest.fixture(scope="session")
def outside(tmp_path_factory):
    """Alexa and S3, once for all tests."""
    authority = rig.Authority()
    with rig.S3(authority, tmp_path_factory.mktemp("s3")) as s3:
        yield rig.Alexa(authority, s3)
        s3.shutdown()


@pytest.fixture
def alexa(outside, monkeypatch):
    """Alexa, whom a server that is made now believes."""
    for name, value in outside.s3.environment.items():
        monkeypatch.setenv(name, value)
    return outside


@pytest.fixture
def server(alexa, agent):
    """A server for production, as Alexa reaches it: every request is verified."""
    return create_app(Settings(skill_ids=(rig.SKILL,)), agent).test_client()


@pytest.fixture
def ngrok_agent(tmp_path, monkeypatch):
    """Put a fake ngrok agent in the place of the real one, by configuration alone."""

    def put(*, config=b"version: 3\nagent:\n  authtoken: x\n", **does):
        ngrok.write_agent(tmp_path / "ngrok", **does)
        file = tmp_path / "ngrok.yml"
        if config is not None:
            file.write_bytes(config)
        for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
            monkeypatch.delenv(name)
        monkeypatch.delenv("NGROK_AUTHTOKEN", raising=False)
        settings = conf.PyngrokConfig(ngrok_path=str(tmp_path / "ngrok"), config_path=str(file))
        monkeypatch.setattr(conf, "_default_pyngrok_config", settings)
        installer._config_cache.clear()
        return file

    yield put
    tunnel.close()
