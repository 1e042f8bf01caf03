"""Replies remembered from good conversations, as candidates beside those the search finds."""

import copy
import json
import lzma
from dataclasses import replace

import numpy as np
import pytest
import torch

from dialogue import checkpoint, nearest
from dialogue.agent import DialogueAgent
from dialogue.config import DecodeConfig
from dialogue.conversation import Conversation, Turn
from dialogue.recall import (
    FILE,
    NOBODY,
    OPENING,
    PRESUPPOSED,
    Exchange,
    Recall,
    _largest,
    out_of_place,
    stems,
)
from training import remember
from training.corpora.transcript import Transcript, split_of

TALK = (
    Exchange("", "My dog ate my homework.", "Did it taste good?"),
    Exchange("", "My cat sleeps all day.", "Cats are good at that."),
    Exchange("How old is she?", "Two.", "Two is a lovely age for a cat."),
    Exchange("How many did you eat?", "Two.", "Only two? That's modest."),
    Exchange("", "I'm hungry.", "What's in your kitchen?"),
)


@pytest.fixture
def recall():
    return Recall(TALK)


def replies(found):
    return [one.text for one in found]


def test_the_reply_to_what_is_most_alike_comes_first(recall):
    found = recall.find("the dog has eaten my homework", count=3)
    assert found[0].text == "Did it taste good?"
    assert found[0].heard == "My dog ate my homework."
    assert [one.similarity for one in found] == sorted(
        (one.similarity for one in found), reverse=True
    )


def test_the_same_words_are_as_alike_as_can_be_whatever_their_case_and_endings(recall):
    (same,) = recall.find("my cats sleep all day", count=1)
    assert same.similarity == pytest.approx(1 + OPENING)  # an opening, as it was one there
    assert recall.find("quantum", count=1)[0].similarity <= 0


def test_what_was_said_before_tells_two_turns_alike_apart(recall):
    assert (
        recall.find("two", ["how old is she?"], count=1)[0].text == "Two is a lovely age for a cat."
    )
    assert (
        recall.find("two", ["how many did you eat?"], count=1)[0].text == "Only two? That's modest."
    )


def test_a_reply_that_speaks_of_what_nobody_has_said_here_fits_less():
    recall = Recall([Exchange("", "I bought a lamp and meatballs.", "How were the meatballs?")])
    (here,) = recall.find("i bought a lamp and meatballs", count=1)
    (elsewhere,) = recall.find("i bought a lamp", count=1)
    without = Recall([Exchange("", "I bought a lamp and meatballs.", "How was it?")]).find(
        "i bought a lamp", count=1
    )[0]
    assert elsewhere.similarity < without.similarity < here.similarity


@pytest.mark.parametrize(
    ("heard", "reply", "expected"),
    [
        ("i have a new boss", "what does the cake taste like?", PRESUPPOSED),
        ("i have a new boss", "does he snore?", 0),  # a boss may be a he
        ("i have a new lamp", "does he snore?", NOBODY),
        ("my husband is asleep", "does he snore?", 0),
        ("my husband is asleep", "does she snore?", NOBODY),
        ("i have a new lamp", "what a lamp!", 0),
        ("i have a new lamp", "how is the lamp?", 0),
        ("it is late", "sleep well", 0),
    ],
)
def test_a_reply_is_looked_at_by_itself_as_well(heard, reply, expected):
    assert out_of_place(Exchange("", "", reply), set(stems(heard))) == pytest.approx(expected)


def test_no_text_comes_twice_and_nothing_from_nothing(recall):
    again = Recall([*TALK, Exchange("", "The dog ate my homework!", "Did it taste good?")])
    found = replies(again.find("my dog ate my homework", count=9))
    assert len(found) == len(set(found))
    assert Recall(()).find("hello", count=3) == []
    assert recall.find("hello", count=0) == []


def test_a_checkpoint_keeps_what_it_remembers(talker, tmp_path, recall):
    checkpoint.save(tmp_path, talker)
    assert len(checkpoint.load(tmp_path).recall) == 0
    recall.save(tmp_path / FILE)
    assert checkpoint.load(tmp_path).recall.exchanges == TALK
    first = (tmp_path / FILE).read_bytes()
    recall.save(tmp_path / FILE)
    assert (tmp_path / FILE).read_bytes() == first


