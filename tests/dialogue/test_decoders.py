"""Several decoders work through one queue, and never at the same conversation."""

import pytest
import torch

import dialogue.decoders
from dialogue.batching import BatchingAgent
from tests.dialogue.conftest import Clock

from .test_batching import LONG, Echo, ask, in_thread, until


@pytest.fixture
def echo():
    return Echo()


@pytest.fixture
def two(echo):
    """A batching agent with two decoders."""
    made = BatchingAgent(echo, decoders=2, clock=Clock())
    yield made
    echo.may.set()
    made.close()


def test_a_second_decoder_answers_while_the_first_is_busy(echo, two):
    asked = [ask(two, "a", "one")]
    assert echo.begun.acquire(timeout=LONG)
    asked.append(ask(two, "b", "two"))
    assert echo.begun.acquire(timeout=LONG)
    assert echo.batches == [["one"], ["two"]]
    echo.may.set()
    assert [future.result(LONG).text for future in asked] == ["ONE", "TWO"]


def test_two_decoders_never_work_at_one_conversation(echo, two):
    asked = [ask(two, "x", "1")]
    assert echo.begun.acquire(timeout=LONG)
    asked += [ask(two, "x", "2"), ask(two, "y", "3")]
    noted = in_thread(lambda: two.note("x", "4", "four"))
    assert echo.begun.acquire(timeout=LONG)
    assert echo.batches == [["1"], ["3"]]
    assert not echo.begun.acquire(timeout=0.05)
    echo.may.set()
    assert [future.result(LONG).text for future in asked] == ["1", "2", "3"]
    noted.join(LONG)
    assert echo.kept["x"] == ("1", "2", "4", "four")


def test_a_batch_that_fails_gives_its_conversations_back(echo, two):
    failing = ask(two, "x", "bad")
    assert echo.begun.acquire(timeout=LONG)
    later = ask(two, "x", "good")
    echo.may.set()
    with pytest.raises(ValueError, match="cannot be answered"):
        failing.result(LONG)
    assert later.result(LONG).text == "GOOD"


def test_it_is_not_well_while_one_of_two_decoders_is_stuck(echo, two):
    ask(two, "a", "one")
    assert echo.begun.acquire(timeout=LONG)
    two._decoders.clock.now += dialogue.decoders.STUCK_SECONDS - 1
    ask(two, "b", "two")
    assert echo.begun.acquire(timeout=LONG)
    assert two.is_well
    two._decoders.clock.now += 1
    assert not two.is_well
    echo.may.set()
    until(lambda: two.is_well)


def test_going_down_waits_for_every_decoder(echo, two):
    asked = []
    for name in "ab":  # one after the other, or they would share a batch
        asked.append(ask(two, name, name))
        assert echo.begun.acquire(timeout=LONG)
    asked.append(ask(two, "a", "c"))
    closing = in_thread(two.close)
    until(lambda: two._decoders._is_closed)
    echo.may.set()
    closing.join(LONG)
    assert [future.result(0).text for future in asked] == ["A", "B", "C"]


@pytest.mark.parametrize(
    ("cores", "device", "planned"),
    [
        (1, "cpu", (1, 1)), (2, "cpu", (2, 1)), (4, "cpu", (4, 1)), (7, "cpu", (4, 1)),
        (16, "cpu", (4, 4)), (16, "meta", (1, 16)),
    ],
)  # fmt: skip
def test_there_are_as_many_decoders_as_cores_but_few_and_one_on_a_gpu(
    echo, monkeypatch, cores, device, planned
):
    """Each has its share of torch's threads; the cores are counted once somebody asks."""
    given = []
    echo.device = torch.device(device)
    made = BatchingAgent(echo)
    monkeypatch.setattr(torch, "get_num_threads", lambda: cores)
    monkeypatch.setattr(torch, "set_num_threads", given.append)
    echo.may.set()
    ask(made, "a", "one").result(LONG)
    made.close()
    assert (len(given), given[0]) == planned
