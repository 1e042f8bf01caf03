"""Topical replies as conversations: a moment, and the reply that suits it."""

import json

import pytest

from training import corpora
from training.corpora import topical
from training.corpora.transcript import SPLITS, Complaints


def written(tmp_path, *entries):
    path = tmp_path / "mine.jsonl"
    path.write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    return path


def read(path, complaints=None):
    return {split: list(topical.read(split, complaints or Complaints(), path)) for split in SPLITS}


def test_every_moment_becomes_a_conversation_that_ends_with_the_reply(tmp_path):
    path = written(
        tmp_path,
        {
            "replies": ["A cat!"],
            "suits": [["it purrs"], ["guess", "What?", "it purrs"]],
            "near": [],
        },
        {"replies": [], "suits": [], "near": [["which cat should i get"]]},
    )
    found = [one for part in read(path).values() for one in part]
    assert [one.turns for one in found] == [
        ("it purrs", "A cat!"),
        ("guess", "What?", "it purrs", "A cat!"),
    ]
    assert len({one.id for one in found}) == 2


def test_no_reply_stands_in_two_splits(tmp_path):
    lines = [{"replies": [f"Reply {i}!"], "suits": [["a"], ["b"]]} for i in range(100)]
    found = read(written(tmp_path, *lines, {"replies": ["reply 7"], "suits": [["c"]]}))
    said = [{corpora.topical.normalise(one.turns[-1]) for one in found[part]} for part in SPLITS]
    assert all(said)
    assert sum(map(len, said)) == len(set.union(*said))
    assert sum(map(len, found.values())) == 201


@pytest.mark.parametrize("line", ['{"replies": 3}', "[1]", '{"replies": ["a"], "suits": 4}', "x"])
def test_a_line_that_holds_none_is_named(tmp_path, line):
    path = tmp_path / "mine.jsonl"
    path.write_text(f"{line}\n")
    with pytest.raises(ValueError, match=r"mine.jsonl, line 1: no topical replies; expected"):
        read(path)
    complaints = Complaints(skip=True)
    assert not any(read(path, complaints).values())
    assert complaints.count == 1


def test_the_project_has_them_by_name():
    found = corpora.load(["topical"], "validation", Complaints())
    assert len(found) > 1000
    assert all(len(one.turns) % 2 == 0 for one in found)
