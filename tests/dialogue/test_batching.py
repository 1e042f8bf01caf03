"""Requests that wait together are answered together, and none of them notices."""

import math
import threading
import time
from contextlib import contextmanager

import pytest

import dialogue.batching
import dialogue.decoders
from dialogue.agent import Reply
from dialogue.batching import BatchingAgent
from dialogue.decoders import Busy
from tests.dialogue.conftest import Clock

LONG = 30  # seconds that a test waits for another thread before it fails


class Echo:
    """Repeats what it heard in capitals once it may; its conversations are tuples of texts."""

    decode_config, model = "the usual", "a model"

    def __init__(self):
        self.kept, self.batches, self.deadlines = {}, [], []
        self.begun, self.may = threading.Semaphore(0), threading.Event()

    def with_settings(self, decode):
        other = Echo()
        other.__dict__.update(self.__dict__, decode_config=decode)
        return other

    def conversation(self, name):
        return self.kept.get(name, ())

    def keep(self, name, conversation):
        self.kept[name] = conversation

    def answer(self, conversations, utterances, *, deadline):
        self.batches.append(list(utterances))
        self.deadlines.append(list(deadline))
        self.begun.release()
        assert self.may.wait(LONG)
        if "bad" in utterances:
            raise ValueError("this cannot be answered")
        return [
            Reply(utterance.upper(), (*before, utterance), (), has_failed=utterance == "nan")
            for before, utterance in zip(conversations, utterances, strict=True)
        ]

    def note(self, conversation, utterance, reply):
        self.kept[conversation] = (*self.conversation(conversation), utterance, reply)

    def add(self, conversation, said):
        self.kept[conversation] = (*self.conversation(conversation), said)

    def forget(self, conversation):
        self.kept.pop(conversation, None)


@pytest.fixture
def echo():
    return Echo()


@pytest.fixture
def batching(echo):
    made = BatchingAgent(echo, most=4, waiting=6, decoders=1, clock=Clock())
    yield made
    echo.may.set()
    made.close()


def ask(batching, conversation, utterance, deadline=9.0):
    return batching.submit(conversation, utterance, deadline=deadline)


@contextmanager
def busy(echo, batching):
    """Keep the decoder at the request "first" meanwhile, and let it go on at the end."""
    ask(batching, "somebody", "first")
    assert echo.begun.acquire(timeout=LONG)
    yield
    echo.may.set()


def in_thread(work):
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def until(is_so):
    while not is_so():
        time.sleep(0.001)


# --- what is answered together -------------------------------------------------------------------


def test_what_waits_together_is_answered_together(echo, batching):
    with busy(echo, batching):
        asked = [ask(batching, name, name) for name in "abc"]
    assert [future.result(LONG).text for future in asked] == ["A", "B", "C"]
    assert echo.batches == [["first"], ["a", "b", "c"]]


def test_an_idle_server_waits_for_nobody(echo, batching, monkeypatch):
    """Whoever comes first is decoded alone at once; no thread ever waits for a time to pass."""
    waits = []
    wait = threading.Condition.wait

    def waiting(condition, timeout=None):
        if condition is batching._decoders._changed:
            waits.append(timeout)
        return wait(condition, timeout)

    monkeypatch.setattr(threading.Condition, "wait", waiting)
    echo.may.set()
    for utterance in ("a", "b", "c"):
        assert ask(batching, utterance, utterance).result(LONG).text == utterance.upper()
    assert echo.batches == [["a"], ["b"], ["c"]]
    assert set(waits) <= {None}


def test_a_batch_has_a_largest_size(echo, batching):
    with busy(echo, batching):
        asked = [ask(batching, name, name) for name in "abcdef"]
    assert [future.result(LONG).text for future in asked] == list("ABCDEF")
    assert echo.batches == [["first"], list("abcd"), list("ef")]


