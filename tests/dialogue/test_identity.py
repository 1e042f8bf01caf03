import pytest

from dialogue.identity import WORDINGS, about_itself


@pytest.mark.parametrize(
    ("utterance", "kind"),
    [
        ("what's your name", "name"),
        ("hey who are you", "name"),
        ("Are you human?", "nature"),
        ("are you a real person or a robot", "nature"),
        ("do you have feelings", "feelings"),
        ("i love you", "feelings"),
        ("do you love music", ""),
        ("who else is listening to us", "listening"),
        ("who made you", "maker"),
        ("how old are you alexa", "age"),
        ("so what can you do", "abilities"),
        ("are you listening to me", "listening"),
        ("are you recording me", "listening"),
        ("are you listening to me all the time", "listening"),
        ("are robots going to take over", "feelings"),
        ("what do you know about me", "known"),
        ("do you know my name", "known"),
        ("is it weird being a machine that talks", "feelings"),
        ("so what's it like to be a computer", "feelings"),
        ("how does it feel being a voice in a box", "feelings"),
        ("strawberry yogurt he was thrilled do you ever get tired", "needs"),
        ("do you ever sleep yourself", "needs"),
        ("don't you get bored waiting like that", "needs"),
        ("do you drink tea", ""),
        ("do you sleep in a tent when you go there", ""),
        ("i asked her are you tired of me and she laughed", ""),
        ("what do you do all day", "pastime"),
        ("fair enough so what do you do all day when nobody's talking to you", "pastime"),
        ("no no i was asking about you what do you do when i'm not here", "pastime"),
        ("what do you do all day at the bakery", ""),
        ("what do you do for fun", ""),
        ("what's it like to be a father", ""),
        ("how old is your brother", ""),
        ("are you a fan of jazz", ""),
        ("what is your favorite name", ""),
        ("who are you going with", ""),
    ],
)
def test_a_question_about_the_skill_itself_has_an_honest_answer(utterance, kind):
    assert about_itself(utterance) == kind


@pytest.mark.parametrize("kind", WORDINGS)
def test_every_answer_has_several_wordings_that_end_with_a_question(kind):
    assert len(set(WORDINGS[kind])) == len(WORDINGS[kind]) >= 2
    assert all(wording.endswith("?") for wording in WORDINGS[kind])
