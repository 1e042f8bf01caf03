"""A request as a transaction, wherever conversations live, and with two real workers."""

import threading

import pytest
import torch

from app import Settings, create_app
from dialogue.agent import DialogueAgent
from dialogue.conversation import Conversation
from dialogue.state.codec import pack
from skill import phrases

from ..dialogue.redis_server import BINARY, needs_redis, running
from .carrying import KEY, Worker, assert_same, expected
from .conftest import read_request, spoken

REDIS = pytest.param("redis", marks=needs_redis)


@pytest.fixture(scope="module")
def redis_server():
    if BINARY is None:
        pytest.skip("redis-server is not there; apt-get install redis-server")
    with running() as server:
        yield server


@pytest.fixture(params=["memory", "attributes", REDIS])
def kind(request):
    return request.param


@pytest.fixture
def worker(kind, talker, request):
    state = request.getfixturevalue("redis_server").url if kind == "redis" else kind
    if kind == "redis":
        request.getfixturevalue("redis_server").client.flushall()
    return Worker(talker, state)


def test_a_talk_is_the_same_wherever_it_lives(worker, talker):
    said = ("hi", "do you like music?", "what is your name", "me too, jazz is great")
    for utterance in said:
        worker.say(utterance)
    assert_same(worker.conversation(), expected(talker, *said))
    assert len(worker.conversation().said("user")) == 4


def test_the_same_request_twice_gets_the_same_response_and_is_one_turn(worker, talker):
    worker.say("hi")
    again = worker.request("do you like music?")
    first, second = worker.post(again), worker.post(again)
    assert first["response"] == second["response"]
    worker.attributes = second["sessionAttributes"]
    assert_same(worker.conversation(), expected(talker, "hi", "do you like music?"))


def test_repeat_says_the_last_speech_and_fixed_sentences_take_turns(worker):
    first = worker.say("hi")
    assert spoken(worker.say(None, "repeat")) == spoken(first)
    heard = [spoken(worker.say(None, "fallback")) for _ in phrases.NOT_HEARD]
    assert set(heard) == set(phrases.NOT_HEARD)


def test_stop_and_start_over_forget(worker):
    worker.say("hi")
    worker.say(None, "start_over")
    assert worker.conversation().turns == ()
    worker.say("do you like music?")
    assert len(worker.conversation().said("user")) == 1
    worker.say("stop")
    assert worker.conversation() is None


def test_a_session_of_another_user_is_answered_but_not_gone_on_with(worker):
    worker.say("hi")
    stranger, worker.user = worker.user, "mallory"
    assert spoken(worker.say("do you like music?"))
    assert worker.conversation().said("user") == ["do you like music?"]
    assert stranger != worker.user


def test_a_late_reply_does_not_enter_the_history(worker, monkeypatch):
    """It went on in its thread, and into the conversation when it was found."""
    worker.say("hi")
    before, gate, late = worker.conversation(), threading.Event(), threading.Event()
    answer = DialogueAgent.answer

    def slow(self, *arguments, **options):
        gate.wait(30)
        late.set()
        return answer(self, *arguments, **options)

    monkeypatch.setattr("skill.deadline.HINT_AFTER", 0.01)
    monkeypatch.setattr("skill.deadline.GIVE_UP_AFTER", 0.02)
    monkeypatch.setattr(DialogueAgent, "answer", slow)
    assert spoken(worker.say("do you like music?")) in phrases.LATE
    gate.set()
    assert late.wait(30)
    after = worker.conversation()
    assert [turn for turn in after.turns if turn.text == "do you like music?"] == []
    assert after.turns[: len(before.turns)] == before.turns
    monkeypatch.undo()
    worker.say("what do you do?")
    assert worker.conversation().said("user")[-2:] == ["hi", "what do you do?"]


@pytest.mark.parametrize("kind", ["memory", REDIS])
def test_a_session_that_ends_during_its_slow_first_turn_is_not_kept(worker, monkeypatch):
    answered, gate = threading.Event(), threading.Event()

    def slow(*arguments, **options):  # between the reply and its being kept
        answered.set()
        assert gate.wait(30)
        return pack(*arguments, **options)

    monkeypatch.setattr("skill.transaction.WAIT_SECONDS", 0.01)
    monkeypatch.setattr("skill.transaction.pack", slow)
    first, answers = worker.request("do you like music?"), []
    asking = threading.Thread(target=lambda: answers.append(worker.post(first)))
    asking.start()
    assert answered.wait(30)
    worker.post(worker.request(None, "session_ended"))
    gate.set()
    asking.join()
    assert spoken(answers[0]), "it is answered, though nobody may hear it"
    assert not worker.state()
    monkeypatch.undo()
    worker.say("hi")
    assert worker.conversation().said("user") == ["hi"], "who opens the session again goes on"


