import copy
import dataclasses
import logging

import pytest
from ask_sdk_core.dispatch_components import AbstractRequestHandler
from ask_sdk_core.skill_builder import SkillBuilder
from flask import Flask

from skill import contract, endpoint, phrases
from skill.envelope import read
from skill.interaction_settings import load

from .conftest import read_request

HEARS = load()
SPEECH = {"type": "SSML", "ssml": "<speak>Hello</speak>"}
ELICIT = {
    "type": "Dialog.ElicitSlot",
    "slotToElicit": "raw_input",
    "updatedIntent": {"name": "ChatIntent", "slots": {"raw_input": {"name": "raw_input"}}},
}
OPEN = {
    "outputSpeech": SPEECH,
    "reprompt": {"outputSpeech": SPEECH},
    "directives": [ELICIT],
    "shouldEndSession": False,
}
CLOSED = {"outputSpeech": SPEECH, "shouldEndSession": True}


def whole(body):
    return {"version": "1.0", "response": body}


def to(kind):
    return {"request": {"type": kind}}


def ssml(text):
    return {**CLOSED, "outputSpeech": {"type": "SSML", "ssml": text}}


def elicit(**changes):
    directive = copy.deepcopy(ELICIT)
    slot = changes.pop("slot", {})
    directive["updatedIntent"]["slots"]["raw_input"] |= slot
    directive["updatedIntent"] |= changes.pop("intent", {})
    return {**OPEN, "directives": [{**directive, **changes}]}


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (OPEN, "LaunchRequest"),
        (OPEN, "IntentRequest"),
        (CLOSED, "IntentRequest"),
        (ssml('<speak>A<break time="300ms"/>&amp; b</speak>'), "IntentRequest"),
        ({**CLOSED, "outputSpeech": {"type": "PlainText", "text": "a < b"}}, "IntentRequest"),
        ({**CLOSED, "card": {"type": "Simple", "title": "a", "content": "1 < 2"}}, "IntentRequest"),
        ({}, "SessionEndedRequest"),
        ({}, "Something.Newer"),
        ({"directives": [{"type": "AudioPlayer.Stop"}]}, "AudioPlayer.PlaybackNearlyFinished"),
        ({"canFulfillIntent": {"canFulfill": "NO"}}, "CanFulfillIntentRequest"),
    ],
)
def test_what_alexa_takes_breaks_no_rule(body, kind):
    assert contract.check(whole(body), to(kind), HEARS) == []


@pytest.mark.parametrize(
    ("body", "kind", "rule"),
    [
        (OPEN, "SessionEndedRequest", "outputSpeech is not allowed"),
        (CLOSED, "System.ExceptionEncountered", "outputSpeech is not allowed"),
        (OPEN, "AudioPlayer.PlaybackStarted", "reprompt is not allowed"),
        (OPEN, "PlaybackController.PlayCommandIssued", "Dialog.ElicitSlot is not allowed"),
        ({"card": {}}, "AlexaSkillEvent.SkillDisabled", "card is not allowed"),
        ({"shouldEndSession": True}, "Something.Newer", "shouldEndSession is not allowed"),
        ({}, "IntentRequest", "hears a sentence"),
        ({}, "CanFulfillIntentRequest", "canFulfillIntent"),
        ({**OPEN, "canFulfillIntent": {}}, "IntentRequest", "canFulfillIntent"),
        (ssml("<speak>a & b</speak>"), "IntentRequest", "well-formed"),
        (ssml("<speak>a <person> b</speak>"), "IntentRequest", "well-formed"),
        (ssml("hello"), "IntentRequest", "well-formed"),
        (ssml("<p>hello</p>"), "IntentRequest", "one <speak>"),
        (ssml("<speak>a <b>b</b></speak>"), "IntentRequest", "tags of SSML"),
        (ssml("<speak> </speak>"), "IntentRequest", "says something"),
        (ssml("<speak>a\x07b</speak>"), "IntentRequest", "XML allows"),
        (ssml("<speak>a\ud800b</speak>"), "IntentRequest", "XML allows"),
        (ssml("<speak>" + "a" * 8000 + "</speak>"), "IntentRequest", "8000 characters"),
        (ssml(None), "IntentRequest", "is SSML with ssml"),
        ({**CLOSED, "outputSpeech": {"type": "PlainText"}}, "IntentRequest", "PlainText with text"),
        ({**OPEN, "reprompt": {}}, "IntentRequest", "has a reprompt"),
        (
            {**OPEN, "reprompt": {"outputSpeech": {"type": "SSML", "ssml": "<speak>"}}},
            "IntentRequest",
            "reprompt is well-formed",
        ),
        ({**CLOSED, "reprompt": {"outputSpeech": SPEECH}}, "IntentRequest", "no reprompt"),
        ({**OPEN, "shouldEndSession": True}, "IntentRequest", "keeps the session open"),
        (elicit(slotToElicit="other"), "IntentRequest", "dialog model"),
        (elicit(intent={"name": "AMAZON.HelpIntent"}), "IntentRequest", "dialog model"),
        (elicit(updatedIntent=None), "IntentRequest", "dialog model"),
        (elicit(intent={"slots": {"raw_input": {}, "other": {}}}), "IntentRequest", "dialog model"),
        (elicit(slot={"value": "x"}), "IntentRequest", "empty"),
        (
            {**CLOSED, "card": {"type": "Simple", "content": "<speak>x</speak>"}},
            "IntentRequest",
            "card holds no SSML",
        ),
        (
            {**CLOSED, "card": {"type": "Simple", "content": "x" * 8001}},
            "IntentRequest",
            "card has at most",
        ),
        (
            {**CLOSED, "card": {"type": "Simple", "content": "oh shit"}},
            "IntentRequest",
            "card holds no listed word",
        ),
    ],
)
def test_a_broken_rule_is_named_and_what_is_mended_breaks_none(body, kind, rule):
    assert any(rule in broken for broken in contract.check(whole(body), to(kind), HEARS))
    assert contract.check(contract.mend(whole(body), to(kind), HEARS), to(kind), HEARS) == []


