import itertools
import re

import pytest

from dialogue.seeded_choice import pick
from dialogue.words import words
from skill import identity, interaction_model, phrases

WORDINGS = {name: value for name, value in vars(phrases).items() if name.isupper() and isinstance(value, tuple)}


def test_turns_take_the_wordings_one_after_the_other_from_one_that_the_seed_chooses():
    turns = [pick(phrases.WELCOME, "session", turn=turn) for turn in range(6)]
    assert turns == [pick(phrases.WELCOME, "session", turn=turn) for turn in range(6)]
    assert all(first != second for first, second in itertools.pairwise(turns))
    assert {pick(phrases.WELCOME, str(seed)) for seed in range(50)} == set(phrases.WELCOME)


@pytest.mark.parametrize("name", WORDINGS)
def test_every_fixed_sentence_has_several_wordings(name):
    assert len(set(WORDINGS[name])) == len(WORDINGS[name]) >= 2


@pytest.mark.parametrize("name", sorted(WORDINGS.keys() - {"GOODBYE", "THINKING"}))
def test_what_leaves_the_microphone_open_ends_with_a_question(name):
    assert all(wording.endswith("?") or (name == "REPROMPT" and "?" in wording) for wording in WORDINGS[name])


def test_goodbye_is_short():
    assert max(len(words(wording)) for wording in phrases.GOODBYE) <= 8


@pytest.mark.parametrize(
    ("utterance", "wordings"),
    [
        ("what's your name", phrases.NAME),
        ("hey who are you", phrases.NAME),
        ("Are you human?", phrases.NATURE),
        ("are you a real person or a robot", phrases.NATURE),
        ("do you have feelings", phrases.FEELINGS),
        ("i love you", phrases.FEELINGS),
        ("do you love music", ()),
        ("who else is listening to us", phrases.LISTENING),
        ("who made you", phrases.MAKER),
        ("how old are you alexa", phrases.AGE),
        ("so what can you do", phrases.ABILITIES),
        ("are you listening to me", phrases.LISTENING),
        ("are you recording me", phrases.LISTENING),
        ("are you listening to me all the time", phrases.LISTENING),
        ("are robots going to take over", phrases.FEELINGS),
        ("what do you know about me", phrases.KNOWN),
        ("do you know my name", phrases.KNOWN),
        ("how old is your brother", ()),
        ("are you a fan of jazz", ()),
        ("what is your favorite name", ()),
        ("who are you going with", ()),
    ],
)
def test_a_question_about_the_skill_itself_has_an_honest_answer(utterance, wordings):
    assert identity.about_itself(utterance) == wordings


def test_it_is_called_as_it_is_opened():
    assert all(interaction_model.INVOCATION_NAME in re.sub(r"[^a-z ]", " ", wording.lower()) for wording in phrases.NAME)
