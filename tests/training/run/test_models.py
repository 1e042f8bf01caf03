"""--model and the settings that each model takes, on training.fit's command line."""

import json

import pytest
import torch

from dialogue import checkpoint, generate
from dialogue.config import ModelConfig
from training import fit
from training.data.vocabulary import build
from training.run.setup import check_settings


@pytest.mark.parametrize("name", checkpoint.OUR_MODELS)
def test_each_short_name_is_that_of_a_class_whose_settings_are_real(name):
    kind = checkpoint.model_class(name)
    assert f"{kind.__module__}:{kind.__qualname__}" == checkpoint.OUR_MODELS[name]
    assert kind.SETTINGS.issubset(ModelConfig.__dataclass_fields__)


@pytest.mark.parametrize("name", checkpoint.OUR_MODELS)
def test_settings_that_a_model_does_not_take_are_refused_with_those_that_it_takes(name):
    kind = checkpoint.model_class(name)
    check_settings(kind, kind.SETTINGS)
    others = ModelConfig.__dataclass_fields__.keys() - {"vocab_size"} - kind.SETTINGS
    assert others
    for other in others:
        with pytest.raises(
            ValueError,
            match=rf"{kind.__name__} has no --{other.replace('_', '-')}; it takes --.*--embedding",
        ):
            check_settings(kind, [other])


def test_fit_names_an_option_of_another_model_before_it_reads_anything(tmp_path, capsys):
    assert (
        fit.main(["--data=nowhere", f"--out={tmp_path / 'run'}", "--cell=lstm", "--window=9"]) == 2
    )
    assert (
        "HRED has no --cell, --window; it takes --bidirectional, --context"
        in capsys.readouterr().err
    )
    assert not (tmp_path / "run").exists()


def test_a_configuration_of_before_the_choice_of_models_reads_as_it_was(talker, tmp_path):
    checkpoint.save(tmp_path, talker)
    settings = json.loads((tmp_path / checkpoint.CONFIG).read_text())
    for newer in ("cell", "layers", "heads", "window"):
        del settings["model"][newer]
    del settings["class"]
    (tmp_path / checkpoint.CONFIG).write_text(json.dumps(settings))
    assert checkpoint.load(tmp_path).config == talker.config


@pytest.mark.parametrize(
    ("setting", "value"), [("cell", "mgu"), ("layers", 0), ("heads", 0), ("window", 1.5)]
)
def test_settings_of_the_models_that_are_out_of_range_are_named(setting, value):
    with pytest.raises(ValueError, match=f"{setting} is "):
        ModelConfig(vocab_size=9, **{setting: value})


def test_a_run_of_another_model_begins_goes_on_and_loads_by_its_checkpoint_alone(
    talk, tmp_path, capsys
):
    options = [
        f"--data={talk / 'talk.jsonl'}", f"--vocabulary={talk / 'vocabulary.model'}",
        "--embedding=8", "--hidden=8", "--layers=2",
        "--cell=lstm", "--batch-tokens=100", "--precision=fp32", "--device=cpu",
    ]  # fmt: skip
    out = tmp_path / "run"
    assert fit.main([*options, "--model=seq2seq", "--epochs=0.4", f"--out={out}"]) == 0
    said = capsys.readouterr().out
    assert "after 2 steps" in said
    assert "--model" not in said
    assert type(checkpoint.load(out / "checkpoint").model) is checkpoint.model_class("seq2seq")
    assert fit.main(["--resume", "--epochs=0.8", f"--out={out}"]) == 0
    assert "after 4 steps" in capsys.readouterr().out
    assert (
        fit.main(
            [
                options[0],
                f"--start-from={out / 'checkpoint'}",
                "--epochs=0.2",
                f"--out={tmp_path / 'second'}",
            ]
        )
        == 0
    )
    loaded = checkpoint.load(tmp_path / "second" / "checkpoint")
    assert type(loaded.model) is checkpoint.model_class("seq2seq")
    assert (loaded.config.cell, loaded.config.layers) == ("lstm", 2)


def test_a_language_model_of_characters_is_fitted_goes_on_and_writes(
    talk, conversations, tmp_path, capsys
):
    vocabulary = build(
        (turn for c in conversations for turn in c.turns), size=400, model_type="char"
    )
    (tmp_path / "characters.model").write_bytes(vocabulary.serialised)
    out = tmp_path / "run"
    arguments = [
        f"--data={talk / 'talk.jsonl'}", f"--vocabulary={tmp_path / 'characters.model'}",
        "--model=language-model", "--one-hot",
        "--hidden=16", "--batch-tokens=600", "--epochs=0.2", "--precision=bf16", "--device=cpu",
        f"--out={out}",
    ]  # fmt: skip
    assert fit.main(arguments) == 0
    assert fit.main(["--resume", "--epochs=0.4", f"--out={out}"]) == 0
    model = checkpoint.load(out / "checkpoint").model
    identity = dict(model.named_parameters())["decoder.embedding.weight"]
    assert torch.equal(identity, torch.eye(len(vocabulary)))
    capsys.readouterr()
    assert (
        generate.main(
            [f"--checkpoint={out / 'checkpoint'}", "--prompt=hi", "--length=5", "--seed=1"]
        )
        == 0
    )
    assert capsys.readouterr().out.startswith("hi")
