import json
import os
import random
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from tests.test_imports import ROOT, SOURCES, imports_of
from training import fit
from training.data import batches, cache
from training.data.batches import Encoded, Utterance
from training.data.cache import Tokenised
from training.data.vocabulary import load_vocabulary
from training.run import dataset
from training.run.config import FitConfig
from training.run.dataset import prepare

IDS = st.lists(st.integers(0, 65_600), max_size=6)
UTTERANCES = st.builds(
    lambda ids, heard, taught: Utterance(ids, heard=heard, taught=taught),
    IDS,
    st.none() | IDS,
    st.booleans(),
)


def same(one, other):
    """Also compare what list's own == ignores."""
    assert one == other
    for ours, theirs in zip(one.conversations, other.conversations, strict=True):
        for mine, yours in zip(ours, theirs, strict=True):
            assert type(mine) is type(yours) is Utterance
            assert (mine.heard, mine.taught) == (yours.heard, yours.taught)


@given(st.lists(st.lists(UTTERANCES, max_size=4), max_size=5), st.integers(0, 99))
def test_conversations_come_back_as_they_were(
    tmp_path_factory, word_vocabulary, conversations, truncated
):
    folder = tmp_path_factory.mktemp("kept")
    encoded = Encoded(
        conversations, truncated, sum(map(len, conversations)), [2] * len(conversations)
    )
    nothing = Encoded([], 0, 0, [])
    cache.save(
        folder,
        "key",
        Tokenised(
            word_vocabulary, {"train": encoded, "validation": nothing}, {"train": "5ha"}, ("said",)
        ),
    )
    found = cache.load(folder, "key")
    same(found.splits["train"], encoded)
    same(found.splits["validation"], nothing)
    assert (found.sha256, found.said) == ({"train": "5ha"}, ("said",))
    assert found.vocabulary.serialised == word_vocabulary.serialised
    assert [path.name for path in folder.iterdir()] == ["key.safetensors"]


@pytest.fixture
def settings(talk, tmp_path):
    """A corpus where something is offensive, something is truncated, and everything is heard
    differently from how it is written.
    """
    corpus = tmp_path / "talk.jsonl"
    rude = json.dumps(
        {
            "id": "4",
            "turns": [
                "Hello there, what is this?",
                "fuck you",
                "Well, I never!",
                "sorry, I am tired",
            ],
        }
    )
    corpus.write_text(
        (talk / "talk.jsonl").read_text(encoding="utf-8") + rude + "\n", encoding="utf-8"
    )
    return FitConfig(data=(str(corpus),), truncate=5)


def prepared(config, kept_in, vocabulary=None, *, keep=True):
    return prepare(
        config, vocabulary_file=vocabulary, skip_bad_lines=False, kept_in=kept_in, keep=keep
    )


def batches_of(found):
    """All of a run's batches as nested lists; every turn as it was heard, if known."""
    planned = batches.plan(found.train.conversations, batch_tokens=60, rng=random.Random(0))
    made = [
        batches.collate(
            windows, pad_id=0, recognised=torch.ones(sum(map(len, windows)), dtype=torch.bool)
        )
        for windows in planned
    ]
    return [
        [
            None
            if part is None
            else [value.tolist() for value in part]
            if isinstance(part, tuple)
            else part.tolist()
            for part in parts
        ]
        for parts in (
            (batch.token_ids, batch.lengths, batch.turns, batch.encoder_input, batch.loss_mask)
            for batch in (*made, *found.validation)
        )
    ]


def count_encodings(monkeypatch):
    times, original = [], batches.encode

    def counted(*words, **options):
        times.append(1)
        return original(*words, **options)

    monkeypatch.setattr(dataset.batches, "encode", counted)
    return times


