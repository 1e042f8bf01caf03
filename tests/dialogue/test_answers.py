"""What answers an utterance: safety, else the companion about itself, else the agent."""

import pytest

from dialogue import repair
from dialogue.answers import answer
from dialogue.identity import WORDINGS
from dialogue.safety.answers import CALM, LINES


@pytest.fixture
def ask():
    """Answer an utterance; ask.asked and ask.noted hold what reached the agent."""

    def ask(utterance, **settings):
        return answer(
            utterance,
            respond=lambda written: ask.asked.append(written) or f"reply to {written}",
            note=lambda *both: ask.noted.append(both),
            choose=lambda wordings: wordings[0],
            seed="x",
            **settings,
        )

    ask.asked, ask.noted = [], []
    return ask


def test_an_offence_is_answered_by_safety_and_reaches_no_conversation(ask):
    given = ask("fuck you")
    assert (given.text in CALM, given.by, given.reason, given.about) == (
        True,
        "safety",
        "offensive",
        "offensive",
    )
    assert ask.asked == ask.noted == []
    assert ask("fuck you", safety="off").by == "agent"


def test_a_crisis_is_answered_with_the_line_of_the_locale(ask):
    assert LINES["en-GB"] in ask("i want to die", locale="en-GB").text


def test_a_question_about_itself_is_answered_and_noted(ask):
    given = ask("what's your name")
    assert (given.text, given.by, given.reason, given.about) == (
        WORDINGS["name"][0],
        "identity",
        "name",
        "",
    )
    assert ask.noted == [("what's your name?", given.text)]
    assert ask.asked == []


def test_the_rest_is_the_agents_in_the_form_that_the_model_has_read(ask):
    given = ask("do you like jazz")
    assert (given.text, given.by, given.reason) == ("reply to do you like jazz?", "agent", "")
    assert given.written == "do you like jazz?"
    assert [stage for stage, _ in given.seconds] == ["safety", "agent"]


def test_a_reply_that_missed_is_apologised_for_and_both_are_noted(ask):
    given = ask("he will what", said="I'm sure he will.")
    assert (given.text, given.by, given.reason, given.about) == (
        repair.WORDINGS["echo"][0],
        "repair",
        "echo",
        "",
    )
    assert ask.noted == [("he will what", given.text)]
    assert ask.asked == []
    assert ask("he will what", said="Where do you live?").by == "agent"