def test_what_was_remembered_with_other_weights_is_found_by_words_alone(talker, tmp_path):
    checkpoint.save(tmp_path, talker)
    talk = tmp_path / "talk.jsonl"
    talk.write_text(json.dumps({"id": "0", "turns": ["hello", "good day"]}) + "\n")
    assert remember.main([f"--checkpoint={tmp_path}", f"--data={talk}"]) == 0
    assert len(checkpoint.load(tmp_path).recall.nearest) == 1
    model = copy.deepcopy(talker.model)
    with torch.no_grad():
        next(model.parameters()).add_(1)
    checkpoint.save(tmp_path, replace(talker, model=model))
    loaded = checkpoint.load(tmp_path).recall
    assert loaded.nearest is None
    assert loaded.find("hello", count=1)[0].text == "good day"


def test_exchanges_are_kept_whatever_they_hold():
    odd = [
        Exchange("", "two\nlines", "a \u2028 mark"),
        Exchange('"', "\\n", "caf\u00e9"),
        Exchange("", "", ""),
    ]
    assert Recall(odd).exchanges == tuple(odd)
    assert Recall(()).exchanges == ()


def test_what_is_parsed_in_parts_is_all_found_and_blank_lines_are_none(tmp_path, monkeypatch):
    exchanges = [Exchange("", f"tell me about number {n}", f"it is {n}") for n in range(7)]
    lines = "\n\n".join(json.dumps(one) for one in exchanges)
    (tmp_path / FILE).write_bytes(lzma.compress(lines.encode()))
    monkeypatch.setattr("dialogue.recall.PART", 3)
    recall = Recall.load(tmp_path)
    assert recall.exchanges == tuple(exchanges)
    for one in exchanges:
        assert recall.find(one.heard, count=1)[0].text == one.reply


@pytest.mark.parametrize("count", [1, 3, 7, 10])
def test_the_largest_are_those_of_a_full_sort_among_equals_the_first(count):
    scores = np.array([0.5, 0.1, 0.5, 0.9, 0.1, 0.5, -1.0])
    assert _largest(scores, count) == np.argsort(-scores, kind="stable")[:count].tolist()


@pytest.mark.parametrize(
    "content",
    [
        b"not compressed",
        lzma.compress(b'["", "hi", "hello", "and more"]\n'),
        lzma.compress(b"[1, 2]\n"),
        lzma.compress(b'["", "hi", 3]\n'),
        lzma.compress(b'["", "hi", "hello"]\n["", "hi"]\n'),
        lzma.compress(b'["", "hi", "hello"],["", "oh", "well"]\n'),
        lzma.compress(b'["", "hi", "\xff"]\n'),
        lzma.compress(b"{}\n")[:-3],
        lzma.compress(b"nonsense"),
    ],
)
def test_a_broken_file_is_named_with_what_to_do(talker, tmp_path, content):
    checkpoint.save(tmp_path, talker)
    (tmp_path / FILE).write_bytes(content)
    with pytest.raises(
        ValueError, match=rf"{FILE} holds no remembered replies .*training\.remember, or delete it"
    ):
        checkpoint.load(tmp_path)


# --- in the agent --------------------------------------------------------------------------------


def agent_with(talker, *exchanges, **settings):
    decode = DecodeConfig(method="beam", beam_size=4, **settings)
    return DialogueAgent(replace(talker, recall=Recall(exchanges)), decode=decode)


def test_a_remembered_reply_that_fits_well_is_said_and_one_that_does_not_is_not(talker):
    exchange = Exchange("", "where do you live?", "in a small town, is it quiet there?")
    agent = agent_with(talker, exchange, recall_from=0.8, recall_likelihood=0)
    (near,) = agent.answer([Conversation()], ["where do you live"])
    assert near.text == exchange.reply
    assert near.candidates[0].similarity == pytest.approx(1 + OPENING)
    (far,) = agent.answer([Conversation()], ["do you have a dog?"])
    assert far.text != exchange.reply
    assert far.candidates[-1].text == exchange.reply, (
        "it is still there where nothing else may be said"
    )
    (none,) = agent_with(talker, exchange, recall=0).answer([Conversation()], ["where do you live"])
    assert none.candidates[0].similarity is None


