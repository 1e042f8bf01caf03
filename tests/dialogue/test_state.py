"""What is kept of a session: one suite for the three stores, then what is peculiar to each."""

import base64
import json
import os
import threading
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dialogue.agent import DialogueAgent
from dialogue.conversation import Conversation, Turn
from dialogue.models.history import history_from_bytes
from dialogue.state import Conflict, Owner, Refused, Unreachable
from dialogue.state.attributes import MAX_BYTES, AttributesState
from dialogue.state.choice import check, open_state
from dialogue.state.codec import Kept, pack, unpack
from dialogue.state.memory import MemoryState
from dialogue.state.redis_state import RedisState
from dialogue.state.sealing import AHEAD_SECONDS, SECONDS, Seal, keys_of

from .redis_server import needs_redis, running

ANN = Owner("session 1", "ann")
KEY, OTHER_KEY = b"k" * 32, b"o" * 32


class Clock:
    def __init__(self):
        self.now = 1e9

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture(scope="module")
def server():
    with running() as server:
        yield server


@pytest.fixture(
    params=["memory", "attributes", pytest.param("redis", marks=needs_redis)],
)
def store(request):
    """Each of the stores, and how a client carries what it is given."""
    if request.param == "memory":
        return Carrying(MemoryState())
    if request.param == "attributes":
        return Carrying(AttributesState(Seal([KEY])))
    server = request.getfixturevalue("server")
    server.client.flushall()
    return Carrying(RedisState(server.url, Seal([KEY], seconds=None)))


class Carrying:
    """A store with its client, who carries for every session what was put last."""

    def __init__(self, store):
        self.store, self.carried = store, {}

    def get(self, owner):
        return self.store.get(owner, self.carried.get(owner.session, ""))

    def put(self, owner, state, *, turn):
        self.carried[owner.session] = self.store.put(owner, state, turn=turn)

    def forget(self, owner):
        self.store.forget(owner)
        self.carried.pop(owner.session, None)  # the session is over


def histories(fingerprint="ab" * 16, size=8):
    """A model's histories: vectors of a size."""
    return SimpleNamespace(
        fingerprint=fingerprint,
        history_from_bytes=lambda data: history_from_bytes(data, torch.zeros(1, size)),
    )


def kept(texts=("hi", "hello there"), *, size=8, response=None, turn=3):
    turns = tuple(Turn(("user", "bot")[i % 2], text) for i, text in enumerate(texts))
    response = response or {"sessionAttributes": {"last_speech": "hello there", "turn": turn}}
    return Kept(Conversation(torch.linspace(-1, 1, size)[None], turns), turn, "request 3", response)


# --- every store ---------------------------------------------------------------------------------


def test_what_is_put_is_what_is_got(store):
    assert store.get(ANN) is None
    store.put(ANN, b"one", turn=1)
    assert store.get(ANN) == b"one"
    store.put(ANN, b"two", turn=2)
    assert store.get(ANN) == b"two"


def test_a_session_sees_nothing_of_another_one(store):
    bob = Owner("session 2", "bob")
    store.put(ANN, b"ann's", turn=1)
    store.put(bob, b"bob's", turn=1)
    assert (store.get(ANN), store.get(bob)) == (b"ann's", b"bob's")


def test_another_user_in_the_same_session_gets_nothing(store):
    store.put(ANN, b"ann's", turn=1)
    try:
        assert store.get(Owner(ANN.session, "mallory")) is None
    except Refused as reason:
        assert "another session's, user's or key's" in str(reason)


def test_what_is_forgotten_is_gone_and_what_was_never_there_is_no_error(store):
    store.put(ANN, b"one", turn=1)
    store.forget(ANN)
    store.forget(Owner("never there", "ann"))
    assert store.get(ANN) is None
    store.put(ANN, b"new", turn=1)
    assert store.get(ANN) == b"new"


def test_any_bytes_come_back_as_they_were(store):
    for turn, state in enumerate((b"", b"\0", bytes(range(256)), b"x" * 5000), start=1):
        store.put(ANN, state, turn=turn)
        assert store.get(ANN) == state


def test_ids_may_hold_any_character(store):
    odd = Owner("s\ud800 {} : \n", "u\U0001f600")
    store.put(odd, b"one", turn=1)
    assert store.get(odd) == b"one"


# --- those that keep it themselves ---------------------------------------------------------------


@pytest.fixture
def keeping(store):
    if store.store.is_carried:
        pytest.skip("two turns at once are two states that a client carries")
    return store


def test_a_turn_is_kept_only_after_the_one_before_it(keeping):
    for wrong in (2, 5):
        with pytest.raises(Conflict):
            keeping.put(ANN, b"too early", turn=wrong)
    keeping.put(ANN, b"one", turn=1)
    for wrong in (1, 3):
        with pytest.raises(Conflict):
            keeping.put(ANN, b"out of order", turn=wrong)
    assert keeping.get(ANN) == b"one"


