import pytest
from hypothesis import given
from hypothesis import strategies as st

from dialogue.recognised import as_recognised, as_written
from dialogue.vocabulary import normalise


@pytest.mark.parametrize(
    ("written", "recognised"),
    [
        ("Hi! How are you?", "hi how are you"),
        ("Don't, it's 'fine'...", "don't it's fine"),
        ("It costs 1,500 dollars, or 2.5 pounds.", "it costs 1500 dollars or 2.5 pounds"),
        ("I'm from the U.S., and you?", "i'm from the u.s. and you"),
        ("ok <continued_utterance> (really?)", "ok <continued_utterance> really"),
        ("well-known", "well known"),
        ("!?", ""),
    ],
)
def test_a_written_text_loses_what_a_recogniser_does_not_give(written, recognised):
    assert as_recognised(written) == recognised


@pytest.mark.parametrize(
    ("recognised", "written"),
    [
        ("how are you", "how are you?"),
        ("and do you like jazz", "and do you like jazz?"),
        ("what a great day", "what a great day."),
        ("i saw what you did", "i saw what you did."),
        ("i live in the u. s. a.", "i live in the usa."),
        ("i live in the u.s.", "i live in the us."),
        ("the u.s. team won", "the us team won."),
        ("i am twenty one", "i am 21"),
        ("back in nineteen ninety four", "back in 1994"),
        ("in two thousand and five", "in 2005"),
        ("twenty oh five", "2005"),
        ("i have two dogs", "i have two dogs."),
        ("twenty thousand people", "twenty thousand people"),
        ("Already typed, isn't it?", "already typed, isn't it?"),
        ("", ""),
    ],
)
def test_a_recognised_text_reads_as_the_model_has_read(recognised, written):
    assert as_written(recognised) == written


@given(st.text(max_size=60))
def test_stripping_twice_changes_nothing_and_any_text_can_be_read(text):
    once = as_recognised(text)
    assert as_recognised(once) == once
    assert as_written(once) == normalise(as_written(once))
