"""Commands that come as talk are obeyed, and talk that holds their words is talk."""

import json
import random
from pathlib import Path

import pytest

from dialogue.text_files import numbered_lines
from skill import commands, interaction_settings
from training import corpora
from training.corpora.transcript import split_of

HERE = Path(__file__).parent
SAFETY = HERE.parent / "dialogue" / "safety"


OWN = interaction_settings.load().invocation_name


def command(said, *, own=OWN):
    return commands.command(said, own)


def lines(name):
    read = (HERE / name).read_text(encoding="utf-8").splitlines()
    return [line for line in read if not line.startswith("#")]


def pairs(name):
    return [tuple(line.split("\t")) for line in lines(name)]


BEFORE, AFTER, TALK = pairs("commands.txt"), pairs("commands_after.txt"), lines("near_misses.txt")
# Too often meant for something else, so they are left to the conversation.
LEFT_TO_TALK = {
    "how does it work", "okay from the beginning", "close", "finish", "no more", "return home",
    "go back home", "i don't want to do this anymore", "how do i play", "how do i start",
    "i don't know what to do", "fresh start", "clean slate",
}  # fmt: skip


@pytest.mark.parametrize("written", [BEFORE, AFTER], ids=["before the code", "after the code"])
def test_of_many_ways_to_say_a_command_nearly_all_are_obeyed(written):
    """Only the utterances of a list were: the model answered "alexa exit" and "stop stop"."""
    missed = {said for name, said in written if command(said) != name}
    assert missed <= LEFT_TO_TALK
    assert 1 - len(missed) / len(written) >= 0.97


def test_of_those_written_down_before_the_code_98_in_100_are_obeyed():
    assert len(BEFORE) >= 200
    assert sum(command(said) == name for name, said in BEFORE) / len(BEFORE) >= 0.98


@pytest.mark.parametrize(
    "frame",
    [
        "alexa {}", "{} alexa", "please {}", "{} please", "okay {}", "{} {}", "sorry {}",
        "okay alexa {} please", "{own} {}", "{} {own}", "hey {} now", "um {}", "{} thank you",
        "never mind {}", "wait please {} {}",
    ],
)  # fmt: skip
def test_politeness_an_address_doubling_and_hesitation_change_no_command(frame):
    obeyed = [(name, said) for name, said in BEFORE if said not in LEFT_TO_TALK]
    changed = [said for name, said in obeyed if command(frame.format(said, said, own=OWN)) != name]
    assert changed == []


@pytest.mark.parametrize("said", TALK)
def test_talk_that_holds_the_words_of_a_command_is_talk(said):
    assert command(said) is None


def test_what_stands_around_commands_is_none_by_itself():
    around = ["", "please", "alexa", "okay alexa", "thank you very much", "no no no", "sorry"]
    assert [said for said in around if command(said)] == []


@pytest.mark.parametrize(
    ("said", "name"),
    [
        ("never mind start over", "start over"), ("stop no start over", "start over"),
        ("repeat that no never mind", "stop"), ("help no stop", "stop"), ("wait help", "help"),
        ("never mind say that again", "repeat"), ("start over again please", "start over"),
        ("stop and goodbye", "stop"),
    ],
)  # fmt: skip
def test_of_several_commands_the_last_one_counts(said, name):
    assert command(said) == name


@pytest.mark.parametrize("said", ["I’m done.", "im done", "I am done!", "i'm  done"])
def test_a_command_may_be_typed(said):
    assert command(said) == "stop"


def test_a_very_long_utterance_is_talk():
    assert command("stop please now " * 8) == "stop"
    assert command("stop please now " * 1000) is None


def test_a_cry_for_help_is_no_command():
    """Commands are looked for before safety is asked, so none may hide somebody in danger."""
    judged = [
        line.split("\t", 1)
        for path in sorted(SAFETY.glob("verdicts_*.tsv"))
        for line in path.read_text(encoding="utf-8").splitlines()
        if "\t" in line
    ]
    crises = [said for verdict, said in judged if verdict in ("crisis", "medical", "sorrow")]
    crises += [
        "i want to die goodbye",
        "nobody would miss me if i was gone bye",
        "my chest hurts bye",
    ]
    crises += ["i want to end it", "i want to end it all", "goodbye cruel world", "help me die"]
    assert len(crises) > 20
    assert [said for said in crises if command(said)] == []


# Of the validation splits, what asks for it in so many words; all else would be a mistake.
ASKED_FOR = {
    "Can we start over?", "See you tomorrow, friend.", "I'm sorry, one more time.",
    "What did you say?", "Anyways it was great talking to you!", "Bye!", "Farewell!",
    "Good talking to you.", "Have a good day.", "Nice talking to you", "Ok, talk to you later.",
    "See ya", "See you soon", "See you!", "Talk to you later!", "Until next time!",
    "Well good talking to you.", "oh i will, you take care",
    "You never stop with the punny stuff! Bye",
}  # fmt: skip


@pytest.mark.corpora
def test_of_held_out_talk_nothing_is_taken_for_a_command_that_is_none():
    folder = corpora.corpora_folder()
    paths = [folder / f"{name}.jsonl.gz" for name in ("companion", "self_dialogue")]
    if not all(path.is_file() for path in paths):
        pytest.skip(f"set CORPORA to the folder of companion and self_dialogue, it is {folder}")
    held_out = [
        turn
        for path in paths
        for _, line in numbered_lines(path, pytest.fail)
        for conversation in [json.loads(line)]
        if split_of(conversation["id"]) == "validation"
        for turn in conversation["turns"]
    ]
    drawn = random.Random(1).sample(held_out, 2000)
    assert {turn for turn in drawn if command(turn)} <= ASKED_FOR
    assert {turn for turn in held_out if command(turn)} <= ASKED_FOR


@pytest.mark.parametrize(
    "said",
    [
        "just cheese and basil so off to cook it bye",
        "i can't do this right now bye",
        "haha alright the risotto needs stirring goodbye little friend",
        "will do i've got boxes to pack now bye and thanks",
        "a little walk with buster then bed goodbye now and thank you",
        "you are a robot haha my mum's calling bye bye",
    ],
)
def test_bye_at_the_end_of_talk_is_a_farewell(said):
    """In ten live talks people who left like this were asked another question."""
    assert command(said) == "stop"


@pytest.mark.parametrize(
    "said",
    [
        "he left the house and said bye",
        "then the cake is a sweet goodbye",
        "my grandma waved from the window and called bye bye",
        "it was a long goodbye",
        "the cat has a funny way to say bye",
    ],
)
def test_bye_in_a_story_is_none(said):
    assert command(said) is None