# --- several workers -----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["attributes", REDIS])
def test_any_worker_answers_any_turn(kind, talker, redis_server):
    redis_server.client.flushall()
    state = redis_server.url if kind == "redis" else kind
    workers, attributes = [Worker(talker, state) for _ in range(2)], {}
    said = ("hi", "do you like music?", "me too, jazz is great")
    for number, utterance in enumerate(said):
        worker = workers[number % 2]
        worker.attributes, worker.number = attributes, number
        worker.say(utterance)
        attributes = worker.attributes
    assert_same(worker.conversation(), expected(talker, *said))


@pytest.mark.parametrize("kind", ["memory", REDIS])
def test_turns_at_once_are_all_kept_one_after_the_other(kind, talker, redis_server, monkeypatch):
    redis_server.client.flushall()
    state = redis_server.url if kind == "redis" else kind
    first = Worker(talker, state)
    second = Worker(talker, state) if kind == "redis" else first
    monkeypatch.setattr("skill.transaction.WAIT_SECONDS", 60)
    monkeypatch.setattr("skill.transaction.AGAIN_WITHIN", 60)
    first.say("hi")
    said = ["do you like music?", "what do you do?", "do you have a dog?", "where do you live?"]
    requests = [
        (worker, first.request(text))
        for worker, text in zip([first, second] * 2, said, strict=True)
    ]
    answers = []
    threads = [
        threading.Thread(target=lambda w, r: answers.append(w.post(r)), args=request)
        for request in requests
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(map(spoken, answers))
    conversation = first.conversation()
    heard = conversation.said("user")
    assert sorted(heard) == sorted(["hi", *said])
    alone, replayed = DialogueAgent(talker), Conversation()
    for turn in conversation.turns:
        (replayed,) = alone.hear([replayed], [turn])
    torch.testing.assert_close(conversation.history, replayed.history, rtol=0, atol=1e-3)


@needs_redis
def test_the_same_request_at_two_workers_at_once_is_one_turn(talker, redis_server):
    redis_server.client.flushall()
    workers = [Worker(talker, redis_server.url) for _ in range(2)]
    request, answers = workers[0].request("do you like music?"), []
    threads = [
        threading.Thread(target=lambda w: answers.append(w.post(request)), args=(worker,))
        for worker in workers
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers[0]["response"] == answers[1]["response"]
    assert workers[0].conversation().said("user") == ["do you like music?"]


def test_a_model_that_cannot_be_carried_is_refused_at_the_start(talker):
    agent = DialogueAgent(talker)
    agent.empty_history = torch.zeros(1, 5000)
    with pytest.raises(ValueError, match="bytes in fp16"):
        create_app(Settings(verify=False, state="attributes"), agent)


def test_memory_holds_no_more_conversations_than_it_is_told(agent):
    app = create_app(Settings(verify=False, max_conversations=2), agent)
    requests = []
    for session in "abc":
        requests.append(read_request("chat"))
        requests[-1]["session"]["sessionId"] = session
    for request in [*requests, *requests]:
        assert app.test_client().post("/", json=request).status_code == 200
    assert len(app.extensions["transactions"].store) == 2
    assert [name for name, _ in agent.heard] == list("abcabc"), "each was forgotten in the meantime"


@pytest.mark.parametrize("option", ["max_conversations", "max_state_mb"])
def test_a_bound_that_would_keep_nothing_is_refused(option):
    with pytest.raises(ValueError, match=f"--{option.replace('_', '-')} is 0"):
        Settings(**{option: 0})


def test_memory_with_several_workers_is_refused_at_the_start(agent, monkeypatch):
    monkeypatch.setenv("WEB_CONCURRENCY", "2")
    with pytest.raises(ValueError, match="2 workers"):
        create_app(Settings(verify=False), agent)
    with pytest.raises(ValueError, match="STATE_KEY"):
        create_app(Settings(verify=False, state="attributes"), agent)
    create_app(Settings(verify=False, state="attributes", state_keys=(KEY,)), agent)
