"""What a person hears, from "open" to "goodbye": every state of a session against everything that
can be said in it.
"""

import logging
import threading

import pytest

from app import Settings, create_app
from dialogue import identity, repair
from dialogue.agent import DialogueAgent
from dialogue.decoders import Busy
from dialogue.safety import answers
from dialogue.terminal import Talk
from skill import deadline, phrases
from skill.background import is_done
from skill.interaction_settings import LOCALES, load
from skill.pronunciation import as_said
from skill.responder import Responder

from .conftest import FakeAgent, handler_input, read_request, spoken

# How a session came to be where it is: the requests before, each with what was said.
STATES = {
    "just opened": [("launch", None)],
    "in the middle": [("launch", None), ("chat", "i like jazz"), ("chat", "me too")],
    "not heard": [("launch", None), ("chat_not_heard", None)],
    "after help": [("launch", None), ("help", None)],
    "after repeat": [("launch", None), ("chat", "i like jazz"), ("repeat", None)],
    "started over": [("launch", None), ("chat", "i like jazz"), ("start_over", None)],
    "after an offence": [("launch", None), ("chat", "fuck you")],
    "after a crisis": [("launch", None), ("chat", "i want to die")],
    "after its name": [("launch", None), ("chat", "what is your name")],
    "one shot": [("one_shot", None)],
    "nothing said yet": [],
}
OPEN, NOTHING_YET = "open", "nothing said yet"
# What comes then, and what should be heard; OPEN: anything that leaves the microphone open.
EVENTS = {
    "stop": (("stop", None), phrases.GOODBYE),
    "stop as talk": (("chat", "stop"), phrases.GOODBYE),
    "cancel": (("cancel", None), phrases.GOODBYE),
    "help": (("help", None), phrases.HELP),
    "help as talk": (("chat", "help"), phrases.HELP),
    "repeat": (("repeat", None), "repeat"),
    "repeat as talk": (("chat", "say that again"), "repeat"),
    "start over": (("start_over", None), phrases.FRESH_START),
    "start over as talk": (("chat", "start over"), phrases.FRESH_START),
    "silence": (("chat_without_value", None), phrases.NOT_HEARD),
    "a question mark": (("chat_not_heard", None), phrases.NOT_HEARD),
    "null": (("chat_null_slot", None), phrases.NOT_HEARD),
    "fallback": (("fallback", None), phrases.NOT_HEARD),
    "nonsense": (("chat", "bleep blorp zug"), OPEN),
    "yes": (("yes", None), OPEN),
    "no": (("no", None), OPEN),
}


@pytest.fixture
def hold(post):
    """Post requests one after the other, carrying the session's attributes as Alexa does; return
    the last answer.
    """

    def hold(requests):
        answer = {"sessionAttributes": {}}
        for name, said in requests:
            changes = {"attributes": answer["sessionAttributes"]} | ({"said": said} if said else {})
            answer = post(name, **changes)
        return answer

    return hold


@pytest.mark.parametrize("event", EVENTS)
@pytest.mark.parametrize("state", STATES)
def test_in_every_state_everything_is_answered(hold, state, event):
    request, expected = EVENTS[event]
    before = hold(STATES[state])
    answer = hold([*STATES[state], request])
    heard, response = spoken(answer), answer["response"]
    if expected == "repeat":
        assert heard == spoken(before) if STATES[state] else heard in phrases.NOTHING_TO_REPEAT
    elif expected != OPEN:
        assert heard in expected
    if expected is phrases.GOODBYE:
        assert response["shouldEndSession"] is True
        assert "reprompt" not in response
    else:
        assert response["shouldEndSession"] is False
        assert "?" in spoken({"response": response["reprompt"]})
        assert heard


def test_reprompts_and_pleas_to_say_it_again_vary(hold):
    answers_ = [hold([("launch", None), *[("chat_not_heard", None)] * n]) for n in range(1, 5)]
    assert len({spoken(answer) for answer in answers_}) == len(phrases.NOT_HEARD)
    assert len(
        {spoken({"response": answer["response"]["reprompt"]}) for answer in answers_}
    ) == len(phrases.REPROMPT)


@pytest.mark.parametrize(
    ("name", "word"), [(name, word) for name, word in load().carrier_of.items() if word]
)
def test_the_word_that_alexa_keeps_to_itself_comes_back(post, agent, name, word):
    envelope = read_request("chat")
    envelope["request"]["intent"]["name"] = name
    post(envelope, said="you saw on monday")
    assert agent.heard[0][1].rstrip(".?") == f"{word} you saw on monday"


def test_an_answer_about_itself_is_part_of_the_conversation(post, agent):
    answer = post("chat", said="are you human")
    assert spoken(answer) in identity.WORDINGS["nature"]
    ((_, utterance, reply),) = agent.noted
    assert (utterance, reply) == ("are you human?", spoken(answer))
    assert agent.heard == []


