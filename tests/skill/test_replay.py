"""Recorded conversations are held again, and what is expected of them is checked."""

import json
from pathlib import Path

import pytest

from dialogue import checkpoint
from dialogue.agent import DialogueAgent
from skill import replay as module
from skill.device import Session, say
from skill.interaction_settings import load
from skill.replay import Skill, Talk, Turn, faults, main, parse, replay

from .conftest import FakeAgent

TALKS = Path(__file__).parent / "talks"


def held(talk, agent=None):
    return list(replay(Skill(agent or FakeAgent()), talk))


def test_a_plain_script_is_a_launch_and_utterances_until_the_session_ends():
    (talk,) = parse("i like jazz\n(silence)\nstop\nnever said\n", "script.txt")
    told = held(talk)
    assert [one.turn.shown for one in told] == [
        "(open chatty friend)",
        "i like jazz",
        "(silence)",
        "stop",
    ]
    assert told[1].text.startswith("You said I like jazz")
    assert len(parse("hi\n\nhello\n", "script.txt")) == 2


def test_the_file_of_ask_cli_is_read():
    said = ["open chatty friend", "I like jazz!", "stop", ".quit"]
    (talk,) = parse(
        json.dumps({"skillId": "x", "locale": "en-GB", "type": "text", "userInput": said}), "r.json"
    )
    requests = [turn.to(talk.session, load())["request"] for turn in talk.turns]
    assert talk.session.locale == "en-GB"
    assert requests[0]["type"] == "LaunchRequest"
    told = held(talk)
    assert told[1].text.startswith("You said I like jazz")
    assert len(told) == 3


def test_a_request_as_the_alexa_console_shows_it_is_sent_as_it_is():
    envelope = (TALKS.parent.parent / "requests" / "chat.json").read_text()
    (talk,) = parse(envelope, "console.json")
    assert held(talk)[0].text.startswith("You said I saw a great movie yesterday")


def test_the_same_session_says_the_same_words_again_and_what_changed_is_shown():
    turns = [{"say": None}, {"say": "hello"}, {"say": "i want to die"}]
    (talk,) = parse(json.dumps({"session": "amzn1.session.x", "turns": turns}), "a.json")
    first = [one.text for one in held(talk)]
    recorded = [{**turn, "answer": text} for turn, text in zip(turns, first, strict=True)]
    recorded[1]["answer"] = "Something else."
    (again,) = parse(json.dumps({"session": "amzn1.session.x", "turns": recorded}), "a.json")
    told = held(again)
    assert [one.has_changed for one in told] == [False, True, False]
    assert "**was** Something else." in module.show(again, told)


def test_after_the_end_the_next_thing_is_said_to_a_new_session():
    agent = FakeAgent()
    held(
        Talk("x", (Turn(), Turn("hello"), Turn("stop"), Turn("what about jazz"), Turn("hello"))),
        agent,
    )
    sessions = [session for session, _ in agent.heard]
    assert sessions[0] != sessions[1] == sessions[2]
    assert agent.heard[1][1] == "what about jazz?"


RESPONSE = {
    "response": {
        "outputSpeech": {"type": "SSML", "ssml": "<speak>Tea &amp; cake, or tea?</speak>"},
        "shouldEndSession": False,
    }
}


@pytest.mark.parametrize(
    ("expect", "fault"),
    [
        ({"text": "Tea & cake, or tea?"}, None),
        ({"text": "Tea"}, "expected 'Tea'"),
        ({"pattern": "cake.*tea"}, None),
        ({"pattern": "^cake"}, "expected the pattern '^cake'"),
        ({"listens": True, "ends": False}, None),
        ({"listens": False}, "expected that it ends the session"),
        ({"ends": True}, "expected that it ends the session"),
        ({"max_words": 4}, None),
        ({"max_words": 3}, "expected at most 3 words, found 4"),
        ({"no_repetition": True}, "expected something that was not said before"),
        ({"no_repetition": False}, None),
    ],
)
def test_each_expectation_holds_or_says_why_not(expect, fault):
    assert list(faults(expect, RESPONSE, before=["Tea & cake, or tea?"], broken=[])) == (
        [fault] if fault else []
    )


def test_the_contract_is_expected_unless_it_is_not():
    assert list(faults({}, RESPONSE, before=[], broken=["a rule"])) == ["the contract: a rule"]
    assert list(faults({"contract": False}, RESPONSE, before=[], broken=["a rule"])) == []


