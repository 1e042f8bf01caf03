"""A worker process and a client that carries session attributes as Alexa does."""

import torch

from app import Settings, create_app
from dialogue.agent import DialogueAgent
from dialogue.state import Owner
from dialogue.state.choice import MEMORY
from dialogue.state.codec import unpack

from .conftest import read_request

KEY = b"k" * 32


class Worker:
    """A worker process's application, and a client that carries attributes as Alexa does."""

    def __init__(self, talker, state, *, keys=(KEY,), session="s1", user="ann"):
        self.agent = DialogueAgent(talker)
        self.app = create_app(Settings(verify=False, state=state, state_keys=keys), self.agent)
        self.app.testing = True
        self.session, self.user, self.attributes, self.number = session, user, {}, 0

    def request(self, said, name="chat", attributes=None):
        self.number += 1
        envelope = read_request(name)
        envelope["request"]["requestId"] = f"request {self.session} {self.number}"
        if said:
            envelope["request"]["intent"]["slots"]["raw_input"]["value"] = said
        envelope["session"] |= {
            "sessionId": self.session,
            "attributes": self.attributes if attributes is None else attributes,
            "user": {"userId": self.user},
        }
        return envelope

    def post(self, envelope):
        answer = self.app.test_client().post("/", json=envelope)
        assert answer.status_code == 200, answer.text
        return answer.get_json()

    def say(self, said, name="chat"):
        answer = self.post(self.request(said, name))
        self.attributes = answer["sessionAttributes"]
        return answer

    def state(self):
        """Read what is kept of the session, as the next request will."""
        store = self.app.extensions["transactions"].store
        return store.get(Owner(self.session, self.user), self.attributes.get("state", ""))

    def conversation(self):
        state = self.state()
        return unpack(state, self.agent).conversation if state else None


def expected(talker, *said):
    """Hold the same talk with an agent alone, and return its conversation."""
    alone = Worker(talker, MEMORY)
    for utterance in said:
        alone.say(utterance)
    return alone.conversation()


def assert_same(found, expected):
    assert found.turns == expected.turns
    torch.testing.assert_close(found.history, expected.history, rtol=0, atol=5e-3)
