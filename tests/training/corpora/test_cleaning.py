from collections import Counter

import pytest

from training.corpora.cleaning import clean, clean_one
from training.corpora.transcript import Transcript


def cleaned(*turns, counts=None):
    return clean_one(Transcript("one", "by hand", turns), Counter() if counts is None else counts)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("write to jane.doe@mail.example.org, ok?", "write to <person>, ok?"),
        ("i am @jane_doe on there", "i am <person> on there"),
        ("see https://example.com/a?b=c and www.example.net", "see a website and a website"),
        ("look at films.example.com/top now", "look at a website now"),
        ("call (555) 123-4567 or 555-123-4567", "call <number> or <number>"),
        ("i live at 1234 North Main Street", "i live at <number>"),
        ("My name is Xavier, and yours?", "My name is <person>, and yours?"),
        ("my name's xavier!", "my name's <person>!"),
        ("Hey, I'm xavier.", "Hey, I'm <person>."),
        ("Hi! I'm Xavier. You?", "Hi! I'm <person>. You?"),
        ("you can call me xavier", "you can call me <person>"),
    ],
)
def test_private_details_are_replaced(text, expected):
    assert cleaned(text).turns == (expected,)


@pytest.mark.parametrize(
    "text",
    [
        "21 jump street and 10 Cloverfield Lane are films", "meet me @ 5",
        "it costs $1,200.50 today", "we won 100-99 in 2016",
        "the names of the songs", "my name is spelled weird", "Hi, I'm good.", "I'm American.",
        "Maybe I'm Amazed is a song",
        "just call me crazy", "He was in 3000 movies. Awww... really?", "I'm fine, and you?",
        "it was 5.5.2016",
    ],
)  # fmt: skip
def test_what_only_looks_private_stays(text):
    assert cleaned(text).turns == (text,)


def test_an_answer_to_who_somebody_is_is_heard_but_not_learnt():
    counts = Counter()
    found = cleaned("hi there", "what's your name?", "xavier", "nice to meet you", counts=counts)
    assert found.untaught == {2}
    assert found.turns[2] == "xavier"
    assert counts["answers to who somebody is, not learnt"] == 1
    assert cleaned("what's your favorite movie?", "jaws").untaught == frozenset()
    assert cleaned("who are you rooting for?", "the saints").untaught == frozenset()


def test_offensive_turns_are_heard_but_not_learnt():
    found = cleaned("what a game", "you fucking idiot", "be nice")
    assert found.untaught == {1}
    assert cleaned("i hate mondays", "have you read moby dick?").untaught == frozenset()


def test_what_was_touched_is_counted_by_turns():
    transcripts = [
        Transcript(str(i), "by hand", ("a@b.org and c@d.org", "my name is Xavier."))
        for i in range(3)
    ]
    found, counts = clean(transcripts)
    assert [transcript.id for transcript in found] == ["0", "1", "2"]
    assert {kind: count for kind, count in counts.items() if count} == {
        "e-mail addresses": 3,
        "introductions by name": 3,
    }


# --- talk that goes round ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("turns", "kept"),
    [
        (("nice talking to you", "you too, bye!", "bye", "bye bye", "take care"), 3),
        (("thank you so much!", "you're very welcome!", "Thanks again.", "have a great day"), 2),
        (("thank you", "no problem. what else can i do?", "thanks", "sure. and you?", "ok"), 5),
        (("do you like fish?", "yes, i do like fish", "and trout?", "yes, i do like fish"), 3),
        (("yes", "no", "yes", "no", "yes"), 5),  # a game may be like that
    ],
)
def test_a_conversation_ends_where_it_goes_round(turns, kept):
    found, counts = clean([Transcript("1", "x", turns)])
    assert found[0].turns == turns[:kept]
    assert counts["conversations cut where they go round"] == (kept < len(turns))


@pytest.mark.parametrize(
    ("answer", "learnt"),
    [
        ("I'll ask my developers to make me less annoying.", False),
        ("A whole team of people made me.", False),
        ("My developer will keep training me.", False),
        ("You made me laugh!", True),
        ("You're awfully easy to like.", True),
    ],
)
def test_what_another_bot_says_of_its_makers_is_not_learnt(answer, learnt):
    for corpus, expected in (("smalltalk", learnt), ("companion", True)):
        (found,), _ = clean([Transcript("1", corpus, ("hi", answer))])
        assert (1 not in found.untaught) == expected