def test_a_remembered_reply_is_not_said_twice_and_becomes_a_turn(talker):
    exchanges = [
        Exchange("", "tell me a joke", "why not?"),
        Exchange("", "tell me one joke", "i know no jokes"),
    ]
    agent = agent_with(talker, *exchanges, recall_from=0.1, recall_likelihood=0)
    said = [agent.respond(["kim"], ["tell me a joke"])[0] for _ in range(2)]
    assert said == ["why not?", "i know no jokes"]


def test_likelihoods_without_a_history_are_computed_only_for_a_ranker_that_reads_them(talker):
    exchange = Exchange("", "where do you live?", "in a small town")
    for settings, computed in (
        ({"ranker": "recall"}, True),
        ({"ranker": "recall", "anti_lm": 0.0}, True),
        ({"ranker": "recall", "anti_lm": 0.0, "recall_likelihood": 0.0}, False),
        ({"ranker": "likelihood", "anti_lm": 0.3}, True),
        ({"ranker": "likelihood", "anti_lm": 0.0}, False),
    ):
        agent = agent_with(talker, exchange, **settings)
        (reply,) = agent.answer([Conversation()], ["where do you live"])
        assert len(reply.candidates) > 1
        assert all((one.blank is not None) == computed for one in reply.candidates)
        assert all(one.log_prob < 0 for one in reply.candidates)


@pytest.mark.parametrize("anti_lm", [0.0, 0.3])
def test_when_time_has_run_out_no_remembered_reply_is_scored(talker, monkeypatch, anti_lm):
    """It took another pass of the model, past the deadline."""
    near = Exchange("", "where do you live?", "in a small town, is it quiet there?")
    far = Exchange("", "where is the live show?", "in the park")
    agent = agent_with(talker, near, far, recall_from=0.8, anti_lm=anti_lm, ranker="likelihood")
    monkeypatch.setattr("dialogue.candidates.log_probs_of", None)  # which nobody may call
    (reply,) = agent.answer([Conversation()], ["where do you live"], deadline=0.0)
    remembered = [one for one in reply.candidates if one.similarity is not None]
    assert [(one.log_prob, one.blank) for one in remembered] == [(0.0, None)] * 2
    assert reply.text == near.reply, "what fits well is said all the same"
    assert reply.candidates[-1].text == far.reply


def test_several_conversations_are_remembered_as_each_alone(talker):
    agent = agent_with(talker, *TALK, recall_from=0.5)
    heard = ["i'm hungry", "my cat sleeps all day", "do you like music?"]
    together = [reply.text for reply in agent.answer([Conversation()] * 3, heard)]
    assert together == [agent.answer([Conversation()], [text])[0].text for text in heard]


def test_what_the_history_makes_likely_counts_beside_the_similarity(talker):
    exchanges = [
        Exchange("", "do you like jazz?", "i am a student"),
        Exchange("", "do you like cheese?", "yes, i like jazz"),
    ]
    heard = [Conversation()], ["do you like music?"]
    (blind,) = agent_with(talker, *exchanges, recall_from=-9, recall_likelihood=0).answer(*heard)
    (seeing,) = agent_with(talker, *exchanges, recall_from=-9, recall_likelihood=1).answer(*heard)
    assert {blind.candidates[0].text, blind.candidates[1].text} == {
        exchange.reply for exchange in exchanges
    }
    assert seeing.text == "yes, i like jazz"


# --- what is remembered --------------------------------------------------------------------------


def test_the_companions_turns_are_remembered_with_what_they_answered():
    talk = Transcript(
        "1",
        "companion",
        ("Hi.", "Hello. How are you?", "Fine.", "Good."),
        untaught=frozenset({0, 2}),
    )
    assert list(remember.exchanges(talk)) == [
        (1, Exchange("", "Hi.", "Hello. How are you?")),
        (3, Exchange("Hello. How are you?", "Fine.", "Good.")),
    ]


@pytest.mark.parametrize(
    "reply", ["My mom says so.", "Ask <person>.", "no no no no no no", "word " * 41, "..."]
)
def test_what_the_companion_should_not_say_is_not_remembered(reply):
    assert list(remember.exchanges(Transcript("1", "companion", ("Hi.", reply)))) == []


