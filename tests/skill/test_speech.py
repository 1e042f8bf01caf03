import xml.etree.ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dialogue.words import repeats_ngram
from skill.speech import MAX_CHARACTERS, PAUSE, to_speech


@pytest.mark.parametrize(
    ("text", "speech"),
    [
        ("i think i'm right. are you?", "I think I'm right. Are you?"),
        ("tom & jerry <3", "Tom and jerry"),
        ("<person> said hi to <number> people", "Said hi to people"),
        ("hello <continued_utterance> how are you?", f"Hello{PAUSE}How are you?"),
        ("a\x00b\ud800c\ufffd", "A b c"),
        ("  spaced \t out \n", "Spaced out"),
        ("", ""),
        ("<unk>", ""),
        ("well... i don't know, i'll see", "Well... I don't know, I'll see"),
        ("hawaii is in the pacific", "Hawaii is in the pacific"),
    ],
)
def test_a_reply_is_spoken_as(text, speech):
    assert to_speech(text) == speech


@given(
    st.text(max_size=300)
    | st.lists(
        st.sampled_from(["i", "am", "&", "<continued_utterance>", "no.", "<person>", "\x01"])
    ).map(" ".join)
)
def test_any_reply_gives_well_formed_ssml_that_never_repeats_three_words(text):
    speech = to_speech(text)
    element = ET.fromstring(f"<speak>{speech}</speak>")
    assert not repeats_ngram(" ".join(element.itertext()), 3)
    assert "continued_utterance" not in speech or "continued_utterance" in text.replace(
        "<continued_utterance>", ""
    )


def test_a_long_reply_is_cut_at_a_sentence_end_within_the_limit():
    names = [f"{first}{last}" for first in "bcdfghklmn" for last in ("ab", "ed", "in", "ol", "us")]
    text = " ".join(
        f"{names[index]} and {names[-index]} know {names[index - 7]}." for index in range(50)
    )
    speech = to_speech(text)
    assert len(speech) <= MAX_CHARACTERS
    assert speech.endswith(".")
    assert len(speech) > MAX_CHARACTERS - 50


def test_a_long_reply_without_a_sentence_end_is_cut_at_a_word_and_one_long_word_anywhere():
    text = " ".join(f"w{chr(97 + i % 26)}{chr(97 + i // 26)}x" for i in range(300))
    assert text.capitalize().startswith(to_speech(text) + " ")
    assert len(to_speech(text)) > MAX_CHARACTERS - 10
    assert len(to_speech("x" * 5000)) == MAX_CHARACTERS


def test_of_long_parts_whole_sentences_are_kept():
    first = " ".join(f"a{chr(97 + i % 26)}{chr(97 + i // 26)}" for i in range(140)) + "."
    speech = to_speech(f"{first} <continued_utterance> {first.replace('a', 'b')}")
    assert speech == first.capitalize()


def test_a_reply_that_repeats_itself_is_cut_before_it_does():
    assert (
        to_speech("i like it. you know what i mean. yes i like it.")
        == "I like it. You know what I mean."
    )
    assert (
        to_speech("i like it. you know what i like about it.")
        == "I like it. You know what I like about it."
    )
    assert to_speech("it is so good. it is so good. it is") == "It is so good."
