import itertools
import json
import os
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Self, cast

import pytest
import torch
from ask_sdk_core.attributes_manager import AttributesManager
from ask_sdk_core.handler_input import HandlerInput
from flask.testing import FlaskClient
from pyngrok import conf, installer

from app import Settings, create_app
from dialogue.agent import DialogueAgent
from skill import tunnel
from skill.envelope import read
from skill.handlers import Interaction
from skill.interaction_settings import InteractionSettings, load

from . import ngrok, rig

REQUESTS = Path(__file__).parent.parent / "requests"


class FakeAgent:
    """Answers with what it heard, and remembers what it was asked to forget."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, str]] = []
        self.noted: list[tuple[str, str, str]] = []
        self.added: list[tuple[str, str]] = []
        self.forgotten: list[str] = []
        self.reply: str | Exception | None = None

    def respond(
        self, conversations: Sequence[str], utterances: Sequence[str], *, deadline: float | None
    ) -> list[str]:
        self.heard.append((conversations[0], utterances[0]))
        if isinstance(self.reply, Exception):
            raise self.reply
        return [self.reply or f"you said {utterances[0]}" for _ in conversations]

    def note(self, conversation: str, utterance: str, reply: str) -> None:
        self.noted.append((conversation, utterance, reply))

    def add(self, conversation: str, said: str) -> None:
        self.added.append((conversation, said))

    def forget(self, conversation: str) -> None:
        self.forgotten.append(conversation)

    def with_store(self, store: object) -> Self:
        return self

    def of(self, fingerprint: str) -> Self:
        return self

    fingerprint, empty_history = "", torch.zeros(1, 4)

    def close(self) -> None:
        """Nothing waits here."""


@pytest.fixture
def agent() -> FakeAgent:
    return FakeAgent()


@pytest.fixture
def client(agent: FakeAgent) -> FlaskClient:
    """A server for development: what breaks the contract raises here."""
    app = create_app(Settings(verify=False), cast(DialogueAgent, agent))
    app.testing = True
    return app.test_client()


def handler_input(
    envelope: dict[str, Any], settings: InteractionSettings | None = None
) -> HandlerInput:
    """Read an envelope to what handlers take, as the skill's dispatcher does."""
    request = read(envelope)
    found = HandlerInput(
        request_envelope=request, attributes_manager=AttributesManager(request_envelope=request)
    )
    Interaction(settings or load()).process(found)
    return found


def read_request(name: str) -> dict[str, Any]:
    return cast(dict[str, Any], json.loads((REQUESTS / f"{name}.json").read_text()))


def spoken(answer: dict[str, Any]) -> str:
    """Return what a response says, without its markup."""
    return "".join(ET.fromstring(answer["response"]["outputSpeech"]["ssml"]).itertext())


@pytest.fixture
def post(client: FlaskClient) -> Callable[..., Any]:
    """Post a stored request, each time under a new id, or an envelope as it is.

    Returns the response's JSON.
    """
    numbers = itertools.count(1)

    def send(request: str | dict[str, Any], **changes: Any) -> Any:
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
def talk(post: Callable[..., Any]) -> Callable[..., list[str]]:
    """Hold a session of utterances and the agent's replies; return what was heard."""

    def talk(
        agent: FakeAgent,
        turns: Iterable[tuple[str, str]],
        attributes: dict[str, Any] | None = None,
    ) -> list[str]:
        heard: list[str] = []
        kept = attributes or {}
        for said, reply in turns:
            agent.reply = reply
            answer = post("chat", said=said, attributes=kept)
            kept = answer["sessionAttributes"]
            heard.append(spoken(answer))
        return heard

    return talk


@pytest.fixture(scope="session")
def outside(tmp_path_factory: pytest.TempPathFactory) -> Iterator[rig.Alexa]:
    """Alexa and S3, once for all tests."""
    authority = rig.Authority()
    with rig.S3(authority, tmp_path_factory.mktemp("s3")) as s3:
        yield rig.Alexa(authority, s3)
        s3.shutdown()


@pytest.fixture
def alexa(outside: rig.Alexa, monkeypatch: pytest.MonkeyPatch) -> rig.Alexa:
    """Alexa, whom a server that is made now believes."""
    for name, value in outside.s3.environment.items():
        monkeypatch.setenv(name, value)
    return outside


@pytest.fixture
def server(alexa: rig.Alexa, agent: FakeAgent) -> FlaskClient:
    """A server for production, as Alexa reaches it: every request is verified."""
    return create_app(Settings(skill_ids=(rig.SKILL,)), cast(DialogueAgent, agent)).test_client()


@pytest.fixture
def ngrok_agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Path]]:
    """Put a fake ngrok agent in the place of the real one, by configuration alone."""

    def put(*, config: bytes | None = b"version: 3\nagent:\n  authtoken: x\n", **does: Any) -> Path:
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


@pytest.fixture
def many_files() -> Iterator[None]:
    """Let this process hold some thousand connections."""
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
