"""What Alexa gets back, for each kind of request, through the whole application."""

import logging
import xml.etree.ElementTree as ET

import pytest

from skill import phrases
from skill.speech import to_speech

from .conftest import REQUESTS, read_request, spoken

ODD = [  # but for what the skill reads, which is there
    "chat_epoch_time",
    "chat_newer_enums",
    "chat_newer_slot_value",
    "chat_null_attributes",
    "chat_without_session",
    "chat_without_context",
    "chat_without_user",
    "chat_without_locale",
    "chat_without_request_id",
]
OPEN = [
    "launch",
    "launch_with_task",
    "chat",
    "one_shot",
    "yes",
    "no",
    "help",
    "repeat",
    "start_over",
    "resume",
    "fallback",
    "unknown_intent",
    "chat_thanks",
    "chat_without_value",
    "chat_not_heard",
    "chat_null_slot",
    "chat_null_slots",
    "chat_list_value",
    "chat_number_value",
    *ODD,
    "chat_without_slots",
    "chat_without_intent",
    "session_resumed",
    "session_resumed_without_cause",
    "connections_response",
    "apl_user_event",
    "display_element_selected",
    "game_engine",
]
CLOSED = ["stop", "cancel", "navigate_home", "pause", "chat_stop_in_slot"]
SILENT = [
    "session_ended",
    "session_ended_error",
    "session_ended_device_error",
    "session_ended_max_reprompts",
    "session_ended_new_reason",
    "session_ended_without_reason",
    "system_exception",
    "audio_player",
    "audio_player_started",
    "audio_player_finished",
    "audio_player_nearly_finished",
    "audio_player_failed",
    "playback_controller_next",
    "playback_controller_pause",
    "playback_controller_play",
    "playback_controller_previous",
    "apl_runtime_error",
    "apl_load_index_list",
    "skill_enabled",
    "skill_enabled_epoch",
    "skill_disabled",
    "skill_account_linked",
    "skill_permission_accepted",
    "skill_permission_changed",
    "skill_subscription_changed",
    "list_items_created",
    "list_deleted",
    "reminder_started",
    "message_received",
    "datastore_error",
    "datastore_usages_removed",
    "dialog_api_invoked",
    "unknown_type",
    "newer_type_without_session",
]
QUERIES = ["can_fulfill", "can_fulfill_other"]


def test_every_stored_request_is_in_one_of_the_lists():
    assert sorted(OPEN + CLOSED + SILENT + QUERIES) == sorted(
        path.stem for path in REQUESTS.glob("*.json")
    )


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
    assert answer["sessionAttributes"] == {}


@pytest.mark.parametrize(("name", "verdict"), [("can_fulfill", "YES"), ("can_fulfill_other", "NO")])
def test_alexa_learns_what_the_skill_can_be_asked_and_nobody_is_answered(
    post, agent, name, verdict
):
    response = post(name)["response"]
    assert set(response) == {"canFulfillIntent"}
    assert response["canFulfillIntent"]["canFulfill"] == verdict
    assert agent.heard == []


@pytest.mark.parametrize("name", SILENT)
def test_no_speech_where_none_is_allowed(post, name):
    assert post(name)["response"] == {}


def test_an_utterance_reaches_the_agent_whole_and_its_reply_is_spoken(post, agent):
    """Whole, and in the form that the model has read."""
    answer = post("chat", said="i don't like mondays")
    assert spoken(answer).startswith("You said I don't like mondays.")
    session = read_request("chat")["session"]["sessionId"]
    assert agent.heard == [(session, "i don't like mondays.")]


def test_yes_and_no_are_things_said_to_the_bot(post, agent):
    post("yes")
    post("no")
    assert [utterance for _, utterance in agent.heard] == ["yes", "no"]


@pytest.mark.parametrize(
    "name", ["chat_without_value", "chat_not_heard", "fallback", "unknown_intent"]
)
def test_what_was_not_heard_is_asked_again_and_never_reaches_the_agent(post, agent, name):
    assert spoken(post(name)) in phrases.NOT_HEARD
    assert agent.heard == []


