import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dialogue.bounded import Bounds
from dialogue.conversation import Conversation, Turn
from dialogue.store import ConversationStore
from tests.dialogue.conftest import Clock


def talk(text="hi", *, size=4):
    return Conversation(torch.zeros(size), (Turn("user", text),))


def kept(store, names):
    return [name for name in names if store.get(name) != Conversation()]


def test_what_is_put_is_what_is_got():
    store, conversation = ConversationStore(), talk()
    store.put("a", conversation)
    assert store.get("a") is conversation
    assert store.get("b") == Conversation()
    assert len(store) == 1


def test_above_the_limit_in_number_the_least_recently_used_goes_first():
    store = ConversationStore(Bounds(limit=3))
    for name in "abc":
        store.put(name, talk())
    store.put("a", talk("again"))
    store.put("d", talk())
    assert kept(store, "abcd") == ["a", "c", "d"]
    store.put("e", talk())
    assert kept(store, "abcde") == ["a", "d", "e"]


def test_above_the_limit_in_bytes_the_least_recently_used_goes_first():
    size = talk().nbytes + 1  # and the name
    store = ConversationStore(Bounds(limit_bytes=3 * size))
    for name in "abc":
        store.put(name, talk())
    assert store.nbytes == 3 * size
    store.put("d", talk())
    assert kept(store, "abcd") == ["b", "c", "d"]
    store.put(
        "e", talk(size=4 + size // 4)
    )  # more than one of the others, less than two: two of them must go
    assert kept(store, "abcde") == ["d", "e"]
    assert store.nbytes <= 3 * size


def test_a_conversation_too_big_for_the_store_is_kept_alone():
    """Somebody is talking in it: to drop it would lose every turn at once."""
    store = ConversationStore(Bounds(limit_bytes=100))
    store.put("a", talk())
    store.put("big", talk(size=1000))
    assert kept(store, ["a", "big"]) == ["big"]
    store.put("b", talk())
    assert kept(store, ["big", "b"]) == ["b"]


def test_a_conversation_unused_for_too_long_begins_anew(clock):
    store = ConversationStore(Bounds(seconds=60, clock=clock))
    store.put("a", talk())
    clock.now += 40
    store.put("b", talk())
    clock.now += 20
    assert kept(store, "ab") == ["a", "b"], "at the limit, not above it"
    clock.now += 1
    assert kept(store, "ab") == ["b"]
    assert len(store) == 1
    clock.now += 60
    store.put("c", talk())
    assert len(store) == 1
    assert store.nbytes == talk().nbytes + 1


def test_using_a_conversation_starts_its_time_anew(clock):
    store = ConversationStore(Bounds(seconds=60, clock=clock))
    for _ in range(5):
        store.put("a", talk())
        clock.now += 50
    assert kept(store, "a") == ["a"]


def test_forgetting_gives_the_bytes_back():
    store = ConversationStore()
    store.put("a", talk())
    before = store.nbytes
    store.put("b", talk("something longer"))
    store.forget("b")
    store.forget("never there")
    assert store.nbytes == before
    assert kept(store, "ab") == ["a"]


@pytest.mark.parametrize(
    "bound", [{"limit": 0}, {"limit_bytes": 0}, {"seconds": 0.0}, {"seconds": -1.0}]
)
def test_a_bound_that_would_keep_nothing_is_refused(bound):
    with pytest.raises(ValueError, match="keeps nothing"):
        ConversationStore(Bounds(**bound))


@given(
    uses=st.lists(
        st.tuples(st.sampled_from("abcdef"), st.integers(0, 30), st.integers(0, 30)), max_size=40
    ),
    limit=st.integers(1, 4),
    limit_bytes=st.integers(200, 800),
)
def test_the_bounds_hold_and_the_bytes_are_right_after_any_use(uses, limit, limit_bytes):
    clock = Clock()
    store = ConversationStore(
        Bounds(limit=limit, limit_bytes=limit_bytes, seconds=100, clock=clock)
    )
    for name, size, wait in uses:
        clock.now += wait
        store.put(name, talk(size=size))
        there = kept(store, "abcdef")
        assert name in there
        assert len(there) == len(store) <= limit
        assert store.nbytes == sum(store.get(other).nbytes + 1 for other in there)
        assert store.nbytes <= limit_bytes or len(there) == 1
