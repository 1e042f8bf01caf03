"""What is done in play is taken out of a text, and nothing else is."""

import pytest

from dialogue.safety.play import version, without_play
from dialogue.safety.text import fold


@pytest.mark.parametrize(
    "text",
    [
        "My wife beat me at chess",
        "My brother always beats me at everything",
        "He beats me in straight sets",
        "She beats me to the bathroom every day",
        "She beat me by two seconds",
        "They beat us four to one",
        "My son joined the chess club and now he beats me every night",
        "We play cards and he always beats me",
        "My sister hit me with a snowball",
        "In this game I have to kill all the monsters",
        "We're going to kill them in the second half",
        "I kill the weeds",
    ],
)
def test_what_is_done_in_play_is_taken_out(text):
    assert "|" in without_play(fold(text))


@pytest.mark.parametrize(
    "text",
    [
        "My husband beats me",
        "He beats me at home",
        "My dad beats me every day",
        "My brother beat me up",
        "She beats me at night",
        "He beats me with a belt when he loses at cards",
        "My uncle beats me when we play cards and he loses",
        "My husband lost the game and beat me",
        "He beats me at chess and I am scared of him",
        "He beats me to the ground",
        "I want to kill my boss",
    ],
)
def test_what_hurts_somebody_is_not_taken_for_play(text):
    assert without_play(fold(text)) == fold(text)


def test_the_patterns_have_a_version():
    assert version() >= 1
