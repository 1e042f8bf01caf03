import dataclasses
import itertools
import re

import pytest

from app import Settings, create_app
from dialogue import identity
from dialogue.seeded_choice import pick
from dialogue.words import words
from skill import interaction_settings, phrases

from .conftest import read_request

WORDINGS = {
    name: value
    for name, value in vars(phrases).items()
    if name.isupper() and isinstance(value, tuple)
}


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
    assert all(
        wording.endswith("?") or (name == "REPROMPT" and "?" in wording)
        for wording in WORDINGS[name]
    )


def test_goodbye_is_short():
    assert max(len(words(wording)) for wording in phrases.GOODBYE) <= 8


def test_it_is_called_as_it_is_opened(agent):
    """Whatever one calls the skill, it says so of itself; no sentence has a name of its own."""
    named = dataclasses.replace(interaction_settings.load(), invocation_name="bob's robot")
    client = create_app(Settings(verify=False, interaction=named), agent).test_client()
    said = set()
    for session in "abcdef":
        envelope = read_request("chat")
        envelope["session"]["sessionId"] = session
        envelope["request"]["intent"]["slots"]["raw_input"]["value"] = "what's your name"
        said.add(
            re.sub(
                "<.*?>",
                "",
                client.post("/", json=envelope).get_json()["response"]["outputSpeech"]["ssml"],
            )
        )
    assert said == {
        wording.replace(identity.OWN_NAME, "Bob's Robot") for wording in identity.WORDINGS["name"]
    }
    assert not [
        name for name, wordings in WORDINGS.items() if "chatty" in " ".join(wordings).lower()
    ]
