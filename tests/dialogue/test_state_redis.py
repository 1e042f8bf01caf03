"""Redis: what becomes of a session when it fails, and what it gets to see."""

import pytest

from dialogue.state import Conflict, Owner, Refused, Unreachable
from dialogue.state.redis_state import RedisState
from dialogue.state.sealing import Seal

from .redis_server import Between, needs_redis, running

ANN = Owner("session 1", "ann")


@pytest.fixture(scope="module")
def server():
    with running() as server:
        yield server


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
@pytest.mark.parametrize("loses", ["hangs up", "says nothing"])
def test_an_answer_of_redis_that_is_lost_loses_no_turn(troubled, loses):
    server, _ = troubled
    between = Between(server.port)
    store = RedisState(between.url, Seal([b""], seconds=None), timeout=0.2)
    store.put(ANN, b"one", turn=1)
    between.loses = loses
    store.put(ANN, b"two", turn=2)
    assert between.loses == ""
    between.loses = loses
    assert store.get(ANN) == b"two"
    with pytest.raises(Conflict):
        store.put(ANN, b"another two", turn=2)
    between.close()


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
