"""What is kept of a session: one suite for the three stores, then what is peculiar to each."""

import threading

import pytest

from dialogue.bounded import Bounds
from dialogue.state import ENDED, ENDED_SECONDS, Conflict, Owner, Refused
from dialogue.state.attributes import AttributesState
from dialogue.state.choice import STORES, check, open_state
from dialogue.state.memory import MemoryState
from dialogue.state.redis_state import RedisState
from dialogue.state.sealing import SECONDS, Seal

from .redis_server import needs_redis, running

ANN = Owner("session 1", "ann")
KEY, OTHER_KEY = b"k" * 32, b"o" * 32


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

    def put(self, owner, state, *, turn, **options):
        self.carried[owner.session] = self.store.put(owner, state, turn=turn, **options)

    def forget(self, owner):
        self.store.forget(owner)
        self.carried.pop(owner.session, None)  # the session is over


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


def test_a_turn_that_was_being_answered_when_its_session_ended_is_not_kept(keeping):
    """That of a first turn was kept for an hour: nothing was there yet that could be dropped."""
    keeping.store.end(ANN)
    with pytest.raises(Conflict):
        keeping.put(ANN, b"one", turn=1)
    assert keeping.get(ANN) == ENDED
    keeping.put(ANN, b"new", turn=1, reopens=True)
    assert keeping.get(ANN) == b"new"
    keeping.put(ANN, b"two", turn=2)
    keeping.store.end(ANN)
    with pytest.raises(Conflict):
        keeping.put(ANN, b"three", turn=3)


# --- memory --------------------------------------------------------------------------------------


def test_memory_forgets_within_a_minute_that_a_session_has_ended(clock):
    store = MemoryState(Bounds(clock=clock))
    store.end(ANN)
    clock.now += ENDED_SECONDS + 1
    assert store.get(ANN) is None


def test_memory_drops_the_least_recently_used_above_its_limit(clock):
    store = MemoryState(Bounds(limit=2, clock=clock))
    for session in "abc":
        store.put(Owner(session), b"state", turn=1)
    assert [store.get(Owner(session)) for session in "abc"] == [None, b"state", b"state"]
    assert len(store) == 2


def test_memory_keeps_nothing_longer_than_an_hour_unused(clock):
    store = MemoryState(Bounds(clock=clock))
    store.put(ANN, b"state", turn=1)
    clock.now += SECONDS
    assert store.get(ANN) == b"state"
    clock.now += 1
    assert store.get(ANN) is None
    assert store.nbytes == 0


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


def test_a_store_of_one_s_own_is_named_among_the_choices_and_opened(monkeypatch):
    monkeypatch.setitem(STORES, "sqlite://", lambda asked: asked.where)
    assert open_state("sqlite://file", keys=[], history_bytes=None) == "sqlite://file"
    with pytest.raises(
        ValueError, match=r"none of memory, attributes, redis://\.\.\., .*, sqlite://\.\.\.$"
    ):
        check("sqlite", keys=[], workers=1)


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
