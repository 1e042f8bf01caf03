"""Lessons: what labels and moments tell, how far replies are trusted, and what a teacher adds."""

import json

import torch

from dialogue.recognised import as_recognised, as_written
from dialogue.vocabulary import CONTINUED
from training.ranking import lessons
from training.ranking.judging import is_held_out_id
from training.ranking.labels import load


def test_of_judged_replies_those_that_readers_often_found_right_are_trusted_more(tmp_path):
    path = tmp_path / "labels.jsonl"
    judged = ["often", "never", "once"]
    lines = [{"replies": ["often", "named"]}, {"id": "", "context": ["a"], "specific": ["named"]}]
    lines[1]["plain"] = []
    for number in range(20):
        right = ["often", "once"] if number == 0 else ["often"]
        line = {"id": str(number), "context": ["hi"], "specific": [], "plain": right}
        lines.append(line | {"judged": judged if number == 0 else judged[:2]})
    path.write_text("\n".join(map(json.dumps, lines)))
    labelled, _ = load(path)
    assert [one.is_judged for one in labelled] == [False, *[True] * 20]
    assert labelled[1].offered == set(judged)
    verdicts = lessons.verdicts_of(labelled)
    learnt = sum(not is_held_out_id(str(number)) for number in range(20))
    assert 10 < learnt < 20
    assert verdicts == {"often": (learnt, learnt), "never": (0, learnt), "once": (1, 1)}
    trust = lessons.trusted(["often", "once", "named", "never"], verdicts)
    assert trust["often"] > trust["once"] > trust["named"] == 0 > trust["never"]


def test_that_no_reply_suits_is_learnt_of_the_replies_in_lines_above():
    known = lessons.Lessons(
        ("how nice",), ("a", "b", "c"), (("hi",), ("oh",)), torch.zeros(0, 1), ({}, {}),
        torch.tensor([1, 3]), (False, False),
    )  # fmt: skip
    found = known.of_known(torch.arange(8.0).view(2, 4), [0, 1])
    assert found.tolist() == [[0, lessons.NEVER, lessons.NEVER, 3], [4, 5, 6, 7]]


def test_what_is_taught_is_learnt():
    """Where there are no labels, the loss is least when the teacher is imitated."""
    taught = torch.tensor([[0.9, 0.1, 0.7, 0.2, 0.1]])
    best = torch.cat([torch.logit(taught[:, :2]), taught[:, 2:].log()], dim=1)
    least = lessons.imitation(best, taught, 2)
    for place in range(5):
        for change in (-0.1, 0.1):
            other = best.clone()
            other[0, place] += change
            assert lessons.imitation(other, taught, 2) > least


def test_a_context_is_its_last_turns_as_the_skill_gets_them():
    turns = ["One.", "Two.", "Three!", f"four {CONTINUED} more", "Five?", "Six.", "It's Seven!"]
    found = lessons.context_of(turns)
    assert len(found) == lessons.RECENT == 5
    assert found[1::2] == ("four. more", "Six."), "the bot's turns stay as they are written"
    assert found[::2] == tuple(as_written(as_recognised(turn)) for turn in turns[2::2])
    assert lessons.context_of(["Hello!"]) == (as_written("hello"),)
