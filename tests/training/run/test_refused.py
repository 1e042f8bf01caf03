"""What a run refuses to resume with: other data, another vocabulary, contradictory options.

Asking costs nothing: the run stays as it was.
"""

import json

import pytest
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from tests.training.conftest import contents
from training import fit
from training.corpora.transcript import split_of
from training.data.vocabulary import build


@pytest.fixture
def corpus(talk, tmp_path):
    """A copy of the corpus that may be changed."""
    path = tmp_path / "talk.jsonl"
    path.write_bytes((talk / "talk.jsonl").read_bytes())
    return path


@pytest.mark.parametrize("split", ["train", "validation"])
def test_a_run_does_not_go_on_with_a_corpus_that_has_changed(
    options, corpus, tmp_path, capsys, split
):
    out = tmp_path / "run"
    assert fit.main([f"--data={corpus}", *options[1:], "--epochs=0.4"]) == 0
    before, lines = contents(out), corpus.read_bytes()
    key = next(str(n) for n in range(600, 900) if split_of(str(n)) == split)
    corpus.write_bytes(lines + json.dumps({"id": key, "turns": ["hi", "hello"]}).encode() + b"\n")
    capsys.readouterr()
    assert fit.main(["--resume", f"--out={out}", "--device=cpu", "--epochs=2"]) == 2
    said = capsys.readouterr().err
    assert f"the {split} split has changed (sha256 " in said
    assert f"--start-from {out / 'checkpoint'} --out " in said
    assert contents(out) == before, "not even what was asked for is remembered"
    corpus.write_bytes(lines)
    assert fit.main(["--resume", f"--out={out}", "--device=cpu", "--epochs=1"]) == 0


def test_a_run_from_before_corpora_were_named_goes_on(options, corpus, tmp_path):
    out = tmp_path / "run"
    assert fit.main([f"--data={corpus}", *options[1:], "--epochs=0.4"]) == 0
    with safe_open(out / "state.safetensors", framework="pt") as file:
        metadata = {name: value for name, value in file.metadata().items() if name != "data"}
    save_file(load_file(out / "state.safetensors"), out / "state.safetensors", metadata=metadata)
    with corpus.open("a", encoding="utf-8") as more:
        more.write(json.dumps({"id": "4", "turns": ["hi", "hello"]}) + "\n")
    assert fit.main(["--resume", f"--out={out}", "--device=cpu", "--epochs=1"]) == 0


@pytest.mark.parametrize("option", ["--hidden=12", "--optimizer=sgd"])
def test_a_wish_with_which_a_run_cannot_go_on_is_not_remembered(options, tmp_path, option):
    """Settings were saved before the state was read, so the next --resume failed too, even without
    them.
    """
    out = tmp_path / "run"
    assert fit.main([*options, "--epochs=0.4"]) == 0
    before = contents(out)
    assert fit.main(["--resume", f"--out={out}", "--device=cpu", option]) == 2
    assert contents(out) == before
    assert fit.main(["--resume", f"--out={out}", "--device=cpu", "--epochs=1"]) == 0


@pytest.mark.parametrize("how", ["--resume", "--start-from"])
def test_another_vocabulary_beside_the_weights_is_refused(options, tmp_path, capsys, how):
    assert fit.main([*options, "--epochs=0.4"]) == 0
    out = tmp_path / "run"
    other = build(["quite other words"], size=300, model_type="char")
    (out / "checkpoint" / "vocabulary.model").write_bytes(other.serialised)
    before = contents(out)
    asked = (
        ["--resume", f"--out={out}"]
        if how == "--resume"
        else [options[0], f"--start-from={out / 'checkpoint'}", f"--out={tmp_path / 'second'}"]
    )
    assert fit.main([*asked, "--device=cpu"]) == 2
    assert "is not the one that the model was trained with" in capsys.readouterr().err
    assert contents(out) == before
    assert not (tmp_path / "second").exists()


@pytest.mark.parametrize(
    ("talks", "complaint"),
    [
        ([], "no conversation in its split 'train'"),
        ([["train", ["hi", "hello", "how are you?"]]], "no conversation in its split 'validation'"),
        ([["validation", ["hi", "hello", "how are you?"]]], "no conversation in its split 'train'"),
        (
            [["train", ["hi", "hello"]], ["validation", ["hi"]]],
            "the validation split has no conversation of two turns or more",
        ),
    ],
)  # fmt: skip
def test_a_corpus_without_enough_to_learn_and_to_validate_on_is_named_before_anything_is_written(
    options, tmp_path, capsys, talks, complaint
):
    keys = {
        split: next(str(n) for n in range(99) if split_of(str(n)) == split)
        for split in ("train", "validation")
    }
    corpus = tmp_path / "small.jsonl"
    corpus.write_text(
        "".join(json.dumps({"id": keys[split], "turns": turns}) + "\n" for split, turns in talks)
    )
    assert fit.main([f"--data={corpus}", *options[1:]]) == 2
    assert complaint in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_broken_line_of_the_log_is_named_before_the_corpora_are_read(
    options, tmp_path, monkeypatch, capsys
):
    """It was a JSON error in line 1, column 1, of an unnamed file."""
    out = tmp_path / "run"
    assert fit.main([*options, "--epochs=1"]) == 0
    log = out / "log.jsonl"
    lines = log.read_text(encoding="utf-8").splitlines(keepends=True)
    monkeypatch.setattr(fit, "prepare", None)
    for broken in ("half a row\n", "[1]\n", '{"loss": 1}\n'):
        log.write_text("".join([lines[0], broken]), encoding="utf-8")
        assert fit.main(["--resume", f"--out={out}", "--device=cpu"]) == 2
        assert (
            f"error: {log}, line 2: not a validation that training.fit wrote; remove the line"
            in capsys.readouterr().err
        )


@pytest.mark.parametrize(
    ("asked", "complaint"),
    [
        (["--bptt=4"], "HRED has no `read_on`"),
        (["--word-vectors=nowhere.txt"], "cannot read nowhere.txt"),
        (
            ["--word-vectors=pyproject.toml"],
            "pyproject.toml: found no words with numbers in the first lines",
        ),
        (["--utterance=7"], "utterance"),
        (["--recipe=pyproject.toml"], "the recipe pyproject.toml names"),
    ],
)
def test_what_the_model_cannot_do_is_refused_before_the_corpora_are_read(
    options, monkeypatch, capsys, asked, complaint
):
    monkeypatch.setattr(fit, "prepare", None)
    assert fit.main([*options[:-1], *asked, options[-1]]) == 2
    assert complaint in capsys.readouterr().err


def test_weights_in_a_state_that_are_no_numbers_are_named(options, tmp_path, capsys):
    out = tmp_path / "run"
    assert fit.main([*options, "--epochs=0.4"]) == 0
    state = out / "state.safetensors"
    with safe_open(state, framework="pt") as file:
        metadata = file.metadata()
    tensors = load_file(state)
    save_file(
        {**tensors, "weights.readout.weight": tensors["weights.readout.weight"] * float("nan")},
        state,
        metadata=metadata,
    )
    assert fit.main(["--resume", f"--out={out}", "--device=cpu"]) == 2
    assert (
        f"cannot resume from {state}: readout.weight is not finite in the file"
        in capsys.readouterr().err
    )