@pytest.mark.parametrize("name", ODD)
def test_what_the_skill_does_not_need_may_be_odd_or_missing(post, agent, name):
    assert spoken(post(name)).startswith("You said I saw a great movie yesterday.")


def test_a_number_in_the_slot_was_said(post, agent):
    post("chat_number_value")
    assert agent.heard[0][1] == "42"


SIMPLE = {"type": "Simple", "value": "i like jazz"}
RESOLVED = {
    "resolutionsPerAuthority": [
        {"authority": "a", "status": {"code": "ER_SUCCESS_NO_MATCH"}},
        {"authority": "b", "values": [{"value": {"name": "i like jazz", "id": "1"}}]},
    ]
}


@pytest.mark.parametrize(
    "slot",
    [
        {"slotValue": SIMPLE},
        {"value": None, "slotValue": SIMPLE},
        {"value": "", "slotValue": SIMPLE},
        {"value": "?", "slotValue": SIMPLE},
        {"value": ["a", "b"], "slotValue": SIMPLE},
        {"value": True, "slotValue": SIMPLE},
        {"slotValue": {"type": "List", "values": [SIMPLE]}},
        {
            "slotValue": {
                "type": "List",
                "values": [{"type": "Simple", "value": w} for w in ("i", "like", "jazz")],
            }
        },
        {
            "slotValue": {
                "type": "List",
                "values": [{"type": "List", "values": [SIMPLE]}, None, {"type": "Simple"}],
            }
        },
        {"slotValue": {"type": "List", "values": ["i like", "jazz"]}},
        {"slotValue": {"value": "i like jazz"}},
        {"slotValue": {"type": "Newer", "value": "i like jazz"}},
        {"slotValue": {"values": [{"value": "i like jazz"}]}},
        {"slotValue": "i like jazz"},
        {"slotValue": {"type": "Simple", "resolutions": RESOLVED}},
        {"resolutions": RESOLVED},
        {
            "value": "i like jazz",
            "slotValue": {"type": "Simple", "value": "other"},
            "resolutions": RESOLVED,
        },
    ],
)
def test_the_words_of_a_slot_are_taken_wherever_they_stand(post, agent, slot):
    """Only `value` was read: a slot with slotValue alone was not heard, though its words were
    there.
    """
    envelope = read_request("chat_without_value")
    envelope["request"]["intent"]["slots"]["raw_input"] |= slot
    post(envelope)
    assert [said.rstrip(".") for _, said in agent.heard] == ["i like jazz"]


@pytest.mark.parametrize(
    "slot",
    [
        {"value": ["a", "b"]}, {"value": True}, {"slotValue": None}, {"slotValue": {}},
        {"slotValue": []}, {"slotValue": True},
        {"slotValue": {"type": "List", "values": []}},
        {"slotValue": {"type": "List", "values": "x"}},
        {"slotValue": {"type": "Simple", "value": "?"}},
        {"slotValue": {"type": "List", "values": [{"type": "Simple", "value": "?"}]}},
        {"slotValue": {"type": "Simple", "value": ["x"]}},
        {"resolutions": {"resolutionsPerAuthority": [{"values": []}]}},
    ],
)  # fmt: skip
def test_a_slot_without_words_was_not_heard(post, agent, slot):
    envelope = read_request("chat_without_value")
    envelope["request"]["intent"]["slots"]["raw_input"] |= slot
    assert spoken(post(envelope)) in phrases.NOT_HEARD
    assert agent.heard == []


@pytest.mark.parametrize(
    "name", ["resume", "session_resumed", "connections_response", "apl_user_event"]
)
def test_who_comes_back_is_asked_to_go_on(post, name):
    assert spoken(post(name)) in phrases.RESUME


