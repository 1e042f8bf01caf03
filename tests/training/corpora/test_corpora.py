"""Corpora by name: their splits, their files, and what is refused."""

import gzip

import pytest

from tests.training.corpora.conftest import ids_of, jsonl, load, write
from training import corpora
from training.corpora.transcript import SPLITS, Complaints, split_of

# --- splits --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "split"),
    [
        ("53", "test"),  # sha1 c5b76da3...86906328: 0 of 20
        ("79", "validation"),  # 1
        ("23", "train"),  # 2
        ("0", "train"),  # sha1 b6589fc6...94e8410c: 8
        ("é", "train"),  # sha1 of its two bytes of UTF-8, bf15be71...1ff5073d: 5
    ],
)
def test_the_split_of_an_id_is_the_rest_of_its_sha1_by_twenty(key, split):
    assert split_of(key) == split


def test_about_a_twentieth_of_all_ids_goes_to_each_of_test_and_validation():
    found = [split_of(f"conversation {number}") for number in range(4000)]
    for split in ("test", "validation"):
        assert 150 < found.count(split) < 250


def test_every_split_of_a_corpus_together_is_all_of_it(tmp_path):
    keys = [str(number) for number in range(200)]
    path = write(
        tmp_path / "talk.jsonl", jsonl(*({"id": key, "turns": [key, "yes"]} for key in keys))
    )
    parts = {split: load(path, split)[0] for split in SPLITS}
    assert all(parts.values())
    assert sorted(turns[0] for part in parts.values() for turns in part) == sorted(keys)
    assert sorted(load(path, "all")[0]) == sorted(
        turns for part in parts.values() for turns in part
    )


# --- names ---------------------------------------------------------------------------------------


def test_corpora_are_looked_for_in_data_unless_the_environment_says_where(monkeypatch, tmp_path):
    monkeypatch.delenv("CORPORA", raising=False)
    assert str(corpora.corpora_folder()) == "data"
    monkeypatch.setenv("CORPORA", str(tmp_path))
    assert corpora.corpora_folder() == tmp_path


def test_without_a_name_movie_triples_is_taken_where_its_folder_is(folder):
    assert corpora.default_names() == ["chitchat"]
    (folder / "movie_triples").mkdir()
    assert corpora.default_names() == ["movie_triples"]


def test_an_unknown_corpus_is_refused_with_those_that_there_are(folder):
    with pytest.raises(
        ValueError,
        match=r"no corpus 'nonsense'.*companion, chitchat, self_dialogue, .*"
        r"movie_triples.*folder.*JSONL",
    ):
        load("nonsense")
    with pytest.raises(ValueError, match="no corpus 'movie_triples'"):
        load("movie_triples")
    with pytest.raises(ValueError, match=r"no self_dialogue\.jsonl.*CORPORA"):
        load("self_dialogue")


def test_an_unknown_split_is_refused(folder):
    with pytest.raises(
        ValueError, match="unknown split 'dev'; it is one of train, validation, test, all"
    ):
        load("chitchat", "dev")


def test_a_corpus_without_a_conversation_in_the_split_is_refused(tmp_path):
    path = write(
        tmp_path / "talk.jsonl", jsonl({"id": ids_of("train", 1)[0], "turns": ["hi", "hello"]})
    )
    assert load(path)[0] == [("hi", "hello")]
    with pytest.raises(ValueError, match=r"talk\.jsonl has no conversation in its split 'test'"):
        load(path, "test")


def test_several_corpora_are_read_one_after_the_other(folder):
    write(folder / "movie_triples" / "Training_Shuffled.txt", "a\tb\tc\n")
    write(
        folder / "self_dialogue.jsonl",
        jsonl({"id": ids_of("train", 1)[0], "turns": ["hi", "hello"]}),
    )
    found = corpora.load(["self_dialogue", "movie_triples"], "train", Complaints())
    assert [(transcript.corpus, transcript.turns) for transcript in found] == [
        ("self_dialogue", ("hi", "hello")),
        ("movie_triples", ("a", "b", "c")),
    ]


# --- broken files --------------------------------------------------------------------------------


@pytest.mark.parametrize("skip", [False, True])
@pytest.mark.parametrize("damage", ["not gzip", "cut short", "flipped"])
def test_a_broken_gzip_file_is_refused_by_name(tmp_path, damage, skip):
    """Even if bad lines are to be skipped: half a corpus is not a corpus."""
    entries = [{"id": key, "turns": ["hi", f"hello {key}"]} for key in ids_of("train", 400)]
    content = gzip.compress(jsonl(*entries).encode())
    if damage == "not gzip":
        content = b"plain text"
    elif damage == "cut short":
        content = content[: len(content) // 2]
    else:
        content = content[:-20] + bytes([content[-20] ^ 0xFF]) + content[-19:]
    path = tmp_path / "talk.jsonl.gz"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"cannot read .*talk\.jsonl\.gz"):
        load(path, skip=skip)


def test_complaints_raise_unless_they_are_to_be_skipped():
    with pytest.raises(ValueError, match="the first; fix the file, or pass --skip-bad-lines"):
        Complaints()("the first")
    complaints = Complaints(skip=True)
    complaints("the first")
    complaints("the second")
    assert (complaints.count, complaints.first) == (2, "the first")