def test_what_is_remembered_is_found_by_the_history_that_it_answered(talker):
    talks = [
        Transcript("1", "companion", ("Hi.", "Hello. How are you?", "Fine.", "Good.")),
        Transcript("2", "companion", ("My dog is ill.", "Oh no.")),
    ]
    agent = DialogueAgent(talker)
    opened = Transcript("3", "own", ("Hi there.", "Bye."), persons=frozenset({1}))
    talks.append(opened)  # by the companion, whose turns are read as they are written
    found = remember.histories(agent, talks, [(1, 1), (0, 3), (2, 1)])
    (greeted,) = agent.hear([Conversation()], [Turn("bot", "Hi there.")])
    (ill,) = agent.hear([Conversation()], [Turn("user", "my dog is ill.")])
    talk = Conversation()
    for speaker, text in (
        ("user", "hi"),
        ("bot", "Hello. How are you?"),
        ("user", "fine"),
    ):
        (talk,) = agent.hear([talk], [Turn(speaker, text)])
    assert found.float() == pytest.approx(
        torch.cat([ill.history, talk.history, greeted.history]), abs=2e-3
    )


def test_the_command_remembers_training_splits_alone(talker, tmp_path, capsys):
    keys = {
        split: [str(n) for n in range(400) if split_of(str(n)) == split]
        for split in ("train", "test")
    }
    talk = tmp_path / "talk.jsonl"
    lines = [
        {"id": key, "turns": [f"hello {key}", f"good day {split} {key}"]}
        for split in keys
        for key in keys[split][:12]
    ]
    talk.write_text("".join(json.dumps(line) + "\n" for line in lines))
    checkpoint.save(tmp_path, talker)
    assert remember.main([f"--checkpoint={tmp_path}", f"--data={talk}"]) == 0
    remembered = checkpoint.load(tmp_path).recall
    assert len(remembered) == 12
    assert all("train" in exchange.reply for exchange in remembered.exchanges)
    assert len(remembered.nearest) == 12
    agent = DialogueAgent(checkpoint.load(tmp_path))
    for exchange in remembered.exchanges[:3]:
        (heard,) = agent.hear([Conversation()], [Turn("user", exchange.heard)])
        ((found,),) = agent.known.recalled([heard], count=1)
        assert found.text == exchange.reply
    assert f"{len(remembered)} replies from 12 conversations" in capsys.readouterr().out
    for broken in (
        FILE,
        nearest.FILE,
    ):  # which asks for this command, and must not keep it from working
        (tmp_path / broken).write_bytes(b"broken")
        with pytest.raises(ValueError, match=r"training\.remember"):
            checkpoint.load(tmp_path)
        assert remember.main([f"--checkpoint={tmp_path}", f"--data={talk}"]) == 0
    assert len(checkpoint.load(tmp_path).recall.nearest) == 12
    assert remember.main([f"--checkpoint={tmp_path / 'none'}"]) == 2
    assert remember.main([f"--checkpoint={tmp_path}", "--data=nonsense"]) == 2


def test_a_remembered_reply_that_copies_one_of_the_last_replies_is_left_out(talker):
    asked = "that's odd. where do you live now?"
    exchanges = [
        Exchange("", "hi", asked),
        Exchange("", "hi there", "well, where do you live now?"),
    ]
    agent = agent_with(talker, *exchanges)
    heard = Conversation().after(Turn("user", "hi there"), None)
    assert list(map(len, agent.known.find([heard], agent.decode_config))) == [2]
    conversation = Conversation(turns=(Turn("bot", asked), Turn("user", "hi there")))
    assert agent.known.find([conversation], agent.decode_config) == [[]]
    free = agent_with(talker, *exchanges, block_reply_ngrams=0)
    assert list(map(len, free.known.find([conversation], free.decode_config))) == [2]
    since = (Turn("user", "oh"), Turn("bot", "yes")) * 4
    later = Conversation(turns=(Turn("bot", asked), *since, Turn("user", "hi there")))
    assert list(map(len, agent.known.find([later], agent.decode_config))) == [2]
