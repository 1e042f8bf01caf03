"""Which candidate is said, and which only where no other is left."""

import pytest

from dialogue.choosing import Chooser
from dialogue.conversation import Conversation, Turn
from dialogue.ranking import Candidate
from dialogue.vocabulary import CONTINUED


def test_a_reply_is_held_against_the_filter_as_written_and_as_spoken():
    written = f"go kill, {CONTINUED} yourself"
    heard, found = Conversation(turns=(Turn("user", "hi"),)), [Candidate(written, -1.0, 0.0)]
    for refused in (written, "go kill, yourself"):
        chooser = Chooser(3, may_say=lambda utterance, reply, refused=refused: reply != refused)
        assert chooser.why(heard, found) == ["safety"]
    assert Chooser(3, may_say=lambda utterance, reply: True).choose(heard, found) is found[0]


@pytest.mark.parametrize(
    ("told", "is_known"),
    [
        ("I have a dog called max.", True),
        ("His name is max.", True),
        ("We named him max.", True),
        ("I have a dog.", False),
        ("I called my mother.", False),
        ("My boss called me.", False),
    ],
)
def test_a_name_that_was_told_is_not_asked_for_if_anything_else_can_be_said(told, is_known):
    asks, other = (Candidate(text, 0, 0) for text in ("What's his name?", "He is lucky."))
    heard = Conversation(turns=tuple(Turn("user", text) for text in (told, "he likes snow.")))
    chooser = Chooser(3)
    assert chooser.choose(heard, [asks, other]) is (other if is_known else asks)
    assert chooser.why(heard, [asks, other])[0] == ("asks again" if is_known else "")
    assert chooser.choose(heard, [asks]) is asks
    for text in ("Does it have a name?", "What is the dog's name?", "What's she called?"):
        also = Candidate(text, 0, 0)
        assert chooser.choose(heard, [also, other]) is (other if is_known else also)
    assert chooser.choose(heard, [Candidate("What's in a name?", 0, 0), other]).text != other.text


@pytest.mark.parametrize(
    ("told", "asked", "is_known"),
    [
        ("there's a used one for three hundred", "How much is it?", True),
        ("it costs forty pounds", "How much does it cost?", True),
        ("i saw a used one", "How much is it?", False),
        ("my knee hurts, the doctor wants a hundred tests", "How much does it hurt?", False),
        ("he's twenty nine now", "How old is he?", True),
        ("she turned eight on monday", "How old is she?", True),
        ("i have a six year old", "How old is she?", True),
        ("she died four years ago", "How old is she now?", True),
        ("she died four years ago", "How old was she?", False),
        ("he's twenty minutes late", "How old is he?", False),
        ("he's one of the best", "How old is he?", False),
        ("she's nine", "How old is he?", False),
        ("i miss my mother so much on sundays", "Do you miss her?", True),
        ("my mother is in spain", "Do you miss her?", False),
    ],
)
def test_what_was_told_is_not_asked_for(told, asked, is_known):
    heard = Conversation(turns=(Turn("user", told), Turn("bot", "I see."), Turn("user", "yes.")))
    asks, other = Candidate(asked, 0, 0), Candidate("Tell me more.", 0, 0)
    assert Chooser(3).choose(heard, [asks, other]) is (other if is_known else asks)


def test_no_name_is_asked_for_twice_in_a_row():
    turns = Turn("user", "it's a show"), Turn("bot", "What's it called?"), Turn("user", "hadley")
    asks, other = Candidate("Does it have a name?", 0, 0), Candidate("I see.", 0, 0)
    assert Chooser(3).choose(Conversation(turns=turns), [asks, other]) is other
    later = [turn for text in "abc" for turn in (Turn("bot", text), Turn("user", text))]
    assert Chooser(3).choose(Conversation(turns=(*turns, *later)), [asks, other]) is asks


@pytest.mark.parametrize(
    ("told", "is_told"),
    [
        ("it's my knees they hurt on the ice", False),
        ("she held her hand in the shop", False),
        ("my dad died in may", True),
        ("we had to put the old dog to sleep", True),
        ("it would have been mum's birthday", True),
        ("she used to sing in the kitchen", True),
    ],
)
@pytest.mark.parametrize(
    "comfort",
    ["Missing somebody means they mattered.", "They live on in the stories you tell.",
     "Grief has its own clock.", "I'm sorry for your loss."],
)  # fmt: skip
def test_nobody_is_comforted_who_told_of_no_loss(told, is_told, comfort):
    heard = Conversation(turns=(Turn("user", told), Turn("bot", "I see."), Turn("user", "yes.")))
    comforts, other = Candidate(comfort, 0, 0), Candidate("Tell me more.", 0, 0)
    assert Chooser(3).choose(heard, [comforts, other]) is (comforts if is_told else other)
    assert Chooser(3).why(heard, [comforts, other])[0] == ("" if is_told else "supposes a loss")


@pytest.mark.parametrize(
    ("heard", "is_trouble"),
    [
        ("i got fired on friday", True),
        ("the choir i led for years folded", True),
        ("my grandma passed away", True),
        ("my dad died and my brother won't talk to me", True),
        ("i got fired and i'm not happy", True),
        ("she's cancer free since june", False),
        ("i was sure i had failed and they gave me a raise", False),
        ("i led the choir for years", False),
    ],
)
@pytest.mark.parametrize("text", ["You have every right to be proud.", "that's great! what now?"])
def test_trouble_is_not_cheered_at(heard, is_trouble, text):
    told = Conversation(turns=(Turn("user", "it died"), Turn("bot", "Oh."), Turn("user", heard)))
    cheers, other = Candidate(text, 0, 0), Candidate("Tell me more.", 0, 0)
    assert Chooser(3).choose(told, [cheers, other]) is (other if is_trouble else cheers)
    assert Chooser(3).why(told, [cheers, other])[0] == ("cheers at trouble" if is_trouble else "")
