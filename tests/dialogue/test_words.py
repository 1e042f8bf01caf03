import pytest
from hypothesis import given
from hypothesis import strategies as st

from dialogue.words import repeats_ngram, words


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Well, I don't know ...", ["well", "i", "don't", "know"]),
        ("rock'n'roll!  2nd-hand", ["rock'n'roll", "2nd", "hand"]),
        ("Über ça", ["über", "ça"]),
        ("?!. 🙂", []),
        ("", []),
    ],
)
def test_words_are_runs_of_letters_digits_and_apostrophes_in_lower_case(text, expected):
    assert words(text) == expected


@pytest.mark.parametrize(
    ("text", "n", "expected"),
    [
        ("i like it, I LIKE IT!", 3, True),
        ("i like it, i like them", 3, False),
        ("i like it, i like them", 2, True),
        ("no no no", 2, True),
        ("no no no", 3, False),
        ("no no no no", 3, True),
        ("you know, you", 1, True),
        ("two words", 3, False),
        ("", 1, False),
    ],
)
def test_an_ngram_repeats_where_its_words_stand_twice(text, n, expected):
    assert repeats_ngram(text, n) == expected


@given(spoken=st.lists(st.sampled_from(["a", "b", "c"]), max_size=12), n=st.integers(1, 4))
def test_repetition_is_that_of_a_plain_double_loop(spoken, n):
    places = range(len(spoken) - n + 1)
    expected = any(
        spoken[one : one + n] == spoken[other : other + n]
        for one in places
        for other in places
        if one < other
    )
    assert repeats_ngram(", ".join(spoken), n) == expected
