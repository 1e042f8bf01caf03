"""States that may not be gone on with, and Redis in trouble: everybody is answered."""

import base64
import json
import logging

import pytest

from skill import phrases

from ..dialogue.redis_server import needs_redis, running
from .carrying import Worker
from .conftest import spoken


def begins_anew(worker, caplog, reason):
    """The next turn starts a new conversation, and one line of the log says so, without ids."""
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        assert spoken(worker.say("do you like music?"))
    assert worker.conversation().said("user") == ["do you like music?"]
    (line,) = [r.getMessage() for r in caplog.records if r.name == "skill.transaction"]
    assert reason in line
    assert not any(text in line for text in (worker.session, worker.user, "request", "music"))


@pytest.fixture
def carrying(talker):
    worker = Worker(talker, "attributes")
    worker.say("hi")
    assert set(worker.attributes) == {"state"}
    return worker


def test_a_state_that_was_tampered_with_begins_anew(carrying, caplog):
    sealed = bytearray(base64.b64decode(carrying.attributes["state"]))
    sealed[40] ^= 1
    carrying.attributes = {"state": base64.b64encode(sealed).decode()}
    begins_anew(carrying, caplog, "tampered")


@pytest.mark.parametrize("state", ["", "x", ["odd"], {"a": 1}, 5, None, "A" * 20_000])
def test_a_state_that_is_none_is_answered(carrying, state):
    carrying.attributes = {"state": state, "last_speech": "never said", "turn": 3}
    assert spoken(carrying.say(None, "repeat")) in phrases.NOTHING_TO_REPEAT


def test_a_state_of_another_session_begins_anew(carrying, caplog):
    carrying.session = "s2"
    begins_anew(carrying, caplog, "another session's")


def test_a_state_of_another_user_begins_anew(carrying, caplog):
    carrying.user = "bob"
    begins_anew(carrying, caplog, "user's")


def test_a_state_of_another_key_begins_anew(carrying, talker, caplog):
    other = Worker(talker, "attributes", keys=(b"o" * 32,))
    other.attributes = carrying.attributes
    begins_anew(other, caplog, "key's")


def test_a_state_of_another_model_begins_anew(carrying, talker, caplog):
    other = Worker(talker, "attributes")
    vars(other.agent)["fingerprint"] = "cd" * 16
    other.attributes = carrying.attributes
    begins_anew(other, caplog, "another model")


@pytest.mark.parametrize(
    ("seconds", "reason"), [(3601, "too old"), (-301, "later than now; was a clock set back?")]
)
def test_a_state_that_is_too_old_or_of_a_later_time_begins_anew(carrying, caplog, seconds, reason):
    seal = carrying.app.extensions["transactions"].store._seal
    clock = seal._clock
    seal._clock = lambda: clock() + seconds
    begins_anew(carrying, caplog, reason)
    carrying.say("me too, jazz is great")
    assert len(carrying.conversation().said("user")) == 2


def test_going_back_within_a_session_is_possible(carrying):
    early = carrying.attributes
    carrying.say("do you like music?")
    carrying.attributes = early
    carrying.say("do you have a dog?")
    assert carrying.conversation().said("user") == ["hi", "do you have a dog?"]


def test_attributes_stay_below_8_kb_and_the_oldest_texts_go_first(talker):
    worker = Worker(talker, "attributes")
    for number in range(60):
        worker.say(f"i like {number} " + " ".join(f"{number * 97 + n:x}" for n in range(60)))
        assert len(json.dumps(worker.attributes)) <= 8192
    turns = worker.conversation().turns
    assert "i like 59" in turns[-2].text
    assert 5 < len(turns) < 120, "of which the first are gone"
    assert worker.conversation().history is not None


# --- Redis in trouble ----------------------------------------------------------------------------


@needs_redis
@pytest.mark.parametrize("trouble", ["stopped", "hangs"])
def test_while_redis_is_away_everybody_is_answered_and_then_goes_on(talker, caplog, trouble):
    with running() as server:
        worker = Worker(talker, server.url)
        worker.say("hi")
        server.freeze() if trouble == "hangs" else server.stop()
        with caplog.at_level(logging.INFO):
            assert spoken(worker.say("do you like music?"))
        assert "a turn is answered without its conversation: Redis" in caplog.text
        assert spoken(worker.say(None, "repeat"))
        server.thaw() if trouble == "hangs" else server.start()
        worker.say("what do you do?")
        kept = ["hi", "what do you do?"] if trouble == "hangs" else ["what do you do?"]
        assert worker.conversation().said("user") == kept


@needs_redis
def test_when_redis_is_full_everybody_is_answered_from_what_it_has(talker, caplog):
    with running() as server:
        worker = Worker(talker, server.url)
        worker.say("hi")
        server.client.config_set("maxmemory-policy", "noeviction")
        server.client.config_set("maxmemory", 1)
        assert spoken(worker.say("do you like music?"))
        assert "a turn is not kept: Redis is full" in caplog.text
        server.client.config_set("maxmemory", 0)
        worker.say("what do you do?")
        assert worker.conversation().said("user") == ["hi", "what do you do?"]


@needs_redis
def test_what_redis_evicted_begins_anew_and_is_said_in_the_log(talker, caplog):
    with running() as server:
        worker = Worker(talker, server.url)
        worker.say("hi")
        server.client.flushall()
        with caplog.at_level(logging.INFO):
            worker.say("do you like music?")
        assert "nothing is kept of its session" in caplog.text
        assert worker.conversation().said("user") == ["do you like music?"]