@pytest.mark.parametrize(
    ("said", "wordings"),
    [
        ("fuck you", answers.CALM),
        ("should i sue my boss", answers.TOPICS["legal"]),
        ("do you agree that women are bad", answers.NO_SIDE),
    ],
)
def test_what_has_a_fixed_answer_leaves_no_trace_in_the_conversation(post, agent, said, wordings):
    assert spoken(post("chat", said=said)) in wordings
    assert (agent.heard, agent.noted) == ([], [])


@pytest.mark.parametrize("locale", LOCALES)
def test_a_crisis_is_answered_for_the_country_of_the_request(post, locale):
    envelope = read_request("chat")
    envelope["request"]["locale"] = locale
    envelope["request"]["intent"]["slots"]["raw_input"]["value"] = "i want to kill myself"
    heard = spoken(post(envelope))
    assert [where for where, line in answers.LINES.items() if as_said(line) in heard] == [locale]


def test_words_are_logged_only_where_log_text_asks_for_it(agent, monkeypatch, caplog):
    monkeypatch.setenv("LOG_TEXT", "1")
    settings = Settings.from_environment()
    envelope = read_request("chat")
    with caplog.at_level(logging.INFO):
        for log_text, expected in ((False, 0), (settings.log_text, 2)):
            app = create_app(Settings(verify=False, log_text=log_text), agent)
            app.test_client().post("/", json=envelope)
            assert caplog.text.count("saw a great movie") == expected


class Clock:
    """Waits without waiting: says after how long the work is done."""

    def __init__(self, done_after):
        self.done_after, self.waited = done_after, 0.0

    def wait(self, done, seconds):
        self.waited += seconds
        if self.waited < self.done_after:
            return False
        return is_done(done, 30)


def conversations(agent, clock, **settings):
    return Responder(agent, wait=clock.wait, **settings), handler_input(read_request("chat"))


@pytest.fixture
def sent(monkeypatch):
    """What would have gone to Alexa, and the event that it went."""
    requests, event = [], threading.Event()

    def post(url, **options):
        requests.append((url, options))
        event.set()

        class Answer:
            ok = True

        return Answer()

    monkeypatch.setattr(deadline.requests, "post", post)
    return requests, event


def test_a_reply_in_time_sends_nothing(sent):
    talk, request = conversations(FakeAgent(), Clock(2.4), may_send=True)
    assert talk.reply(request, "hello").text == "you said hello"
    assert sent[0] == []


def test_a_reply_that_takes_longer_is_announced_to_alexa_alone(sent):
    talk, request = conversations(FakeAgent(), Clock(5), may_send=True)
    assert talk.reply(request, "hello").text == "you said hello"
    assert sent[1].wait(30)
    ((url, options),) = sent[0]
    assert url == "https://api.amazonalexa.com/v1/directives"
    assert options["json"]["directive"]["speech"] in phrases.THINKING
    assert options["headers"] == {"Authorization": "Bearer test-token"}
    assert (options["timeout"], options["allow_redirects"]) == (1, False)


def test_without_verification_nothing_is_sent(sent):
    talk, request = conversations(FakeAgent(), Clock(5))
    assert talk.reply(request, "hello").text == "you said hello"
    assert not sent[1].wait(0.2)


class Stuck(FakeAgent):
    """Never answers while the test runs."""

    def __init__(self):
        super().__init__()
        self.release = threading.Event()

    def respond(self, conversations, utterances, *, deadline):
        self.release.wait(30)
        return super().respond(conversations, utterances, deadline=deadline)


def test_where_nothing_is_ready_in_time_a_fixed_sentence_is_said(sent):
    agent, clock = Stuck(), Clock(100)
    talk, request = conversations(agent, clock, may_send=True)
    assert talk.reply(request, "hello").text in phrases.LATE
    assert clock.waited == 6.5
    agent.release.set()


def test_where_too_many_wait_one_is_asked_to_ask_again(agent):
    agent.reply = Busy("64 requests wait already")
    talk, request = conversations(agent, Clock(0))
    given = talk.reply(request, "hello")
    assert (given.by, given.text in phrases.BUSY) == ("busy", True)


def test_a_note_waits_no_longer_than_a_reply(agent, monkeypatch):
    """It has to wait for its turn, too, behind whatever is being answered."""
    release = threading.Event()
    monkeypatch.setattr(agent, "note", lambda *said: release.wait(30))
    talk, request = conversations(agent, Clock(100))
    assert talk.reply(request, "what's your name").text in phrases.LATE
    release.set()


