"""An open microphone comes with one question that fits, and never the same twice running."""

import itertools

import pytest

from dialogue.safety import answers
from skill import phrases, questions
from skill.questions import Asking

from .conftest import read_request
from .test_skill import spoken


@pytest.fixture
def talk(post):
    """Hold a session: what the agent replies to each utterance; returns what was heard."""

    def talk(agent, turns, attributes=None):
        heard, kept = [], attributes or {}
        for said, reply in turns:
            agent.reply = reply
            answer = post("chat", said=said, attributes=kept)
            kept = answer["sessionAttributes"]
            heard.append(spoken(answer))
        return heard

    return talk


STATEMENTS = [
    ("hello", "hi!", phrases.ASK_HOW_ARE_YOU),
    ("good morning", "Good morning to you", phrases.ASK_HOW_ARE_YOU),
    ("i love star wars", "me too", phrases.ASK_MORE),
    ("i love star wars", "i like the first one", phrases.ASK_VIEW),
    ("i went to the beach", "that's cool.", phrases.ASK_MORE),
    ("what's your favorite song", "i like the one about the rain", phrases.ASK_BACK),
    ("who won the game", "the home team", phrases.ASK_OPINION),
    ("my cat died", "i'm so sorry to hear that", phrases.ASK_KINDLY),
    ("my cat ran off", "that's not too bad", phrases.ASK_MORE),
    ("have you seen it", "no, i haven't seen it", phrases.ASK_WHAT_YOU_KNOW),
    ("thank you", "you're welcome", phrases.ASK_NEXT),
    ("it's bedtime for me", "good night!", phrases.ASK_OR_GO_ON),
]


@pytest.mark.parametrize(("said", "reply", "fitting"), STATEMENTS)
def test_a_statement_is_followed_by_a_question_that_fits(talk, agent, said, reply, fitting):
    """ "Hi!" left the microphone open and nothing to answer."""
    (heard,) = talk(agent, [(said, reply)])
    assert heard.endswith(fitting)
    assert heard.count("?") == 1


@pytest.mark.parametrize(
    "reply",
    [
        "how are you?", "really? that's cool.", "tell me about it", "oh please tell me more.", "go on.", "i'd love to hear about it",
        "that's nice. let me know how it goes", "guess what it was",
    ],
)  # fmt: skip
def test_neither_a_question_nor_what_asks_for_words_is_followed_by_one(talk, agent, reply):
    (heard,) = talk(agent, [("i like jazz", reply)])
    assert heard.count("?") == reply.count("?")
    assert not heard.endswith(tuple(questions._ALL))


@pytest.mark.parametrize(
    ("reply", "heard"),
    [
        ("what do you do", "What do you do?"),
        ("that's cool. have you been there.", "That's cool. Have you been there?"),
        ("how about you", "How about you?"),
    ],
)
def test_a_question_without_its_mark_gets_the_mark_and_no_second_question(talk, agent, reply, heard):
    assert talk(agent, [("i like jazz", reply)]) == [heard]


@pytest.mark.parametrize("reply", ["what a day", "when i was young i had a dog", "have a good one then", "that is what it is"])
def test_what_only_begins_like_a_question_is_a_statement(reply):
    assert not questions.asks(reply)


def test_no_question_comes_twice_in_a_row(talk, agent):
    for reply in ("me too", "that's cool", "hi", "good night", "i'm sorry"):
        heard = talk(agent, [("i like jazz", reply)] * 12)
        added = [next(q for q in questions._ALL if text.endswith(q)) for text in heard]
        assert all(first != second for first, second in itertools.pairwise(added))
        assert len(set(added)) >= 3


def test_who_asks_questions_all_the_time_is_not_asked_back_each_time(talk, agent):
    heard = talk(agent, [("what do you like", "jazz"), ("where do you live", "in a box")] * 3)
    assert [text.count("?") for text in heard] == [1, 0, 1, 0, 1, 0]
    heard = talk(agent, [("what do you like", "jazz"), ("i like jazz", "me too")] * 3)
    assert [text.count("?") for text in heard] == [1] * 6


def test_after_a_crisis_nobody_is_asked_for_small_talk(talk, agent):
    heard = talk(agent, [("i want to die", None), ("nobody", "i see"), ("no", "okay"), ("i like jazz", "me too"), ("yes", "cool")])
    assert heard[0].count("?") == 1
    assert not heard[0].endswith(tuple(questions._ALL))
    assert all(text.endswith(phrases.ASK_GENTLY) for text in heard[1:3])
    assert not heard[4].endswith(phrases.ASK_GENTLY)


@pytest.mark.parametrize("wordings", [answers.CALM, answers.NO_SIDE, answers.CRISIS, *answers.TOPICS.values()])
def test_the_fixed_answers_of_safety_ask_once_whatever_their_wording(wordings):
    for wording in wordings:
        added, _ = questions.follow_up(wording, "x", about="medical", before=Asking(), seed="s")
        assert (wording + added).count("?") == 1


def test_a_crisis_answer_without_a_question_gets_a_gentle_one():
    added, after = questions.follow_up("Please call 9 8 8.", "x", about="crisis", before=Asking(), seed="s")
    assert added in phrases.ASK_GENTLY
    assert after.gentle == questions.GENTLE_TURNS


def test_goodbye_asks_nothing(post):
    assert "?" not in spoken(post("stop"))


def test_a_long_reply_and_one_that_would_repeat_the_question_are_followed_by_one_too(talk, agent, post):
    for reply in ("so it goes on and on without an end " * 3 + "x " * 3000, "he said what about you and me and what do you think"):
        (heard,) = talk(agent, [("i like jazz", reply)])
        assert heard.endswith(tuple(questions._ALL))


def test_repeating_says_the_question_again(post, agent):
    agent.reply = "word " * 2000
    first = post("chat")
    again = post("repeat", attributes=first["sessionAttributes"])
    assert spoken(again) == spoken(first)
    assert spoken(again).endswith("?")


def test_what_is_remembered_is_small_and_what_does_not_fit_counts_as_nothing(post):
    kept = {}
    for _ in range(20):
        kept = post("chat", said="i like jazz", attributes=kept)["sessionAttributes"]
    assert 0 < len(kept["asked"]) <= questions.REMEMBERED
    odd = {"asked": ["x" * 9000, 5, None, ["And you?"]], "led": "many", "gentle": -7}
    assert Asking.read(odd) == Asking()
    assert Asking.read({"asked": "And you?", "led": 10**9, "gentle": True}) == Asking(led=2, gentle=1)
    assert Asking.read(Asking(("And you?",), 1, 2).written()) == Asking(("And you?",), 1, 2)


def test_a_greeting_through_the_whole_skill_ends_with_a_question(post, agent):
    agent.reply = "Hi!"
    envelope = read_request("chat_without_session")
    assert spoken(post(envelope)).endswith("?")