def test_of_threads_that_put_the_same_turn_one_wins_and_the_others_know(keeping):
    outcomes, together = [], threading.Barrier(8)

    def put(number):
        together.wait()
        try:
            keeping.store.put(ANN, b"%d" % number, turn=1)
            outcomes.append(number)
        except Conflict:
            pass

    threads = [threading.Thread(target=put, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (winner,) = outcomes
    assert keeping.get(ANN) == b"%d" % winner


def test_a_user_is_forgotten_in_all_sessions_and_nobody_else(keeping):
    owners = [Owner(session, user) for session, user in (("1", "ann"), ("2", "bob"), ("3", "ann"))]
    for owner in owners:
        keeping.put(owner, b"state", turn=1)
    keeping.store.forget_user("ann")
    keeping.store.forget_user("nobody")
    assert [keeping.get(owner) for owner in owners] == [None, b"state", None]


# --- memory --------------------------------------------------------------------------------------


def test_memory_drops_the_least_recently_used_above_its_limit(clock):
    store = MemoryState(limit=2, clock=clock)
    for session in "abc":
        store.put(Owner(session), b"state", turn=1)
    assert [store.get(Owner(session)) for session in "abc"] == [None, b"state", b"state"]
    assert len(store) == 2


def test_memory_keeps_nothing_longer_than_an_hour_unused(clock):
    store = MemoryState(clock=clock)
    store.put(ANN, b"state", turn=1)
    clock.now += SECONDS
    assert store.get(ANN) == b"state"
    clock.now += 1
    assert store.get(ANN) is None
    assert store.nbytes == 0


# --- sealed --------------------------------------------------------------------------------------


def test_a_seal_shows_nothing_of_what_it_holds():
    sealed = Seal([KEY]).seal(b"my cat is silly" * 10, ANN)
    assert b"cat" not in sealed
    assert sealed != Seal([KEY]).seal(b"my cat is silly" * 10, ANN), "no nonce comes twice"


def test_every_changed_bit_is_noticed():
    seal = Seal([KEY])
    sealed = seal.seal(b"state", ANN)
    for place in range(len(sealed)):
        changed = bytearray(sealed)
        changed[place] ^= 1
        with pytest.raises(Refused):
            seal.open(bytes(changed), ANN)
    for length in range(len(sealed)):
        with pytest.raises(Refused):
            seal.open(sealed[:length], ANN)


@pytest.mark.parametrize(
    "other", [Owner("session 2", "ann"), Owner("session 1", "bob"), Owner("session 1")]
)
def test_a_state_of_another_session_or_user_is_refused(other):
    with pytest.raises(Refused, match="another session's, user's or key's"):
        Seal([KEY]).open(Seal([KEY]).seal(b"state", ANN), other)


def test_no_two_owners_are_written_alike():
    assert Owner('a", "b').written() != Owner("a", "b").written()
    assert Owner("ab", "c").written() != Owner("a", "bc").written()


def test_a_new_key_seals_while_the_old_one_still_opens():
    old, both, new = Seal([KEY]), Seal([OTHER_KEY, KEY]), Seal([OTHER_KEY])
    assert both.open(old.seal(b"state", ANN), ANN) == b"state"
    assert new.open(both.seal(b"state", ANN), ANN) == b"state"
    with pytest.raises(Refused, match="key's"):
        new.open(old.seal(b"state", ANN), ANN)


def test_a_state_older_than_an_hour_is_refused(clock):
    seal = Seal([KEY], clock=clock)
    sealed = seal.seal(b"state", ANN)
    clock.now += SECONDS
    assert seal.open(sealed, ANN) == b"state"
    clock.now += 1
    with pytest.raises(Refused, match="too old"):
        seal.open(sealed, ANN)


def test_a_clock_set_back_a_little_loses_nothing_and_set_back_far_refuses(clock):
    """Otherwise a state would be good for as long as the clock was wrong, and an hour more."""
    seal = Seal([KEY], clock=clock)
    sealed = seal.seal(b"state", ANN)
    clock.now -= AHEAD_SECONDS
    assert seal.open(sealed, ANN) == b"state"
    clock.now -= 1
    with pytest.raises(Refused, match="set back"):
        seal.open(sealed, ANN)
    again = seal.seal(b"state", ANN)
    assert seal.open(again, ANN) == b"state", "the session goes on by the new time"


@pytest.mark.parametrize(
    "text", ["x", "AAAA", base64.b64encode(b"k" * 31).decode(), f"{'A' * 43}=,short", "ä" * 44]
)
def test_a_key_that_is_none_is_refused_without_being_quoted(text):
    with pytest.raises(ValueError, match="32 bytes as base64") as error:
        keys_of(text)
    assert text not in str(error.value)


def test_keys_are_read_in_both_alphabets_of_base64_with_commas_between():
    key = b"\xfb\xff" * 16
    texts = base64.b64encode(key).decode(), base64.urlsafe_b64encode(key).decode()
    assert keys_of(f" {texts[0]}, {texts[1]},") == (key, key)
    assert keys_of("") == ()


@pytest.mark.parametrize("carried", ["?", "AAAA", "äää", "AQ==", "x" * 9000])
def test_what_is_carried_but_is_no_state_is_refused(carried):
    with pytest.raises(Refused):
        AttributesState(Seal([KEY])).get(ANN, carried)


def test_the_largest_state_makes_attributes_of_at_most_8_kb():
    store = AttributesState(Seal([KEY]))
    carried = store.put(ANN, os.urandom(store.limit), turn=1)
    assert MAX_BYTES - 200 < len(json.dumps({"state": carried})) <= MAX_BYTES == 8192


# --- as bytes ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("half", "tolerance"), [(False, 0), (True, 1e-3)])
def test_what_is_packed_is_what_is_unpacked(half, tolerance):
    before = kept(("hi \ud800", "héllo \U0001f600", ""))
    after = unpack(pack(before, histories(), half=half), histories())
    assert after.conversation.turns == before.conversation.turns
    torch.testing.assert_close(
        after.conversation.history, before.conversation.history, rtol=0, atol=tolerance
    )
    assert (after.turn, after.request, after.response) == (3, "request 3", before.response)
    assert after.attributes == {"last_speech": "hello there", "turn": 3}


def test_a_session_without_a_history_is_packed_too():
    after = unpack(pack(Kept(turn=1, response={"a": 1}), histories()), histories())
    assert after == Kept(Conversation(), 1, "", {"a": 1})
    assert after.attributes == {}


def test_above_the_limit_the_oldest_texts_go_and_the_history_stays():
    texts = [f"{number} {os.urandom(30).hex()}" for number in range(200)]
    before = kept(texts, size=512)
    limit = 4000
    packed = pack(before, histories(size=512), half=True, limit=limit)
    after = unpack(packed, histories(size=512))
    left = len(after.conversation.turns)
    assert after.conversation.turns == before.conversation.turns[-left:]
    assert limit - 150 < len(packed) <= limit, "as many as fit"
    assert 0 < left < 200
    assert after.conversation.history.shape == (1, 512)
    assert after.response == before.response


def test_a_history_that_does_not_fit_is_an_error():
    with pytest.raises(ValueError, match="without any text; 1000 are allowed"):
        pack(kept(size=512), histories(size=512), half=True, limit=1000)


def test_a_state_of_another_model_is_refused():
    with pytest.raises(Refused, match="another model"):
        unpack(pack(kept(), histories()), histories(fingerprint="cd" * 16))


def test_a_state_of_another_version_is_refused():
    with pytest.raises(Refused, match="another version"):
        unpack(b"\x63" + pack(kept(), histories())[1:], histories())


@given(data=st.binary(max_size=80))
def test_whatever_else_it_is_it_is_refused(data):
    for broken in (data, pack(kept(), histories())[: len(data)], b"\x01" + b"\xab" * 16 + data):
        with pytest.raises(Refused):
            unpack(broken, histories())


def test_a_model_has_one_fingerprint_and_another_model_another_one(talker):
    agent, again = DialogueAgent(talker), DialogueAgent(talker)
    assert agent.fingerprint == again.fingerprint
    assert len(agent.fingerprint) == 32
    parameter = next(talker.model.parameters())
    with torch.no_grad():
        parameter.view(-1)[0] += 1
        try:
            assert DialogueAgent(talker).fingerprint != agent.fingerprint
        finally:
            parameter.view(-1)[0] -= 1


# --- which one -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("where", "keys", "workers", "finding"),
    [
        ("nowhere", [], 1, "none of memory, attributes"),
        ("http://:secret@host", [], 1, "none of memory, attributes"),
        ("memory", [], 2, "2 workers"),
        ("attributes", [], 2, "STATE_KEY"),
    ],
)
def test_a_choice_that_cannot_be_is_refused(where, keys, workers, finding):
    with pytest.raises(ValueError, match=finding) as error:
        check(where, keys=keys, workers=workers)
    assert "secret" not in str(error.value)


@pytest.mark.parametrize(
    ("where", "keys", "workers"),
    [("memory", [], 1), ("attributes", [], 1), ("attributes", [KEY], 9), ("redis://x", [], 9)],
)
def test_the_others_may_be_chosen(where, keys, workers):
    check(where, keys=keys, workers=workers)


def test_an_address_of_redis_that_is_none_is_refused_without_its_password():
    with pytest.raises(ValueError, match="no address of Redis") as error:
        open_state("redis://:secret@host:port", keys=[], history_bytes=None)
    assert "secret" not in str(error.value)


def test_attributes_without_a_key_make_one_and_say_so(caplog):
    store = open_state("attributes", keys=[], history_bytes=1280)
    assert "STATE_KEY is not set" in caplog.text
    assert store.get(ANN, store.put(ANN, b"state", turn=1)) == b"state"
    other = open_state("attributes", keys=[], history_bytes=1280)
    with pytest.raises(Refused):
        other.get(ANN, store.put(ANN, b"state", turn=1))


@pytest.mark.parametrize(
    ("history_bytes", "finding"), [(None, "no bound"), (6000, "6000 bytes in fp16")]
)
def test_a_history_that_cannot_be_carried_is_said_at_the_start(history_bytes, finding):
    with pytest.raises(ValueError, match=finding):
        open_state("attributes", keys=[KEY], history_bytes=history_bytes)


# --- Redis in trouble ----------------------------------------------------------------------------


@pytest.fixture
def troubled():
    """A server that a test may break, and a store with little patience."""
    with running() as server:
        yield server, RedisState(server.url, Seal([b""], seconds=None), timeout=0.2)


@needs_redis
def test_redis_that_was_stopped_is_unreachable_and_then_back(troubled):
    server, store = troubled
    store.put(ANN, b"one", turn=1)
    server.stop()
    for call in (
        lambda: store.get(ANN),
        lambda: store.put(ANN, b"two", turn=2),
        lambda: store.forget(ANN),
        lambda: store.forget_user("ann"),
        store.check,
    ):
        with pytest.raises(Unreachable, match="cannot be asked"):
            call()
    server.start()
    assert store.get(ANN) is None, "without a file on the disk it begins empty"
    store.put(ANN, b"new", turn=1)
    assert store.get(ANN) == b"new"


@needs_redis
def test_redis_that_hangs_is_not_waited_for_and_then_goes_on(troubled):
    server, store = troubled
    store.put(ANN, b"one", turn=1)
    server.freeze()
    with pytest.raises(Unreachable, match="in time"):
        store.get(ANN)
    server.thaw()
    assert store.get(ANN) == b"one"


@needs_redis
def test_redis_that_is_full_says_so_and_what_it_has_can_be_read(troubled):
    server, store = troubled
    store.put(ANN, b"one", turn=1)
    used = server.client.info("memory")["used_memory"]
    server.client.config_set("maxmemory-policy", "noeviction")
    server.client.config_set("maxmemory", max(1, used - 1000))
    with pytest.raises(Unreachable, match="full"):
        store.put(ANN, b"x" * 10_000, turn=2)
    assert store.get(ANN) == b"one"
    server.client.config_set("maxmemory", 0)
    store.put(ANN, b"two", turn=2)


@needs_redis
def test_what_redis_evicted_begins_anew(troubled):
    server, store = troubled
    store.put(ANN, b"one", turn=1)
    server.client.config_set("maxmemory-policy", "allkeys-lru")
    server.client.config_set("maxmemory", 1)
    with pytest.raises(Unreachable, match="full"):
        store.put(Owner("other"), b"x" * 10_000, turn=1)
    server.client.config_set("maxmemory", 0)
    assert store.get(ANN) is None
    with pytest.raises(Conflict):
        store.put(ANN, b"two", turn=2)
    store.put(ANN, b"new", turn=1)


@needs_redis
def test_redis_drops_what_is_unused_and_learns_no_ids_and_no_words(server):
    server.client.flushall()
    store = RedisState(server.url, Seal([b""], seconds=None))
    secret = Owner("amzn1.echo-api.session.secret", "amzn1.ask.account.SECRET")
    store.put(secret, b"my cat is silly", turn=1)
    seen = b""
    for key in server.client.scan_iter():
        assert 3_590_000 < server.client.pttl(key) <= 3_600_000
        value = server.client.get(key) if server.client.type(key) == b"string" else b""
        seen += key + value + b" ".join(server.client.smembers(key) if not value else [])
    assert len(seen) > 100
    assert not any(text in seen for text in (b"secret", b"SECRET", b"cat", b"amzn1"))


@needs_redis
@pytest.mark.parametrize("value", [b"", b"x", b"\0" * 8, b"\0" * 7 + b"\1" + b"\1" * 100])
def test_what_somebody_wrote_into_redis_is_refused(server, value):
    server.client.flushall()
    store = RedisState(server.url, Seal([b""], seconds=None))
    store.put(ANN, b"one", turn=1)
    (key,) = [key for key in server.client.scan_iter() if server.client.type(key) == b"string"]
    server.client.set(key, value)
    with pytest.raises(Refused):
        store.get(ANN)
    store.forget(ANN)
    store.put(ANN, b"new", turn=1)
