import pytest
from hypothesis import given
from hypothesis import strategies as st

from dialogue.vocabulary import CONTINUED, Vocabulary
from dialogue.word_vocabulary import WordVocabulary, taken_apart

WORDS = [
    "<unk>",
    "<s>",
    "</s>",
    ".",
    "i",
    "'",
    "don",
    "t",
    "know",
    "<person>",
    "<number>",
    "é",
    "?",
]


@pytest.fixture(scope="module")
def vocabulary():
    return Vocabulary.of_words(WORDS)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("I don't know.", ["i", "don", "'", "t", "know", "."]),
        ("i don ' t know .", ["i", "don", "'", "t", "know", "."]),
        ("Well... 25 of <person>'s!", ["well", "...", "<number>", "of", "<person>", "'", "s", "!"]),
        (" \n", []),
    ],
)
def test_written_text_is_taken_apart_as_movie_triples_was(text, words):
    assert taken_apart(text) == words


def test_ids_are_the_places_in_the_list_and_the_marks_that_lack_come_last(vocabulary):
    assert (vocabulary.unk_id, vocabulary.bos_id, vocabulary.eos_id) == (0, 1, 2)
    assert vocabulary.encode("I don't know") == [4, 6, 5, 7, 8]
    assert [vocabulary.piece(token_id) for token_id in range(len(vocabulary))] == [
        *WORDS,
        "<pad>",
        CONTINUED,
    ]
    assert vocabulary.pad_id == len(WORDS)


def test_a_word_that_is_not_in_the_list_is_unknown_and_never_said(vocabulary):
    assert vocabulary.encode("i know quux .") == [4, 8, 0, 3]
    assert {vocabulary.unk_id, vocabulary.pad_id, vocabulary.bos_id, 9, 10} == set(
        vocabulary.never_generated
    )


def test_spaced_words_are_looked_up_as_they_are(vocabulary):
    """A run of punctuation or a word with an apostrophe is one word there, known or not."""
    assert vocabulary.encode_all(["i don't know .", "é ?"], spaced=True) == [[4, 0, 8, 3], [11, 12]]
    assert vocabulary.encode_all(["i don't know ."]) == [[4, 6, 5, 7, 8, 3]]


def test_words_are_written_as_one_writes_them(vocabulary):
    assert vocabulary.decode([1, 4, 6, 5, 7, 8, 3, 2]) == "i don't know."
    with pytest.raises(ValueError, match="token id 99 is out of range"):
        vocabulary.decode([99])


@given(st.lists(st.sampled_from(range(3, len(WORDS))), max_size=12))
def test_ids_come_back_out_of_text_of_words_apart_by_spaces(ids):
    vocabulary = Vocabulary.of_words(WORDS)
    text = " ".join(WORDS[token_id] for token_id in ids)
    assert vocabulary.encode_all([text], spaced=True) == [ids]
    assert Vocabulary(vocabulary.serialised).encode_all([text], spaced=True) == [ids]


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["<unk>", "a", "a"], "'a' is in the list twice"),
        (["<unk>", "a b"], "'a b' is not a word"),
        (["<unk>", ""], "'' is not a word"),
        (["a"], "has no <unk>"),
    ],
)
def test_a_list_that_is_none_is_refused(words, complaint):
    with pytest.raises(ValueError, match=complaint):
        WordVocabulary(words)


@pytest.mark.parametrize("serialised", [b"[", b"[1, 2]", b"[" * 100_000, b"[\xff]"])
def test_a_file_that_is_no_list_is_refused(serialised):
    with pytest.raises(ValueError, match="not a list of words"):
        Vocabulary(serialised)


def test_each_word_stands_for_its_characters_numbers_and_unknown_ones_too(vocabulary):
    assert vocabulary.widths("I don't know quux 1984") == [1, 3, 1, 1, 4, 4, 4]
    assert vocabulary.widths("`` I don ' t <number>", spaced=True) == [1, 1, 3, 1, 1, 8]
    assert len(vocabulary.encode_all(["`` I don ' t <number>"], spaced=True)[0]) == 6
