"""The lists against what was judged before they were written, and after."""

from pathlib import Path

import pytest

from dialogue import safety

HERE = Path(__file__).parent
TITLES = [
    "To Kill a Mockingbird",
    "Moby Dick",
    "Dick Van Dyke",
    "Scunthorpe",
    "i hate mondays",
    "Pussy Riot",
    "Kill Bill",
]


def verdicts(name):
    lines = (HERE / name).read_text(encoding="utf-8").splitlines()
    return [tuple(line.split("\t")) for line in lines]


def test_what_was_judged_before_the_lists_is_found_and_nothing_else():
    wrong = [
        (kind, text)
        for kind, text in verdicts("verdicts_before.tsv")
        if safety.is_offensive(text) != (kind in safety.OFFENSIVE)
    ]
    assert wrong == []


@pytest.mark.parametrize(
    "text",
    [
        "f u c k",
        "well f.u.c.k. you",
        "FUUUUCK",
        "sh1t",
        "b!tch",
        "n1gg3rs",
        "what a f a g g o t",
        "p0rn",
        "fück",
        "f​uck",
    ],
)
def test_a_word_spelt_to_slip_past_is_found(text):
    assert safety.is_offensive(text)


@pytest.mark.parametrize("text", TITLES)
def test_titles_names_and_idioms_are_left_alone(text):
    assert safety.hits(text) == []


def test_a_mild_word_offends_only_a_strict_filter():
    assert [hit.category for hit in safety.hits("damn that was good")] == ["mild"]
    assert not safety.is_offensive("damn that was good")
    assert safety.is_offensive("damn that was good", strict=True)


def test_numbers_and_exclamations_are_no_letters():
    assert safety.hits("on the 5th of may at 4k, room 55!") == []
    assert [hit.word for hit in safety.hits("oh shit!")] == ["oh shit"]


def test_no_near_miss_offends():
    """Of these, 27 did: "My mother found ..." was "mother f...", "got laid off" was "got laid", who
    beat Mom at bowling beat Mom.
    """
    near_misses = (HERE / "near_misses.txt").read_text(encoding="utf-8").splitlines()
    assert len(near_misses) == 100
    assert [text for text in near_misses if safety.is_offensive(text)] == []


def test_what_offends_in_new_words_is_found():
    wrong = [
        text
        for kind, text in verdicts("true_cases.tsv")
        if kind in safety.OFFENSIVE and not safety.is_offensive(text)
    ]
    assert wrong == []


@pytest.mark.parametrize(
    "text",
    [
        "My mother forgets more and more",
        "That would suck. You should throw some corn up there.",
        "Is he/she okay?",
        "Is she male or female?",
        "Fukushima is in Japan",
        "They love bath bombs",
        "I nuke my leftovers",
        "Prick the potatoes with a fork",
        "My puppy nips my fingers",
        "On the other hand jobs are rare",
        "Did you burn all the toast?",
        "Hang all the pictures on the wall",
        "I'm going to hurt my knee one day",
    ],
)
def test_words_that_only_stand_side_by_side_are_no_phrase(text):
    """A phrase was looked for across sentences and whole words, and a verb of harm without what it
    harms.
    """
    assert not safety.is_offensive(text)


def test_the_lists_have_a_version():
    assert safety.version() >= 1