def test_a_second_start_reads_nothing_again_and_has_the_same_batches_and_says_the_same(
    settings, talk, tmp_path, monkeypatch, capsys
):
    """The vocabulary, which is built from the corpus, is also the one built the first time."""
    for vocabulary in (None, talk / "vocabulary.model"):
        plain = prepared(settings, None, vocabulary)
        said = capsys.readouterr().out.replace("building the vocabulary\n", "")
        first = prepared(settings, tmp_path / "kept", vocabulary)
        times = count_encodings(monkeypatch)
        capsys.readouterr()
        second = prepared(settings, tmp_path / "kept", vocabulary)
        assert not times
        assert (
            capsys.readouterr().out == f"{said}taken from the cache in {tmp_path / 'kept'}; "
            "--no-cache tokenises them again\n"
        )
        for found in (first, second):
            same(found.train, plain.train)
            assert batches_of(found) == batches_of(plain)
            assert (found.named, found.fingerprint) == (plain.named, plain.fingerprint)
        assert second.train.truncated > 0
        assert any(
            not turn.taught for conversation in second.train.conversations for turn in conversation
        )
        assert any(
            turn.heard not in (None, turn)
            for conversation in second.train.conversations
            for turn in conversation
        )
        monkeypatch.undo()


def test_whatever_changes_what_is_learnt_has_a_file_of_its_own(
    settings, talk, tmp_path, monkeypatch
):
    def key(config=settings, *, vocabulary=None, skip=False):
        return dataset._key(config, vocabulary, skip_bad_lines=skip)

    found = [key(), key(vocabulary=load_vocabulary(talk / "vocabulary.model", ())), key(skip=True)]
    found += [
        key(FitConfig(**{**vars(settings), **other}))
        for other in ({"truncate": 6}, {"recognised": 0.0}, {"clean": False})
    ]
    found += [
        key(FitConfig(**{**vars(settings), "data": names}))
        for names in (settings.data * 2, ("subsequence",))
    ]
    same_batches = [
        key(FitConfig(**{**vars(settings), **other}))
        for other in ({"recognised": 0.9}, {"seed": 3}, {"epochs": 1.0})
    ]
    assert set(same_batches) == {found[0]}
    with Path(settings.data[0]).open("a") as corpus:
        corpus.write("\n")
    found.append(key())
    for folder, name in (
        ("dialogue/safety", "lists.toml"),
        ("training/corpora", "cleaning.py"),
        ("dialogue", "recognised.py"),
    ):
        (tmp_path / "code" / folder).mkdir(parents=True, exist_ok=True)
        (tmp_path / "code" / folder / name).write_text("changed")
        monkeypatch.setattr(cache, "ROOT", tmp_path / "code")
        found.append(key())
    assert len(set(found)) == len(found)


def files_behind(module):
    """List the files that one of our modules depends on: itself, all that it imports, and the
    patterns beside those.

    Models are left out: what is cached was read, cleaned and encoded before there is one.
    """
    found, waiting = set(), [module]
    while waiting:
        one = waiting.pop()
        if one in SOURCES and one not in found and not one.startswith("dialogue.models"):
            found.add(one)
            waiting += [one.rpartition(".")[0], *imports_of(one)]
    code = {SOURCES[one] for one in found}
    return sorted(
        code | {path for folder in {path.parent for path in code} for path in folder.glob("*.toml")}
    )


def test_whatever_file_changes_that_the_kept_corpora_depend_on_they_are_made_anew(
    tmp_path, monkeypatch
):
    files = files_behind("training.run.dataset")
    names = {path.relative_to(ROOT).as_posix() for path in files}
    assert {
        "training/corpora/cleaning.py", "training/corpora/text.py", "training/data/batches.py",
        "training/data/vocabulary.py",
        "training/run/dataset.py", "training/run/config.py", "dialogue/vocabulary.py",
        "dialogue/word_vocabulary.py",
        "dialogue/recognised.py", "dialogue/text_files.py", "dialogue/safety/lists.toml",
        "dialogue/safety/play.toml",
    } <= names  # fmt: skip
    for path in files:
        copy = tmp_path / path.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes())
    monkeypatch.setattr(cache, "ROOT", tmp_path)
    before = cache.key_of([], {})
    assert cache.key_of([], {}) == before
    for name in sorted(names):
        content = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(content + b"\n")
        assert cache.key_of([], {}) != before, f"{name} may change, and nobody notices"
        (tmp_path / name).write_bytes(content)
    assert cache.key_of([], {}) == before


