"""A worker process and a client that carries session attributes as Alexa does."""

from collections.abc import Sequence
from typing import Any

import torch

from app import Settings, create_app
from dialogue.agent import DialogueAgent
from dialogue.checkpoint import Checkpoint
from dialogue.conversation import Conversation
from dialogue.state import Owner
from dialogue.state.choice import MEMORY
from dialogue.state.codec import unpack

from .conftest import read_request

KEY = b"k" * 32


class Worker:
    """A worker process's application, and a client that carries attributes as Alexa does."""

    def __init__(
        self,
        talker: Checkpoint,
        state: str,
        *,
        keys: Sequence[bytes] = (KEY,),
        session: str = "s1",
        user: str = "ann",
    ) -> None:
        self.agent = DialogueAgent(talker)
        self.app = create_app(
            Settings(verify=False, state=state, state_keys=tuple(keys)), self.agent
        )
        self.app.testing = True
        self.session, self.user, self.number = session, user, 0
        self.attributes: dict[str, Any] = {}

    def request(
        self, said: str | None, name: str = "chat", attributes: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        self.number += 1
        envelope: dict[str, Any] = read_request(name)
        envelope["request"]["requestId"] = f"request {self.session} {self.number}"
        if said:
            envelope["request"]["intent"]["slots"]["raw_input"]["value"] = said
        envelope["session"] |= {
            "sessionId": self.session,
            "attributes": self.attributes if attributes is None else attributes,
            "user": {"userId": self.user},
        }
        return envelope

    def post(self, envelope: dict[str, Any]) -> dict[str, Any]:
        answer = self.app.test_client().post("/", json=envelope)
        assert answer.status_code == 200, answer.text
        answered: dict[str, Any] = answer.get_json()
        return answered

    def say(self, said: str | None, name: str = "chat") -> dict[str, Any]:
        answer = self.post(self.request(said, name))
        self.attributes = answer["sessionAttributes"]
        return answer

    def state(self) -> bytes | None:
        """Read what is kept of the session, as the next request will."""
        store = self.app.extensions["transactions"].store
        kept: bytes | None = store.get(
            Owner(self.session, self.user), self.attributes.get("state", "")
        )
        return kept

    def conversation(self) -> Conversation | None:
        state = self.state()
        return unpack(state, self.agent).conversation if state else None


def expected(talker: Checkpoint, *said: str) -> Conversation | None:
    """Hold the same talk with an agent alone, and return its conversation."""
    alone = Worker(talker, MEMORY)
    for utterance in said:
        alone.say(utterance)
    return alone.conversation()


def assert_same(found: Conversation | None, expected: Conversation | None) -> None:
    assert found and expected
    assert found.turns == expected.turns
    torch.testing.assert_close(found.history, expected.history, rtol=0, atol=5e-3)
