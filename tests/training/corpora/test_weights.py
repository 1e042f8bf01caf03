"""How often one pass reads a corpus: --data companion:4."""

import json

import pytest

from tests.training.conftest import options_of
from training import corpora, fit
from training.corpora.transcript import Complaints, split_of
from training.run import manifest


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("companion", ("companion", 1)),
        ("companion:4", ("companion", 4)),
        ("some/talk.jsonl:12", ("some/talk.jsonl", 12)),
        (r"C:\talk.jsonl", (r"C:\talk.jsonl", 1)),
        ("C:/talk.jsonl", ("C:/talk.jsonl", 1)),
        (r"C:\talk.jsonl:3", (r"C:\talk.jsonl", 3)),
    ],
)
def test_a_weight_is_the_number_after_the_last_colon(name, expected):
    assert corpora.weighted(name) == expected


def test_a_path_that_ends_like_a_weight_is_a_path_where_it_is_there(tmp_path):
    path = tmp_path / "talk:4"
    path.mkdir()
    assert corpora.weighted(str(path)) == (str(path), 1)
    assert corpora.weighted(f"{path}:2") == (str(path), 2)


@pytest.mark.parametrize("weight", ["0", "-1", "x", "", "1.5", "+2", " 2", "04", "²", "٤", "1001"])
def test_what_is_no_whole_number_from_one_is_refused_by_name(weight, tmp_path, capsys):
    named = weight.replace("+", "[+]")
    complaint = rf"--data companion:{named}: the weight .* is not a whole number from 1"
    with pytest.raises(ValueError, match=complaint):
        corpora.weighted(f"companion:{weight}")
    assert fit.main([f"--data=companion:{weight}", f"--out={tmp_path / 'run'}"]) == 2
    assert f"companion:{weight}" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_weight_is_for_training_alone_and_validation_stays_as_it_is(talk, options, tmp_path):
    once = fit_plan(options, talk, weight="", out=tmp_path / "once")
    thrice = fit_plan(options, talk, weight=":3", out=tmp_path / "thrice")
    assert len(thrice.train.as_read) == 3 * len(once.train.as_read)
    assert thrice.train.conversations == once.train.conversations
    assert len(thrice.validation) == len(once.validation)
    assert thrice.named["train split"] != once.named["train split"], (
        "a place in one means nothing in the other"
    )
    assert thrice.named["validation split"] == once.named["validation split"]


def test_the_manifest_of_a_run_has_the_weights(talk, options, tmp_path):
    assert fit.main([*options_of(options, data=f"{talk / 'talk.jsonl'}:2"), "--epochs=0.1"]) == 0
    assert manifest.read(tmp_path / "run")["configuration"]["data"] == [f"{talk / 'talk.jsonl'}:2"]


def test_conversations_come_with_their_weight(tmp_path):
    key = next(str(number) for number in range(100) if split_of(str(number)) == "train")
    path = tmp_path / "talk.jsonl"
    path.write_text(json.dumps({"id": key, "turns": ["hi", "hello"]}) + "\n")
    (found,) = corpora.load([f"{path}:5"], "train", Complaints())
    assert (found.turns, found.times) == (("hi", "hello"), 5)


def fit_plan(options, talk, *, weight, out):
    from training.run.dataset import prepare
    from training.run.setup import wanted
    from training.run.stages import wished_for

    (asked,) = wished_for(
        [*options_of(options, data=f"{talk / 'talk.jsonl'}{weight}"), f"--out={out}"]
    )
    run = wanted(asked)
    return prepare(run.config, vocabulary_file=run.vocabulary, skip_bad_lines=False)