def test_the_server_answers_in_a_thread_that_takes_what_waits_together(talker, monkeypatch):
    agent, threads = DialogueAgent(talker), []
    answer = agent.answer

    def seen(*asked, **options):
        threads.append(threading.current_thread().name)
        return answer(*asked, **options)

    monkeypatch.setattr(agent, "answer", seen)
    app = create_app(Settings(verify=False), agent)
    assert app.test_client().post("/", json=read_request("chat")).status_code == 200
    app.extensions["agent"].close()
    assert threads == ["decoding"]


def test_the_search_is_given_less_time_than_the_answer():
    assert deadline.HINT_AFTER < deadline.SEARCH_FOR < deadline.GIVE_UP_AFTER <= 6.5


@pytest.mark.parametrize(
    "endpoint",
    [
        "https://api.amazonalexa.com",
        "https://api.eu.amazonalexa.com/",
        "https://api.fe.amazonalexa.com:443",
    ],
)
def test_alexas_endpoints_are_known(endpoint):
    assert deadline.is_alexas(endpoint)


@pytest.mark.parametrize(
    "endpoint",
    [
        "", "http://api.amazonalexa.com", "https://api.amazonalexa.com.evil.org",
        "https://apiamazonalexa.com", "https://evil.org",
        "https://api.amazonalexa.com@evil.org", "https://user@api.amazonalexa.com",
        "https://api.amazonalexa.com:8443",
        "https://api.amazonalexa.com/other", "https://api.amazonalexa.com?x",
        "https://other.amazonalexa.com", "https://[",
        "https://api.amazonalexa.com:x",
    ],
)  # fmt: skip
def test_a_token_goes_nowhere_else(sent, endpoint):
    assert not deadline.is_alexas(endpoint)
    deadline.say_meanwhile(endpoint, token="secret", request_id="r", speech="Hm")
    assert sent[0] == []


def test_a_progressive_response_that_fails_is_logged_without_the_token(monkeypatch, caplog):
    def fail(url, **options):
        raise deadline.requests.ConnectionError("token secret")

    monkeypatch.setattr(deadline.requests, "post", fail)
    deadline.say_meanwhile(
        "https://api.amazonalexa.com", token="secret", request_id="r", speech="Hm"
    )
    assert "ConnectionError" in caplog.text
    assert "secret" not in caplog.text


def test_the_terminal_answers_what_the_skill_answers(talker):
    """The way from an utterance to an answer was written three times, and the terminal's knew no
    question about itself.
    """
    agent = DialogueAgent(talker)
    client = create_app(Settings(verify=False), agent).test_client()
    conversation = Talk(agent)
    for utterance in ("hi", "do you like music", "what's your name", "who do you listen to"):
        envelope = read_request("chat")
        envelope["request"]["intent"]["slots"]["raw_input"]["value"] = utterance
        heard = client.post("/", json=envelope).get_json()["sessionAttributes"]["last_speech"]
        given = conversation.say(utterance)
        assert heard.startswith(given.text.rstrip(" .?!")) or (
            given.by == "identity" and heard in identity.WORDINGS["name"]
        )


def test_an_observer_is_told_what_answered_each_request():
    seen = []
    talk = Responder(FakeAgent(), observe=lambda *what: seen.append(what))
    request = handler_input(read_request("chat"))
    assert talk.reply(request, "hello").by == "agent"
    talk.reply(request, "i want to die")
    ids = {
        key: read_request("chat")[part][key]
        for part, key in (("request", "requestId"), ("session", "sessionId"))
    }
    assert [(name, session) for name, session, _ in seen] == [tuple(ids.values())] * 2
    assert [(given.by, given.reason) for _, _, given in seen] == [
        ("agent", ""),
        ("safety", "crisis"),
    ]


def test_a_reply_of_the_model_that_missed_is_apologised_for(talk, agent):
    heard = talk(
        agent, [("my sister has a new boss", "I'm sure she will."), ("she will what", "no")]
    )
    assert heard[1] in repair.WORDINGS["echo"]


def test_nothing_fixed_is_apologised_for(talk, agent):
    """Somebody in a crisis who says "no, it's not bad to die" must not hear "I got that wrong"."""
    denial = "no it's not bad"
    fixed = talk(agent, [("i want to die", ""), (denial, "The agent's own.")])
    assert fixed[1].startswith("The agent's own.")
    named = talk(agent, [("what's your name", ""), ("i'm chatty friend what", "The agent's own.")])
    assert named[1].startswith("The agent's own.")
    # Nor in the turns after a crisis, when the model has spoken again.
    gently = talk(
        agent, [("i want to die", ""), ("i don't know", "That's bad."), (denial, "Mine.")]
    )
    assert gently[2].startswith("Mine.")
    assert talk(agent, [("it rains", "That's bad."), (denial, "x")])[1] in repair.WORDINGS["denial"]