def damaged(path, how):
    content = path.read_bytes()
    if how in ("empty", "garbage", "cut short"):
        path.write_bytes(
            {"empty": b"", "garbage": b"\x07" * 500, "cut short": content[: len(content) // 2]}[how]
        )
        return
    tensors = load_file(path)
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    if how == "another's":
        metadata = {"about": json.dumps(json.loads(metadata["about"]) | {"key": "another"})}
    elif how == "no metadata":
        metadata = None
    elif how == "a tensor short":
        del tensors["train.taught"]
    elif how == "lengths that do not add up":
        tensors["train.lengths"] += 1
    elif how == "no vocabulary":
        tensors["vocabulary"] *= 0
    save_file(tensors, path, metadata=metadata)


@pytest.mark.parametrize(
    "how",
    [
        "empty",
        "garbage",
        "cut short",
        "another's",
        "no metadata",
        "a tensor short",
        "lengths that do not add up",
        "no vocabulary",
    ],
)
def test_a_file_that_is_broken_or_anothers_is_made_anew(settings, tmp_path, monkeypatch, how):
    kept = tmp_path / "kept"
    first = prepared(settings, kept)
    [path] = kept.iterdir()
    content = path.read_bytes()
    damaged(path, how)
    assert path.read_bytes() != content
    times = count_encodings(monkeypatch)
    same(prepared(settings, kept).train, first.train)
    assert len(times) == 2, "once a split"
    same(prepared(settings, kept).train, first.train)
    assert len(times) == 2


def test_old_files_do_not_pile_up(word_vocabulary, tmp_path, monkeypatch):
    monkeypatch.setattr(cache, "KEPT", 3)
    for number in range(5):
        cache.save(tmp_path, f"{number}", Tokenised(word_vocabulary, {}, {}, ()))
        os.utime(tmp_path / f"{number}.safetensors", (number, number))
        if number >= 2:
            assert cache.load(tmp_path, "0") is not None, "it is used, so it stays"
            os.utime(tmp_path / "0.safetensors", (number + 0.5, number + 0.5))
    assert sorted(path.stem for path in tmp_path.iterdir()) == ["0", "3", "4"]


def test_without_a_place_to_keep_them_a_run_begins_all_the_same(settings, tmp_path, capsys):
    (tmp_path / "kept").write_text("no folder")
    assert prepared(settings, tmp_path / "kept").train.conversations
    said = capsys.readouterr().out
    assert "cannot cache the tokenised corpora; the next run tokenises them again: " in said


def test_a_process_that_is_not_the_first_reads_and_does_not_write(settings, tmp_path, monkeypatch):
    kept = tmp_path / "kept"
    prepared(settings, kept, keep=False)
    assert not kept.exists()
    first = prepared(settings, kept)
    times = count_encodings(monkeypatch)
    same(prepared(settings, kept, keep=False).train, first.train)
    assert not times


def test_a_run_keeps_its_corpora_unless_it_is_told_not_to(options, tmp_path, monkeypatch):
    monkeypatch.setattr(cache, "FOLDER", tmp_path / "kept")
    assert fit.main([*options[:-1], "--epochs=0.2", "--no-cache", f"--out={tmp_path / 'one'}"]) == 0
    assert not (tmp_path / "kept").exists()
    assert fit.main([*options[:-1], "--epochs=0.2", f"--out={tmp_path / 'two'}"]) == 0
    assert len(list((tmp_path / "kept").iterdir())) == 1
