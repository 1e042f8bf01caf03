"""The full corpora, where they are available: their sizes, and that no split leaks into another."""

import re

import pytest

from training import corpora
from training.corpora.transcript import SPLITS, Complaints, split_of

COUNTS = {
    "movie_triples": {"train": 120_148, "validation": 6_154, "test": 6_986},
    "self_dialogue": {"train": 21_040, "validation": 1_165, "test": 1_162},
    "chitchat": {"train": 6_437, "validation": 344, "test": 387},
}
# One writer submitted the same text nine times; by their ids, one copy is in the test split and
# eight are in training.
HANDED_IN_OFTEN = {"bbe691202db5"}
TELLING_WORDS = (
    12  # shorter turns ("hi how are you?", "good talking to you", "you too") coincide by chance
)


@pytest.fixture(scope="module")
def full():
    """Every split of every corpus. Skips if the files are not available."""
    folder = corpora.corpora_folder()
    if not (folder / "movie_triples").is_dir() or not list(folder.glob("self_dialogue.jsonl*")):
        pytest.skip(
            "a full corpus is not available: set CORPORA to the folder of movie_triples and "
            f"self_dialogue; it is {folder}"
        )
    return {
        name: {split: corpora.load([name], split, Complaints()) for split in SPLITS}
        for name in COUNTS
    }


def bare(turn):
    """A turn reduced to its letters: MovieTriples is tokenised, in lower case, and has <number> for
    digits.
    """
    return re.sub(r"<\w+>|[^a-z]", "", turn.lower())


def size(turns):
    return len(" ".join(turns).split())


@pytest.mark.corpora
def test_the_full_corpora_are_read_whole_and_without_a_complaint(full):
    assert {
        name: {split: len(found) for split, found in parts.items()} for name, parts in full.items()
    } == COUNTS
    assert all(
        len(transcript.turns) == 3 for part in full["movie_triples"].values() for transcript in part
    )
    assert (
        sum(len(transcript.turns) for part in full["self_dialogue"].values() for transcript in part)
        == 364_118
    )


@pytest.mark.corpora
def test_no_id_stands_in_two_splits_of_any_corpus(full):
    seen = {}
    for name in ("self_dialogue", "chitchat"):
        for split, found in full[name].items():
            assert len({transcript.id for transcript in found}) == len(found)
            for transcript in found:
                assert split_of(transcript.id) == split
                assert seen.setdefault(transcript.id, split) == split


@pytest.mark.corpora
def test_no_conversation_of_a_test_split_stands_in_any_training_split_under_another_id(full):
    trained = {"".join(map(bare, t.turns)) for name in full for t in full[name]["train"]}
    leaked = {
        t.id
        for name in ("self_dialogue", "chitchat")
        for t in full[name]["test"]
        if size(t.turns) >= TELLING_WORDS and "".join(map(bare, t.turns)) in trained
    }
    assert leaked == HANDED_IN_OFTEN


@pytest.mark.corpora
def test_no_test_triple_stands_in_a_training_conversation(full):
    """MovieTriples comes with its own split: its test triples must come from test conversations of
    self-dialogue, and from nothing that is trained on.
    """
    triples = {
        tuple(map(bare, t.turns))
        for t in full["movie_triples"]["test"]
        if size(t.turns) >= TELLING_WORDS
    }

    def stretches(name, split):
        for transcript in full[name][split]:
            turns = list(map(bare, transcript.turns))
            yield from (tuple(turns[start : start + 3]) for start in range(len(turns) - 2))

    known = {
        t.id: list(map(bare, t.turns))
        for t in full["self_dialogue"]["test"]
        if t.id in HANDED_IN_OFTEN
    }
    excused = {
        tuple(turns[start : start + 3])
        for turns in known.values()
        for start in range(len(turns) - 2)
    }
    originals = triples & set(stretches("self_dialogue", "test"))
    assert len(originals) > 0.7 * len(triples), (
        "this cannot even find the triples where they come from"
    )
    for name in COUNTS:
        leaked = triples & set(stretches(name, "train")) - excused
        assert not leaked, (name, leaked)
