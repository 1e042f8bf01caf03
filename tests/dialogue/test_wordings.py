"""Other wordings of stock replies: which there are, and when one is said."""

import json
import re

import pytest

from dialogue import checkpoint, stock_replies, tensor_file, terminal, wordings
from dialogue.agent import Reply
from dialogue.choosing import Chooser
from dialogue.claims import claims_a_life
from dialogue.conversation import Conversation, Turn
from dialogue.ranking import Candidate
from dialogue.safety import guard
from dialogue.text_files import read_lines
from dialogue.words import repeats_ngram, words
from skill.questions import invites

REPLY = "I'd have to think about that."
STOCK = Candidate(REPLY, 0.0, 0.5, fit=0.9)
LONGER = 8  # words that a wording may have more than its reply


def after(*texts):
    """A conversation that ends with a turn of the person."""
    return Conversation(
        turns=tuple(
            Turn("bot" if (len(texts) - at) % 2 == 0 else "user", t) for at, t in enumerate(texts)
        )
    )


def test_a_template_stands_for_all_its_texts():
    assert wordings.expand("no braces") == ["no braces"]
    assert wordings.expand("{I'd|I would} think{| first}.") == [
        "I'd think.",
        "I'd think first.",
        "I would think.",
        "I would think first.",
    ]


def test_a_reply_is_its_own_first_wording_and_other_texts_have_no_further_one():
    assert wordings.wordings(REPLY)[0] == REPLY
    assert len(wordings.wordings(REPLY)) > 1
    assert wordings.wordings("a text of its own") == ("a text of its own",)
    assert all(REPLY in wordings.meanings(text) for text in wordings.wordings(REPLY))
    assert wordings.meanings("a text of its own") == ()


@pytest.mark.parametrize(
    ("lines", "complaint"),
    [
        (["    a template"], "line 1: 'a template' stands below no reply"),
        (["Yes.", "    {Yes|Yeah."], r"line 2: '{Yes\|Yeah.' has a brace or | too many"),
        (["Yes.", "    Yes|Yeah."], r"line 2: 'Yes\|Yeah.' has a brace or | too many"),
        (["# all", "", "Yes.", "    {Yes|{Yeah|Oh}}."], "line 4: .* too many"),
    ],
)
def test_a_broken_file_is_refused(lines, complaint):
    with pytest.raises(ValueError, match=complaint):
        wordings.read(lines)


def test_only_a_stock_reply_is_reworded_and_the_talk_so_far_determines_how():
    chooser = Chooser(3)
    said = {chooser.wording(after(f"thought {number}"), STOCK) for number in range(50)}
    assert len(said) > 10
    assert said <= set(wordings.wordings(REPLY))
    assert chooser.wording(after("hello"), STOCK) == chooser.wording(after("hello"), STOCK)
    assert chooser.wording(after("hello"), Candidate(REPLY, 0.0, 0.5)) == REPLY
    other = Candidate("a text of its own", 0.0, 0.5, fit=0.9)
    assert chooser.wording(after("hello"), other) == other.text


def test_no_wording_is_said_that_may_not_be_or_that_copies_a_reply():
    (usual,) = {Chooser(3).wording(after("hello"), STOCK)}
    refuses = Chooser(3, may_say=lambda utterance, reply: reply != usual)
    assert refuses.wording(after("hello"), STOCK) not in (usual, "")
    avoids = Chooser(3, avoid=lambda utterance, reply: reply != REPLY)
    assert avoids.wording(after("hello"), STOCK) == REPLY
    nothing = Chooser(3, may_say=lambda utterance, reply: False)
    assert nothing.wording(after("hello"), STOCK) == REPLY, "as it was chosen"

    talk = after("hello", "You have to think about that one first, I believe.", "do i")
    for _ in range(30):
        text = Chooser(3, block_reply_ngrams=4).wording(talk, STOCK)
        assert "have to think about" not in text
        talk = Conversation(turns=(*talk.turns, Turn("user", "do i")))


@pytest.mark.parametrize("text", wordings.wordings(REPLY)[:9])
def test_a_reply_counts_as_said_in_whatever_words_it_was(text):
    other = Candidate("I see.", 0.0, 0.1, fit=0.1)
    heard = after("hello", text, "and now")
    assert Chooser(3).choose(heard, [STOCK, other]) is other
    assert Chooser(3).why(heard, [STOCK, other])[0] == "said before"


def test_a_wording_of_several_replies_counts_as_all_of_them():
    text = "And what comes next?"
    assert len(wordings.meanings(text)) > 1
    other = Candidate("I see.", 0.0, 0.1, fit=0.1)
    for reply in wordings.meanings(text):
        said = Candidate(reply, 0.0, 0.5, fit=0.9)
        assert Chooser(3).choose(after("hello", text, "and now"), [said, other]) is other


def test_no_name_is_asked_for_twice_in_whatever_words():
    asks, other = Candidate("What's its name?", 0.0, 0.5), Candidate("I see.", 0.0, 0.1)
    for text in wordings.wordings("Does it have a name?"):
        assert Chooser(3).choose(after("a dog", text, "guess"), [asks, other]) is other, text


ALL = wordings.read(read_lines(wordings.FILE))


@pytest.mark.parametrize("reply", ALL)
def test_every_wording_can_stand_for_its_reply(reply):
    may_say = guard.may_say("strict")
    for text in wordings.wordings(reply):
        assert text[0].isupper() or text[0] == '"'
        assert text.endswith((".", "!", "?"))
        assert not set("{|}") & set(text)
        assert not re.search(r"  | [.,!?]", text), text
        assert text.endswith("?") == reply.endswith("?"), text
        assert invites(text) >= invites(reply), text
        assert len(words(text)) <= len(words(reply)) + LONGER, text
        assert not repeats_ngram(text, 3), text
        assert may_say("", text), text
        assert claims_a_life(text, "") <= claims_a_life(reply, ""), text


def test_most_plain_replies_of_the_shipped_model_have_other_wordings():
    _, metadata = tensor_file.read(checkpoint.PRETRAINED / stock_replies.FILE)
    plain = json.loads(metadata["plain"])
    assert set(ALL) <= set(plain)
    assert len(ALL) > 0.9 * len(plain)


def test_the_table_of_candidates_shows_what_was_said_in_the_words_it_was_said_in():
    other, text = Candidate("I see.", 0.0, 0.1, fit=0.1), wordings.wordings(REPLY)[1]
    talk = Conversation(turns=(Turn("user", "hello"), Turn("bot", text)))
    reply = Reply(text, talk, (STOCK, other))
    for why in (["", "ranker"], None):
        table = terminal.candidates(reply, why)
        assert list(table.columns[-1].cells) == [text, "I see."]
        assert [row.style for row in table.rows] == ["bold", ""]