def test_what_is_asked_of_one_conversation_is_answered_in_order_one_after_the_other(echo, batching):
    with busy(echo, batching):
        asked = [
            ask(batching, name, said)
            for name, said in (("x", "1"), ("x", "2"), ("y", "3"), ("x", "4"))
        ]
    assert [future.result(LONG).text for future in asked] == ["1", "2", "3", "4"]
    assert echo.batches == [["first"], ["1", "3"], ["2"], ["4"]]
    assert echo.kept["x"] == ("1", "2", "4")


def test_only_equal_settings_share_a_batch(echo, batching):
    other, alike = batching.with_settings("other"), batching.with_settings("other")
    with busy(echo, batching):
        asked = [
            ask(agent, name, name)
            for agent, name in ((other, "a"), (batching, "b"), (alike, "c"), (batching, "d"))
        ]
    for future in asked:
        future.result(LONG)
    assert echo.batches == [["first"], ["a", "c"], ["b", "d"]]


def test_the_time_of_waiting_counts(echo, batching):
    clock = batching._decoders.clock
    with busy(echo, batching):
        ask(batching, "a", "a", deadline=5.0)
        clock.now += 3
        ask(batching, "b", "b", deadline=5.0)
        last = ask(batching, "c", "c", deadline=1.0)
        clock.now += 2.5
    last.result(LONG)
    assert echo.deadlines == [[9.0], [0.0, 2.5, 0.0]]


def test_what_was_said_elsewhere_enters_a_conversation_in_its_turn(echo, batching):
    with busy(echo, batching):
        asked = ask(batching, "x", "1")
        noted = in_thread(lambda: batching.note("x", "2", "two"))
        until(lambda: len(batching._decoders._waiting) == 2)
        added = in_thread(
            lambda: batching.add("y", "0")
        )  # of a conversation that waits for nothing
        until(lambda: len(batching._decoders._waiting) == 3)
        last = ask(batching, "y", "1")
    last.result(LONG)
    for thread in (noted, added):
        thread.join(LONG)
    assert asked.result().text == "1"
    assert echo.kept["x"] == ("1", "2", "two")
    assert echo.kept["y"] == ("0", "1")
    assert echo.batches == [["first"], ["1", "1"]]


# --- what goes wrong -----------------------------------------------------------------------------


def test_one_that_fails_fails_alone(echo, batching):
    with busy(echo, batching):
        good, bad, other = (ask(batching, said, said) for said in ("good", "bad", "other"))
    assert good.result(LONG).text == "GOOD"
    assert other.result(LONG).text == "OTHER"
    with pytest.raises(ValueError, match="this cannot be answered"):
        bad.result(LONG)
    assert (echo.kept["good"], echo.kept["other"]) == (("good",), ("other",))
    assert "bad" not in echo.kept
    assert ask(batching, "good", "again").result(LONG).text == "AGAIN"


def test_a_reply_without_a_likelihood_fails_alone_and_leaves_its_conversation_as_it_was(
    echo, batching
):
    echo.kept["x"] = ("before",)
    with busy(echo, batching):
        good, broken = ask(batching, "good", "good"), ask(batching, "x", "nan")
    assert good.result(LONG).text == "GOOD"
    with pytest.raises(ValueError, match="no likelihood that is a number"):
        broken.result(LONG)
    assert echo.kept["x"] == ("before",)
    assert echo.batches == [["first"], ["good", "nan"]]


def test_a_store_that_fails_is_an_error_of_its_own_request(echo, batching, monkeypatch):
    keep = echo.keep

    def fail(name, conversation):
        if name == "x":
            raise OSError("the disk is full")
        keep(name, conversation)

    monkeypatch.setattr(echo, "keep", fail)
    with busy(echo, batching):
        good, lost = ask(batching, "good", "good"), ask(batching, "x", "1")
    assert good.result(LONG).text == "GOOD"
    with pytest.raises(OSError, match="the disk is full"):
        lost.result(LONG)


def test_who_has_gone_is_not_answered_and_harms_nobody(echo, batching):
    with busy(echo, batching):
        gone, stays = ask(batching, "x", "1"), ask(batching, "y", "2")
        assert gone.cancel()
    assert stays.result(LONG).text == "2"
    assert echo.batches == [["first"], ["2"]]
    assert "x" not in echo.kept


