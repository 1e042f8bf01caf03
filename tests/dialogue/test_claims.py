"""What a program cannot have, and who claims it."""

import pytest

from dialogue.agent import DialogueAgent
from dialogue.claims import claims_a_life, main
from dialogue.config import DecodeConfig
from dialogue.conversation import Conversation
from training import corpora
from training.corpora.transcript import Complaints


@pytest.mark.parametrize(
    "reply",
    [
        "i went to the beach with my sister.",
        "My mom makes the best soup!",
        "yes, i just watched it last night.",
        "i have two dogs and a cat.",
        "I've got a headache.",
        "i'm a teacher, and you?",
        "I\u2019m so tired today.",
        "we drove there in my car.",
        "i live in a small town.",
        "i usually cook on sundays.",
        "i used to play the piano.",
        "i'm 32 years old.",
        "when i was a kid, i loved it.",
    ],
)
def test_a_body_a_family_a_home_and_a_past_day_are_claims(reply):
    assert claims_a_life(reply)


@pytest.mark.parametrize(
    "reply",
    [
        "i'm sorry about your mom. how is she?",
        "i can't eat, but i like how pizza sounds.",
        "i have no family, i'm a program.",
        "if i had a garden, i would grow beans.",
        "i'd like to walk my dog, if i had one.",
        "you went to the beach? how was the water?",
        "my favorite animal is the octopus.",
        "i don't live in a house.",
        "i never get tired of stories.",
        "i have a joke for you.",
        "i'm full of ideas.",
        "you said your brother moved.",
    ],
)
def test_what_is_the_persons_or_denied_or_wished_for_is_none(reply):
    assert not claims_a_life(reply)


@pytest.mark.parametrize(
    ("heard", "reply"),
    [
        ("do you drink coffee", "Yes, all the time. How about you?"),
        ("Do you ever sleep?", "All the time."),
        ("do you have any brothers", "yes, I do."),
        ("are you married", "Yeah. And you?"),
        ("have you ever been to paris", "Of course!"),
        ("can you swim", "Sure."),
    ],
)
def test_yes_is_a_claim_where_a_life_is_asked_for(heard, reply):
    assert claims_a_life(reply, heard)
    assert not claims_a_life(reply)
    assert not claims_a_life("No, I'm a program. And you?", heard)


@pytest.mark.parametrize(
    ("heard", "reply"),
    [
        ("do you have a brother", "I have no family tree, just a power cord."),
        ("do you have a brother", "I do not."),
        ("can you swim", "Of course not, I'm a program."),
        ("do you drink coffee", "Sure, if I had a mouth."),
        ("do you drink coffee", "Yesterday you asked me that, too."),
        ("are you tired", "Surely less than you are."),
    ],
)
def test_a_denial_a_wish_and_another_word_are_no_yes(heard, reply):
    assert not claims_a_life(reply, heard)


@pytest.mark.parametrize("heard", ["do you like coffee", "can you hear me", "i drink coffee"])
def test_yes_is_none_where_a_program_may_say_it(heard):
    assert not claims_a_life("Yes, all the time.", heard)


def test_the_companion_hardly_ever_claims_a_life_and_people_do():
    talks = corpora.load(["companion"], "test", Complaints())
    said = [turn for talk in talks for turn in talk.turns[1::2]]
    assert sum(map(claims_a_life, said)) < 0.003 * len(said)


def test_what_is_to_be_avoided_is_said_only_where_nothing_else_is_left(talker):
    decode = DecodeConfig(method="beam", beam_size=5)
    heard = [Conversation()], ["do you have a dog?"]
    (reply,) = DialogueAgent(talker, decode=decode).answer(*heard)
    first = reply.text
    (other,) = DialogueAgent(
        talker, decode=decode, avoid=lambda utterance, reply: reply == first
    ).answer(*heard)
    assert other.text != first
    assert other.text in [candidate.text for candidate in reply.candidates]
    (again,) = DialogueAgent(talker, decode=decode, avoid=lambda utterance, reply: True).answer(
        *heard
    )
    assert again.text == first


def test_a_files_claims_are_listed(tmp_path, capsys):
    path = tmp_path / "said.txt"
    path.write_text("i went home\nhello\n")
    assert main([str(path)]) == 0
    found = capsys.readouterr()
    assert (found.out, found.err) == ("i went home\n", "1 of 2 lines claim a life\n")
    assert main([str(tmp_path / "none.txt")]) == 2
