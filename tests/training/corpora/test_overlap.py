"""What a test conversation contains is not learnt, whatever the corpora call it."""

import gzip
import json

import pytest

from dialogue.vocabulary import normalise
from training import corpora, fit
from training.corpora import overlap
from training.corpora.transcript import SPLITS, Complaints, Transcript

TEST = Transcript("t", "one", ("Hi!", "How are you?", "Fine , thanks", "Good"))


def talk(*turns, **changes):
    return Transcript("a", "another", turns, **changes)


@pytest.mark.parametrize(
    ("turns", "kept"),
    [
        (("hi!", "how  are you?", "fine, thanks"), False),  # the same as the model reads it
        (("well", "how are you?", "Fine, thanks", "good", "bye"), False),  # elsewhere in it
        (("Hi!", "How are you?", "Not well"), True),  # two turns alone are too common
        (("How are you?", "Hi!", "Fine, thanks"), True),  # in another order
        (("Hi!", "How are you?"), True),
    ],
)
def test_three_turns_in_a_row_of_a_test_conversation_leave_a_conversation_out(turns, kept):
    left, out = overlap.without([talk(*turns)], [TEST])
    assert (len(left), out) == (kept, not kept)


def test_a_corpus_that_came_split_keeps_its_split():
    assert overlap.without([talk(*TEST.turns, spaced=True)], [TEST]) == (
        [talk(*TEST.turns, spaced=True)],
        0,
    )


def test_no_answer_of_single_exchanges_stands_in_two_splits(tmp_path, monkeypatch):
    monkeypatch.setenv("CORPORA", str(tmp_path))
    lines = [{"id": str(n), "turns": [f"question {n}", f"Answer {n % 60}!"]} for n in range(600)]
    lines.append({"id": "x", "turns": ["a", "Answer 1!", "b", "Answer 2!"]})
    (tmp_path / "smalltalk.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    answers = {
        split: {
            normalise(turn)
            for one in corpora.load(["smalltalk"], split, Complaints())
            for turn in one.turns[1::2]
        }
        for split in SPLITS
    }
    assert all(answers.values())
    assert not answers["train"] & answers["test"]
    assert not answers["train"] & answers["validation"]
    assert not answers["validation"] & answers["test"]


@pytest.mark.corpora
@pytest.mark.parametrize("kind", ["smalltalk", "others"])
def test_nothing_of_the_real_test_splits_is_learnt(kind):
    names = [
        name
        for name in (*corpora.JSONL, "companion")
        if (name == "smalltalk") == (kind == "smalltalk")
    ]
    try:
        test, train = (
            [one for name in names for one in corpora.load([name], split, Complaints())]
            for split in ("test", "train")
        )
    except ValueError as error:
        pytest.skip(f"corpus is not there: {error}")
    if kind == "smalltalk":
        held_out = {normalise(turn) for one in test for turn in one.turns[1::2]}
        assert held_out.isdisjoint(normalise(turn) for one in train for turn in one.turns[1::2])
        return
    left, out = overlap.without(train, test)
    print(f"{out} of {len(train)} conversations left out")
    assert 0 < out < 0.01 * len(train)
    held_out = {stretch for one in test for stretch in overlap._stretches(one)}
    assert all(held_out.isdisjoint(overlap._stretches(one)) for one in left)


def test_the_companion_comes_with_the_project_and_is_what_its_card_says():
    with gzip.open(corpora.COMPANION, "rt", encoding="utf-8") as lines:
        entries = [json.loads(line) for line in lines]
    assert (len(entries), sum(len(entry["turns"]) for entry in entries)) == (55_642, 259_048)
    assert len({entry["id"] for entry in entries}) == len(entries)


def test_a_corpus_whose_test_split_holds_all_of_it_is_refused(tmp_path, capsys):
    """The run once searched for a batch forever."""
    lines = [
        json.dumps({"id": str(n), "turns": ["hi", "hello", "good", "bye"]}) + "\n"
        for n in range(200)
    ]
    (tmp_path / "same.jsonl").write_text("".join(lines))
    assert (
        fit.main(
            [
                f"--data={tmp_path / 'same.jsonl'}",
                f"--out={tmp_path / 'run'}",
                "--no-cache",
                "--device=cpu",
            ]
        )
        == 2
    )
    assert "nothing is left to learn" in capsys.readouterr().err
