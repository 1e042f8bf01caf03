"""What Alexa gets back, for each kind of request, through the whole application."""

import logging
import xml.etree.ElementTree as ET

import pytest

from app import Settings, create_app
from skill import phrases
from skill.speech import to_speech

from .conftest import REQUESTS, read_request

OPEN = ["launch", "chat", "one_shot", "yes", "no", "help", "repeat", "start_over", "fallback", "unknown_intent"]
OPEN += ["chat_without_value", "chat_not_heard", "chat_thanks"]
CLOSED = ["stop", "cancel", "navigate_home", "chat_stop_in_slot"]
SILENT = ["session_ended", "session_ended_error", "system_exception", "audio_player", "skill_disabled", "unknown_type"]


def spoken(answer):
    return "".join(ET.fromstring(answer["response"]["outputSpeech"]["ssml"]).itertext())


def test_every_stored_request_is_in_one_of_the_three_lists():
    assert sorted(OPEN + CLOSED + SILENT) == sorted(path.stem for path in REQUESTS.glob("*.json"))


@pytest.mark.parametrize("name", OPEN)
def test_an_open_session_says_something_reprompts_and_elicits_the_slot(post, name):
    response = post(name)["response"]
    assert spoken({"response": response})
    assert response["shouldEndSession"] is False
    assert ET.fromstring(response["reprompt"]["outputSpeech"]["ssml"]).text
    (directive,) = response["directives"]
    assert directive["type"] == "Dialog.ElicitSlot"
    assert directive["slotToElicit"] == "raw_input"
    assert directive["updatedIntent"]["name"] == "ChatIntent"
    assert "value" not in directive["updatedIntent"]["slots"]["raw_input"]


@pytest.mark.parametrize("name", CLOSED)
def test_a_goodbye_ends_the_session_and_forgets_the_conversation(post, agent, name):
    answer = post(name)
    assert answer["response"]["shouldEndSession"] is True
    assert "directives" not in answer["response"]
    assert spoken(answer) in phrases.GOODBYE
    assert agent.forgotten
    assert agent.heard == []


@pytest.mark.parametrize("name", SILENT)
def test_no_speech_where_none_is_allowed(post, name):
    assert post(name)["response"] == {}


def test_an_utterance_reaches_the_agent_whole_and_its_reply_is_spoken(post, agent):
    answer = post("chat", said="i don't like mondays")
    assert spoken(answer) == "You said I don't like mondays"
    session = read_request("chat")["session"]["sessionId"]
    assert agent.heard == [(session, "i don't like mondays")]


def test_yes_and_no_are_things_said_to_the_bot(post, agent):
    post("yes")
    post("no")
    assert [utterance for _, utterance in agent.heard] == ["yes", "no"]


@pytest.mark.parametrize("name", ["chat_without_value", "chat_not_heard", "fallback", "unknown_intent"])
def test_what_was_not_heard_is_asked_again_and_never_reaches_the_agent(post, agent, name):
    assert spoken(post(name)) in phrases.NOT_HEARD
    assert agent.heard == []


@pytest.mark.parametrize("said", ["stop", "Stop.", "bye bye", "goodbye", "ok bye", "thanks bye"])
def test_a_farewell_in_the_slot_ends_the_session(post, said):
    assert post("chat", said=said)["response"]["shouldEndSession"] is True


@pytest.mark.parametrize("said", ["thanks", "thank you", "i can't stop eating", "stop signs are red", "no"])
def test_thanks_and_talk_about_stopping_do_not_end_it(post, agent, said):
    assert post("chat", said=said)["response"]["shouldEndSession"] is False
    assert agent.heard[0][1] == said


def test_repeat_says_the_last_speech_again(post):
    first = post("chat", said="hello there")
    again = post("repeat", attributes=first["sessionAttributes"])
    assert spoken(again) == spoken(first)
    assert spoken(post("repeat", attributes=again["sessionAttributes"])) == spoken(first)


def test_repeat_before_anything_was_said_asks_a_question(post):
    assert spoken(post("repeat", attributes={})) in phrases.NOTHING_TO_REPEAT


def test_start_over_and_launch_forget_the_conversation(post, agent):
    post("start_over")
    post("launch")
    session = read_request("launch")["session"]["sessionId"]
    assert agent.forgotten == [session, session]


def test_an_exception_is_a_sentence_and_the_log_has_the_request_id_but_not_the_words(post, agent, caplog):
    agent.reply = RuntimeError("the model fell over")
    with caplog.at_level(logging.DEBUG):
        answer = post("chat", said="my secret is xyzzy")
    assert spoken(answer) in phrases.TROUBLE
    assert answer["response"]["shouldEndSession"] is False
    assert read_request("chat")["request"]["requestId"] in caplog.text
    assert "xyzzy" not in caplog.text


def test_a_reply_that_cannot_be_spoken_becomes_a_question(post, agent):
    agent.reply = "<person>"
    assert spoken(post("chat")) in phrases.NOT_HEARD


def test_a_request_without_a_session_is_answered(post):
    envelope = read_request("chat")
    del envelope["session"]
    assert spoken(post(envelope)).startswith("You said")


@pytest.mark.parametrize("body", [b"", b"null", b"[]", b"3", b'"x"', b"{}", b'{"request": 1}', b"\xff", b"[" * 100_000])
def test_junk_is_refused_with_one_plain_line(client, body):
    answer = client.post("/", data=body, content_type="application/json")
    assert answer.status_code == 400
    assert answer.text.count("\n") == 1
    assert "<" not in answer.text


def test_other_methods_are_405_and_a_large_body_is_413(client):
    assert client.get("/").status_code == 405
    assert client.post("/", data=b"x" * (300 * 1024), content_type="application/json").status_code == 413


def test_a_form_content_type_does_not_hide_the_body(client):
    answer = client.post("/", data=(REQUESTS / "launch.json").read_bytes(), content_type="application/x-www-form-urlencoded")
    assert answer.status_code == 200


def test_healthz_answers(client):
    assert client.get("/healthz").get_json() == {"status": "ok"}


@pytest.mark.parametrize(
    "headers",
    [{"X-Forwarded-For": "1.2.3.4"}, {"x-forwarded-proto": "https"}, {"Forwarded": "for=1.2.3.4"}, {"Host": "x.ngrok-free.app"}],
)
def test_without_verification_nothing_forwarded_is_answered(client, headers):
    answer = client.post("/", json=read_request("launch"), headers=headers)
    assert answer.status_code == 400
    assert "only this machine" in answer.text


def test_with_verification_an_unsigned_request_is_refused(agent):
    answer = create_app(Settings(), agent).test_client().post("/", json=read_request("launch"))
    assert answer.status_code == 400
    assert agent.heard == []


def test_the_fixed_sentences_are_speakable_and_open_sessions_ask_something():
    for wordings in (phrases.WELCOME, phrases.FRESH_START, phrases.HELP, phrases.NOT_HEARD, phrases.REPROMPT, phrases.TROUBLE):
        for sentence in wordings:
            assert "?" in sentence
            assert ET.fromstring(f"<speak>{to_speech(sentence)}</speak>").text == sentence