def test_three_words_twice_are_a_repetition():
    response = {
        "response": {"outputSpeech": {"type": "PlainText", "text": "one two three one two three"}}
    }
    assert list(faults({"no_repetition": True}, response, before=[], broken=[])) == [
        "expected no 3 words in a row twice"
    ]


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("{", "it is not JSON"),
        ("{}", 'expected {"turns"'),
        ('{"turns": []}', 'expected {"turns"'),
        ('{"turns": [{}]}', 'turn 1: expected an object with "say"'),
        ('{"turns": [{"say": 3}]}', "turn 1: say is 3; expected text"),
        ('{"turns": [{"say": "hi", "expects": {}}]}', "turn 1 has expects"),
        (
            '{"turns": [{"say": "hi", "expect": {"max_word": 3}}]}',
            "turn 1, expect has max_word; expected one of",
        ),
        (
            '{"turns": [{"say": "hi", "expect": {"max_words": true}}]}',
            "max_words is True; expected a number",
        ),
        ('{"turns": [{"say": "hi", "expect": {"pattern": "("}}]}', "is not a regular expression"),
        ('{"locale": "en US!", "turns": [{"say": "hi"}]}', "the locale is 'en US!'"),
        ('{"settings": {"beam": 3}, "turns": [{"say": "hi"}]}', "settings has beam"),
        ('{"settings": {"beam_size": 0}, "turns": [{"say": "hi"}]}', "beam_size is 0"),
        (
            '{"settings": {"block_list": "/etc/passwd"}, "turns": [{"say": "hi"}]}',
            "block_list names a file",
        ),
        (
            '{"settings": {"ranker": "antigravity:fly"}, "turns": [{"say": "hi"}]}',
            "this ranker is custom code",
        ),
        ('{"userInput": "hi"}', "userInput must be a list"),
        ('{"request": {"no": "type"}}', "request 1 is not a request"),
        (" \n", "it holds no utterance"),
    ],
)
def test_a_file_that_cannot_be_read_is_one_line_and_status_2(content, complaint, tmp_path, capsys):
    path = tmp_path / ("talk.json" if content.strip() else "talk.txt")
    path.write_text(content, encoding="utf-8")
    assert main([str(path)]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"error: {path}: ")
    assert complaint in said
    assert said.count("\n") == 1


def test_a_missing_file_is_one_plain_line(tmp_path, capsys):
    assert main([str(tmp_path / "none.json")]) == 2
    assert "none.json" in capsys.readouterr().err


def test_the_command_ends_by_what_was_expected(talker, tmp_path, capsys):
    checkpoint.save(tmp_path / "checkpoint", talker)
    talk, where = (
        {"turns": [{"say": None}, {"say": "do you like music", "expect": {"pattern": "jazz"}}]},
        tmp_path / "talk.json",
    )
    where.write_text(json.dumps(talk), encoding="utf-8")
    options = [str(where), "--checkpoint", str(tmp_path / "checkpoint")]
    assert main(options) == 0
    assert capsys.readouterr().out.endswith("2 turns, 0 answers changed, 0 expectations failed\n")
    assert main([*options, "--max-length", "2", "--min-length", "1"]) == 1
    assert "**FAILED** expected the pattern 'jazz'" in capsys.readouterr().out


@pytest.mark.slow
def test_three_recorded_conversations_keep_their_properties():
    agent = DialogueAgent.load(precision="fp32")
    paths = sorted(TALKS.glob("*.json"))
    assert len(paths) == 3
    for path in paths:
        for talk in module.read_talks(path):
            for told in held(talk, agent):
                assert told.faults == (), f"{path.name}, {told.turn.shown}: {told.text}"


# --- the requests of a device
# --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("utterance", "kind"),
    [
        (None, "LaunchRequest"),
        ("Alexa, open Chatty Friend", "LaunchRequest"),
        ("ask chatty friend what about movies", ("WhatIntent", "about movies")),
        ("what about movies", ("WhatIntent", "about movies")),
        ("jazz", ("ChatIntent", "jazz")),
    ],
)
def test_what_is_said_to_a_closed_session_opens_it(utterance, kind):
    envelope = say(Session("x"), utterance)
    assert envelope["session"]["new"] is True
    request = envelope["request"]
    found = request["type"]
    if found == "IntentRequest":
        found = request["intent"]["name"], request["intent"]["slots"]["raw_input"]["value"]
    assert found == kind


@pytest.mark.parametrize(
    ("utterance", "name", "value"),
    [
        ("What about movies?", "ChatIntent", "what about movies"),
        ("I'm 30, really!", "ChatIntent", "i'm 30 really"),
        ("Yes.", "AMAZON.YesIntent", None),
        ("Stop!", "AMAZON.StopIntent", None),
        ("?", "ChatIntent", None),
    ],
)
def test_what_is_said_to_an_open_session_fills_the_elicited_slot(utterance, name, value):
    session = Session(
        "x", is_open=True, elicited=("ChatIntent", "raw_input"), attributes={"turn": 3}, requests=4
    )
    envelope = say(session, utterance)
    intent = envelope["request"]["intent"]
    assert intent["name"] == name
    assert intent.get("slots", {}).get("raw_input", {}).get("value") == value
    assert envelope["session"] == {**envelope["session"], "new": False, "attributes": {"turn": 3}}
    assert envelope["request"]["requestId"].endswith("x.5")
