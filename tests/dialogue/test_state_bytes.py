"""A session's state as bytes: packed, and sealed for whoever carries it."""

import base64
import json
import os
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dialogue.agent import DialogueAgent
from dialogue.conversation import Conversation, Turn
from dialogue.models.history import history_from_bytes
from dialogue.state import Owner, Refused
from dialogue.state.attributes import MAX_BYTES, AttributesState
from dialogue.state.codec import Kept, pack, unpack
from dialogue.state.sealing import AHEAD_SECONDS, SECONDS, Seal, keys_of

ANN = Owner("session 1", "ann")
KEY, OTHER_KEY = b"k" * 32, b"o" * 32


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


def test_what_is_packed_is_what_is_unpacked():
    before = kept(("hi \ud800", "héllo \U0001f600", ""))
    after = unpack(pack(before, histories()), histories())
    assert after.conversation.turns == before.conversation.turns
    torch.testing.assert_close(
        after.conversation.history, before.conversation.history, rtol=0, atol=1e-3
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
    packed = pack(before, histories(size=512), limit=limit)
    after = unpack(packed, histories(size=512))
    left = len(after.conversation.turns)
    assert after.conversation.turns == before.conversation.turns[-left:]
    assert limit - 150 < len(packed) <= limit, "as many as fit"
    assert 0 < left < 200
    assert after.conversation.history.shape == (1, 512)
    assert after.response == before.response


def test_a_history_that_does_not_fit_is_an_error():
    with pytest.raises(ValueError, match="without any text; 1000 are allowed"):
        pack(kept(size=512), histories(size=512), limit=1000)


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