def test_a_reply_that_is_given_up_while_it_is_found_does_not_enter_the_conversation(echo, batching):
    late = ask(batching, "x", "1")
    assert echo.begun.acquire(timeout=LONG)
    assert late.cancel()
    echo.may.set()
    assert ask(batching, "x", "2").result(LONG).text == "2"
    assert echo.kept["x"] == ("2",)


def test_a_reply_that_is_far_too_late_is_given_up(echo, batching, monkeypatch):
    monkeypatch.setattr(dialogue.batching, "PATIENCE", 0.0)
    with pytest.raises(TimeoutError, match="no reply in time"):
        batching.respond(["x"], ["1"], deadline=0.0)
    echo.may.set()
    assert batching.respond(["x"], ["2"], deadline=LONG) == ["2"]
    assert echo.kept["x"] == ("2",)


def test_a_full_queue_answers_at_once_and_has_room_again_for_whom_others_have_left(echo, batching):
    with busy(echo, batching):
        asked = [ask(batching, name, name) for name in "abcdef"]
        for refused in (
            lambda: ask(batching, "g", "g"),
            lambda: batching.note("g", "hi", "hello"),
            lambda: batching.add("g", "hello"),
        ):
            with pytest.raises(Busy, match="6 requests wait"):
                refused()
        assert asked.pop().cancel()
        asked.append(ask(batching, "g", "g"))
    assert [future.result(LONG).text for future in asked] == list("ABCDEG")
    assert "f" not in echo.kept


def test_what_is_to_be_forgotten_is_forgotten_whatever_waits(echo, batching):
    echo.kept["z"] = ("before",)
    with busy(echo, batching):
        asked = [ask(batching, name, name) for name in "abcdez"]
        forgetting = in_thread(lambda: batching.forget("z"))
        until(lambda: len(batching._decoders._waiting) == 7)
    forgetting.join(LONG)
    assert asked[-1].result(LONG).text == "Z"
    assert "z" not in echo.kept


def test_going_down_answers_all_that_waits_and_takes_nothing_more(echo, batching):
    with busy(echo, batching):
        asked = [ask(batching, name, name) for name in "abcde"]
        closing = in_thread(batching.close)
        until(lambda: batching._decoders._is_closed)
        with pytest.raises(Busy, match="going down"):
            ask(batching, "f", "f")
    closing.join(LONG)
    assert not closing.is_alive()
    assert [future.result(0).text for future in asked] == list("ABCDE")
    batching.forget("a")
    assert "a" not in echo.kept
    batching.close()


def test_a_server_that_was_never_asked_goes_down_at_once():
    BatchingAgent(Echo()).close()


@pytest.mark.parametrize("bounds", [{"most": 0}, {"waiting": 0}])
def test_bounds_that_answer_nobody_are_refused(bounds):
    with pytest.raises(ValueError, match="answer nobody"):
        BatchingAgent(Echo(), **bounds)


# --- what nobody will hear -----------------------------------------------------------------------


def test_there_may_be_no_deadline_at_all(echo, batching):
    echo.may.set()
    (reply,) = batching.replies(["a"], ["hello"], deadline=math.inf)
    assert reply.text == "HELLO"


def test_where_one_of_several_finds_no_room_the_others_enter_no_conversation(echo, batching):
    with busy(echo, batching):
        for name in "pqrst":
            ask(batching, name, name)
        with pytest.raises(Busy):  # there is room for one more, not for two
            batching.replies(["a", "b"], ["a", "b"], deadline=9.0)
    last = ask(batching, "last", "last")
    assert last.result(LONG).text == "LAST"
    assert "a" not in echo.kept and "b" not in echo.kept


def test_a_thread_that_has_ended_is_replaced(echo, batching):
    echo.may.set()
    assert ask(batching, "a", "one").result(LONG).text == "ONE"
    ended = threading.Thread(target=lambda: None)
    batching._decoders._threads = [ended]
    ended.start()
    ended.join()
    assert ask(batching, "a", "two").result(LONG).text == "TWO"