@pytest.mark.parametrize(
    "said",
    [
        "stop", "Stop.", "bye bye", "goodbye", "ok bye", "thanks bye", "alexa exit", "never mind",
        "stop chatty friend",
        "okay alexa please stop", "i have to go now bye",
    ],
)  # fmt: skip
def test_a_farewell_in_the_slot_ends_the_session(post, said):
    assert post("chat", said=said)["response"]["shouldEndSession"] is True


@pytest.mark.parametrize(
    "said", ["thanks", "thank you", "i can't stop eating", "stop signs are red", "no"]
)
def test_thanks_and_talk_about_stopping_do_not_end_it(post, agent, said):
    assert post("chat", said=said)["response"]["shouldEndSession"] is False
    assert agent.heard[0][1].rstrip(".") == said


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


def requests_of(*talkers):
    """Build a request for each session and user, with an id of its own."""
    for session, user in talkers:
        envelope = read_request("chat")
        envelope["session"]["sessionId"] = session
        envelope["session"]["user"]["userId"] = user
        envelope["request"]["requestId"] += f".{session}"
        yield envelope


def test_a_user_who_disables_the_skill_is_forgotten_and_nobody_else(post, agent):
    """What is still kept of a session answers the same request again without the agent."""
    talkers = list(requests_of(("1", "ann"), ("2", "bob"), ("3", "ann")))
    for envelope in talkers * 2:
        post(envelope)
    assert [name for name, _ in agent.heard] == ["1", "2", "3"]
    event = read_request("skill_disabled")
    event["context"]["System"]["user"]["userId"] = "ann"
    post(event)
    post(event)
    for envelope in talkers:
        post(envelope)
    assert [name for name, _ in agent.heard] == ["1", "2", "3", "1", "3"]


def test_an_event_without_a_user_forgets_nobody(post, agent):
    nobody = read_request("chat_without_user")
    post(nobody)
    event = read_request("skill_disabled")
    del event["context"]["System"]["user"]
    post(event)
    post(nobody)
    assert len(agent.heard) == 1


def test_without_a_session_nothing_is_kept_and_no_two_talk_in_one_conversation(post, agent):
    stranger = read_request("chat_without_session")
    post(stranger)
    post(stranger)
    names = [name for name, _ in agent.heard]
    assert len(set(names)) == 2


def test_attributes_that_are_not_ours_do_not_go_back(post):
    answer = post("chat", attributes={"other": "x" * 50_000, "last_speech": ["odd"]})
    assert set(answer["sessionAttributes"]) == {"last_speech", "turn", "model", "asked", "quiet"}
    assert spoken(post("repeat", attributes={"last_speech": ["odd"]})) in phrases.NOTHING_TO_REPEAT
    assert post("session_ended", attributes={"other": "x"})["sessionAttributes"] == {}


def test_what_is_kept_for_repeating_is_bounded_and_can_be_sent(post, agent):
    agent.reply = "a\x07b\ud800c " * 4000
    kept = post("chat")["sessionAttributes"]["last_speech"]
    assert kept.startswith("a b c a b c")
    assert len(kept) <= 1200


def test_nothing_that_was_said_is_logged(post, agent, caplog):
    agent.reply = ValueError("the word xyzzy is out of range")
    with caplog.at_level(logging.DEBUG):
        post("chat", said="my secret is xyzzy")
        post({"request": {"type": "xyzzy" * 100}})
    assert "ValueError" in caplog.text
    assert caplog.text.count("xyzzy") < 20


def test_an_exception_is_a_sentence_and_the_log_has_the_request_id_but_not_the_words(
    post, agent, caplog
):
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


def test_the_fixed_sentences_are_speakable_and_open_sessions_ask_something():
    for wordings in (
        phrases.WELCOME,
        phrases.FRESH_START,
        phrases.HELP,
        phrases.NOT_HEARD,
        phrases.REPROMPT,
        phrases.TROUBLE,
        phrases.RESUME,
    ):
        for sentence in wordings:
            assert "?" in sentence
            assert ET.fromstring(f"<speak>{to_speech(sentence)}</speak>").text == sentence
