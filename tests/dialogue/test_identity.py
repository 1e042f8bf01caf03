import pytest

from dialogue.identity import WORDINGS, about_itself, wordings


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
        ("he only eats beige food do you ever get bored in there", "needs"),
        ("fair enough do you get bored too when nobody's talking to you", "needs"),
        ("i'm on a night shift and i'm bored what are you anyway", "nature"),
        ("okay but are you a robot or a computer or what", "nature"),
        ("he's great do you get paid for talking to people", "pay"),
        ("really how much do you get", "pay"),
        ("i drew you a cat can you see it", "senses"),
        ("wait so you can't see anything at all", "senses"),
        ("what plan i asked if you can see", "senses"),
        ("but i asked whether you get tired", "needs"),
        ("can you hear me", "listening"),
        ("the fog's so thick you can't see anything at all", ""),
        ("she looked at me and asked what are you", ""),
        ("can you see the bus from there", ""),
        ("i asked if you could come", ""),
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


def test_an_answer_in_the_middle_of_a_longer_turn_asks_nothing_back():
    assert wordings("do you ever sleep") == WORDINGS["needs"]
    of_longer = wordings("my legs twitch all night do you ever sleep")
    assert len(of_longer) == len(WORDINGS["needs"])
    for short, full in zip(of_longer, WORDINGS["needs"], strict=True):
        assert full.startswith(f"{short} ") and short.endswith(".") and "?" not in short


def test_a_long_turn_is_read_at_once():
    """A pattern that tries each way to divide the words would take years here."""
    assert (
        about_itself("do you sleep" + " when i" * 100 + " then the bus came and off we went") == ""
    )
