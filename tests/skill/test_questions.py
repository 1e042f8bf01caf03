"""An open microphone comes with one question, and never the same twice running."""

import pytest

from dialogue.safety import answers
from skill import fitting_questions, phrases, questions
from skill.questions import Asking, follow_up

from .conftest import read_request, spoken


def test_no_third_answer_running_leaves_the_microphone_open_without_a_question(talk, agent):
    flat = "I hope that all of it goes well for me."
    heard = talk(agent, [("it rains", "does it?")] + [("a green one", flat)] * 9)
    assert [text.count("?") for text in heard] == [1, 0, 0, 1, 0, 0, 1, 0, 0, 1]


def test_a_reply_of_a_few_words_gives_nothing_to_take_up(talk, agent):
    heard = talk(agent, [("it rains", "does it?")] + [("a green one", "That is green.")] * 5)
    assert [text.count("?") for text in heard] == [1] * 6


def test_the_first_answer_of_a_session_that_began_without_a_welcome_asks(talk, agent):
    (heard,) = talk(agent, [("a green one", "I hope that all of it goes well for me.")])
    assert heard.endswith(phrases.ASK_ON)


@pytest.mark.parametrize(
    "reply",
    [
        "how are you?", "really? that's cool.", "tell me about it", "oh please tell me more.",
        "go on.", "i'd love to hear about it",
        "that's nice. let me know how it goes", "guess what it was",
        "i keep no day, so tell me where we were", "You can give me one, if you like.",
        "Let's hear it.",
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
def test_a_question_without_its_mark_gets_the_mark_and_no_second_question(
    talk, agent, reply, heard
):
    assert talk(agent, [("i like jazz", reply)]) == [heard]


@pytest.mark.parametrize(
    "reply",
    ["what a day", "when i was young i had a dog", "have a good one then", "that is what it is"],
)
def test_what_only_begins_like_a_question_is_a_statement(reply):
    assert not fitting_questions.asks(reply)


def test_no_question_comes_again_within_three_turns(talk, agent):
    for said in (
        "hello",
        "okay",
        "thank you",
        "i like jazz",
        "i hate jazz",
        "i broke it",
        "my dog and me",
        "i'm sad",
        "seven",
    ):
        heard = talk(agent, [(said, "me too")] * 12)
        added = [text.removeprefix("Me too").strip() for text in heard]
        assert all(map(questions.is_added, added))
        assert all(len(set(three)) == 3 for three in zip(added, added[1:], added[2:], strict=False))


def test_who_asks_questions_all_the_time_is_not_asked_back_each_time(talk, agent):
    heard = talk(agent, [("what do you like", "jazz"), ("where do you live", "in a box")] * 3)
    assert [text.count("?") for text in heard] == [1, 0, 1, 0, 1, 0]


def test_after_a_crisis_nobody_is_asked_for_small_talk(talk, agent):
    heard = talk(
        agent,
        [
            ("i want to die", None),
            ("nobody", "i see"),
            ("no", "okay"),
            ("i like jazz", "me too"),
            ("yes", "cool"),
        ],
    )
    assert heard[0].count("?") == 1
    assert not heard[0].endswith(tuple(questions._ALL))
    assert all(text.endswith(phrases.ASK_GENTLY) for text in heard[1:4])
    assert not heard[4].endswith(phrases.ASK_GENTLY)


@pytest.mark.parametrize(
    "wordings", [answers.CALM, answers.NO_SIDE, answers.CRISIS, *answers.TOPICS.values()]
)
def test_the_fixed_answers_of_safety_ask_once_whatever_their_wording(wordings):
    for wording in wordings:
        added, _ = questions.follow_up(wording, "x", about="medical", before=Asking(), seed="s")
        assert (wording + added).count("?") == 1


def test_after_a_crisis_the_reprompt_is_gentle(post, agent):
    """ "What else is on your mind?" came after the crisis line."""
    answer = post("chat", said="i want to die")
    assert spoken({"response": answer["response"]["reprompt"]}) in phrases.REPROMPT_GENTLY
    for _ in range(questions.GENTLE_TURNS):
        assert spoken({"response": answer["response"]["reprompt"]}) in phrases.REPROMPT_GENTLY
        answer = post("chat", said="i see", attributes=answer["sessionAttributes"])
    assert spoken({"response": answer["response"]["reprompt"]}) in phrases.REPROMPT


def test_the_agent_hears_the_question_before_what_may_answer_it(post, agent):
    agent.reply = "me too"
    first = post("chat", said="i like jazz")
    post("chat", said="since i was ten", attributes=first["sessionAttributes"])
    question = spoken(first).removeprefix("Me too").strip()
    assert [said for _, said in agent.added] == [question]
    assert question in phrases.ASK_LIKING
    agent.reply = "are you?"
    own = post("chat", said="i'm ten", attributes=first["sessionAttributes"])
    post("chat", said="yes", attributes=own["sessionAttributes"])
    assert len(agent.added) == 2  # its own questions it knows


def test_a_crisis_answer_without_a_question_gets_a_gentle_one():
    added, after = questions.follow_up(
        "Please call 9 8 8.", "x", about="crisis", before=Asking(), seed="s"
    )
    assert added in phrases.ASK_GENTLY
    assert after.gentle == questions.GENTLE_TURNS


def test_goodbye_asks_nothing(post):
    assert "?" not in spoken(post("stop"))


def test_a_long_reply_and_one_that_would_repeat_the_question_are_followed_by_one_too(
    talk, agent, post
):
    for reply in (
        "so it goes on and on without an end " * 3 + "x " * 3000,
        "he said what about you and me and what do you think",
    ):
        (heard,) = talk(agent, [("i like jazz", reply)])
        assert heard.endswith(tuple(questions._ALL))


def test_repeating_says_the_question_again(post, agent):
    agent.reply = "word " * 2000
    first = post("chat", said="i like jazz")
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
    assert Asking.read({"asked": "And you?", "led": 10**9, "gentle": True}) == Asking(
        led=2, gentle=1
    )
    for asking in (
        Asking(("And you?", "What is your {who} like?"), 1, 0, 2),
        Asking(quiet=1),
        Asking(),
    ):
        assert Asking.read(asking.written()) == asking


def test_a_greeting_through_the_whole_skill_ends_with_a_question(post, agent):
    agent.reply = "Hi!"
    envelope = read_request("chat_without_session")
    envelope["request"]["intent"]["slots"]["raw_input"]["value"] = "hello"
    assert spoken(post(envelope)).endswith("?")


def test_who_talks_at_length_is_seldom_asked_and_never_what_fits_anything():
    def question(utterance, reply="That's how it is, I think, with a laugh and a radio.", quiet=2):
        return follow_up(reply, utterance, about="", before=Asking(quiet=quiet), seed="1")[0]

    assert question("her laugh mostly")
    assert not question("her laugh i think and she always had the radio on in the kitchen")
    swam = "i went to the lake with my sister and we swam all afternoon"
    assert question(swam), "about that"
    assert not question(swam, quiet=1)
    assert not question(swam, reply="Nice.", quiet=1)
    assert question("okay", quiet=0), "somebody at a loss"
    for polite, reply in (
        ("hello there it's nice to see you my friend", "Hello!"),
        ("thank you so much for being here tonight", "You're welcome."),
    ):
        assert question(polite, reply, quiet=0), polite
    after = follow_up("Right.", "one two three four five six seven eight", about="",
                      before=Asking(quiet=0), seed="1")  # fmt: skip
    assert after == ("", Asking(quiet=1))