@pytest.mark.parametrize(
    "response",
    [{}, {"version": "1.0"}, {"version": "1.0", "response": []}, {"version": "2", "response": {}}],
)
@pytest.mark.parametrize(
    "kind", ["IntentRequest", "SessionEndedRequest", "CanFulfillIntentRequest"]
)
def test_what_is_no_response_is_named_and_mended(response, kind):
    assert "version" in contract.check(response, to(kind), HEARS)[0]
    assert contract.check(contract.mend(response, to(kind), HEARS), to(kind), HEARS) == []


def test_the_size_is_that_of_the_whole_response():
    response = {**whole(OPEN), "sessionAttributes": {"x": "y" * contract.MAX_BYTES}}
    assert contract.check(response, to("IntentRequest"), HEARS) == [
        "a response has at most 24576 bytes"
    ]


def test_mending_keeps_the_words():
    mended = contract.mend(
        whole(ssml("<speak>tom <b>& jerry</b></speak>")), to("IntentRequest"), HEARS
    )
    assert "Tom and jerry" in mended["response"]["outputSpeech"]["ssml"]


class Broken(AbstractRequestHandler):
    """Says what is no SSML."""

    def can_handle(self, handler_input):
        return True

    def handle(self, handler_input):
        return handler_input.response_builder.speak("my secret is <xyzzy").response


@pytest.fixture
def broken_skill():
    builder = SkillBuilder()
    builder.add_request_handler(Broken())
    return builder.create()


def test_in_development_a_broken_response_raises_and_names_the_rule(broken_skill):
    app = Flask("broken")
    endpoint.mount(app, broken_skill, verifier=None)
    app.testing = True
    with pytest.raises(contract.BrokenContract, match="well-formed SSML"):
        app.test_client().post("/", json=read_request("chat"))


def test_in_production_it_is_mended_and_the_log_names_the_rule_but_not_the_words(
    broken_skill, caplog
):
    envelope = read_request("chat")
    with caplog.at_level(logging.DEBUG):
        invoked = broken_skill.invoke(read(envelope), None)
        response = endpoint.answer(
            lambda: broken_skill.serializer.serialize(invoked), envelope, HEARS, strict=False
        )
    assert contract.check(response, envelope, HEARS) == []
    assert "well-formed SSML" in caplog.text
    assert envelope["request"]["requestId"] in caplog.text
    assert "xyzzy" not in caplog.text


def test_where_free_speech_is_caught_nothing_is_elicited_and_a_mended_response_neither():
    caught = dataclasses.replace(HEARS, free_speech="catchall")
    assert contract.check(whole(OPEN), to("IntentRequest"), caught) == [
        "Dialog.ElicitSlot names an intent and slots of the dialog model"
    ]
    mended = contract.mend(whole({}), to("IntentRequest"), caught)
    assert "directives" not in mended["response"]
    assert contract.check(mended, to("IntentRequest"), caught) == []


def test_a_response_without_words_is_mended_with_an_apology():
    mended = contract.mend(whole({}), to("IntentRequest"), HEARS)
    assert phrases.TROUBLE[0] in mended["response"]["outputSpeech"]["ssml"]
