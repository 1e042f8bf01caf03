import json
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file

from dialogue import checkpoint
from dialogue.checkpoint import CONFIG, VOCABULARY, WEIGHTS, Checkpoint
from dialogue.config import ModelConfig
from dialogue.models.hred import HRED
from training.data.vocabulary import build


def make(seed=0, *, texts=("hi there you", "how are you"), **sizes):
    vocabulary = build(texts, size=100, model_type="word")
    small = {"embedding": 6, "utterance": 8, "context": 5, "hidden": 7, **sizes}
    config = ModelConfig(vocab_size=len(vocabulary), **small)
    torch.manual_seed(seed)
    return Checkpoint(
        HRED.from_config(config, bos_id=vocabulary.bos_id),
        vocabulary,
        config,
        {"config": {"seed": seed}},
    )


@pytest.fixture
def saved(tmp_path):
    checkpoint.save(tmp_path / "saved", make())
    return tmp_path / "saved"


def edit_config(folder, **changes):
    settings = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    (folder / CONFIG).write_text(json.dumps({**settings, **changes}), encoding="utf-8")


def test_a_checkpoint_read_back_is_the_one_that_was_saved(tmp_path):
    before = make(bidirectional=False, dropout=0.25)
    checkpoint.save(tmp_path / "new" / "folder", before, dtype=torch.float32)
    after = checkpoint.load(tmp_path / "new" / "folder")
    assert after.config == before.config
    assert after.vocabulary.sha256 == before.vocabulary.sha256
    assert after.training == {"config": {"seed": 0}}
    assert after.model.state_dict().keys() == before.model.state_dict().keys()
    for name, tensor in after.model.state_dict().items():
        assert torch.equal(tensor, before.model.state_dict()[name]), name


def test_a_checkpoint_is_small_on_disk_and_talks_in_float32_without_dropout(saved):
    assert {tensor.dtype for tensor in load_file(saved / WEIGHTS).values()} == {torch.float16}
    loaded = checkpoint.load(saved)
    assert {p.dtype for p in loaded.model.parameters()} == {torch.float32}
    assert not loaded.model.training
    for name, tensor in make().model.state_dict().items():
        torch.testing.assert_close(loaded.model.state_dict()[name], tensor, atol=1e-3, rtol=1e-3)


def test_saving_does_not_change_the_model_that_is_saved(tmp_path):
    before = make()
    weights = {name: tensor.clone() for name, tensor in before.model.state_dict().items()}
    checkpoint.save(tmp_path, before)
    assert before.model.training
    for name, tensor in before.model.state_dict().items():
        assert tensor.dtype == torch.float32
        assert torch.equal(tensor, weights[name])


def test_a_checkpoint_holds_its_three_files_and_nothing_else(saved):
    checkpoint.save(saved, make(seed=1))
    assert sorted(path.name for path in saved.iterdir()) == sorted([WEIGHTS, CONFIG, VOCABULARY])


@pytest.mark.parametrize("name", [WEIGHTS, CONFIG, VOCABULARY])
def test_a_missing_file_is_named(saved, name):
    (saved / name).unlink()
    with pytest.raises(ValueError, match=f"is not a checkpoint: it lacks {name}"):
        checkpoint.load(saved)


def test_a_folder_that_is_not_there_is_no_checkpoint(tmp_path):
    with pytest.raises(ValueError, match=r"nowhere is not a checkpoint"):
        checkpoint.load(tmp_path / "nowhere")


def test_a_vocabulary_of_another_checkpoint_is_refused(saved, tmp_path):
    checkpoint.save(tmp_path / "other", make(texts=("hi there me", "how are me")))
    (saved / VOCABULARY).write_bytes((tmp_path / "other" / VOCABULARY).read_bytes())
    with pytest.raises(ValueError, match="is not the one that the model was trained with"):
        checkpoint.load(saved)


def test_a_vocabulary_of_another_size_than_the_model_is_refused(saved):
    """Even if the file is the right one: ids beyond the embedding once killed a bot inside CUDA."""
    model = json.loads((saved / CONFIG).read_text(encoding="utf-8"))["model"]
    edit_config(saved, model={**model, "vocab_size": model["vocab_size"] + 1})
    with pytest.raises(ValueError, match="is not the one that the model was trained with"):
        checkpoint.load(saved)


@pytest.mark.parametrize("content", [b"", b"no model", b"\xff\xfe"])
def test_a_broken_vocabulary_is_refused_by_name(saved, content):
    (saved / VOCABULARY).write_bytes(content)
    with pytest.raises(ValueError, match=r"saved.*vocabulary\.model"):
        checkpoint.load(saved)


def test_weights_of_another_size_are_refused_by_name(saved, tmp_path):
    checkpoint.save(tmp_path / "wider", make(hidden=9))
    (saved / WEIGHTS).write_bytes((tmp_path / "wider" / WEIGHTS).read_bytes())
    with pytest.raises(ValueError, match=rf"{WEIGHTS}: .* has the shape .*; config.json says"):
        checkpoint.load(saved)


@pytest.mark.parametrize(
    ("change", "complaint"), [("less", "is missing"), ("more", "is unknown to this model")]
)
def test_weights_of_another_model_are_refused_by_name(saved, change, complaint):
    weights = load_file(saved / WEIGHTS)
    if change == "less":
        del weights["readout.weight"]
    else:
        weights["attention.weight"] = torch.zeros(2)
    save_file(weights, saved / WEIGHTS)
    with pytest.raises(
        ValueError, match=f"{WEIGHTS}: the tensor (readout|attention).weight {complaint}"
    ):
        checkpoint.load(saved)


@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.99])
def test_a_truncated_weights_file_is_refused(saved, share):
    content = (saved / WEIGHTS).read_bytes()
    (saved / WEIGHTS).write_bytes(content[: int(len(content) * share)])
    with pytest.raises(ValueError, match=f"{WEIGHTS} is not a readable safetensors file"):
        checkpoint.load(saved)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        "3",
        "{}",
        '{"model": 3}',
        '{"model": {}}',
        '{"model": {"vocab_size": 9, "stories": 2}}',
        '{"model": {"vocab_size": "9"}}',
    ],
)
def test_a_configuration_that_is_none_is_refused_by_name(saved, content):
    (saved / CONFIG).write_text(content, encoding="utf-8")
    with pytest.raises(ValueError, match=r"config\.json is not a configuration of this project"):
        checkpoint.load(saved)


def test_a_configuration_in_another_encoding_is_refused(saved):
    (saved / CONFIG).write_bytes(b"\xff\xfe{\x00")
    with pytest.raises(ValueError, match=r"config\.json is not a configuration of this project"):
        checkpoint.load(saved)


@pytest.mark.parametrize(
    ("size", "says"), [(10_000_000, "config.json says"), (16.0, "whole number")]
)
def test_a_damaged_size_is_named_before_any_memory_is_taken(talker, tmp_path, size, says):
    """A size of ten million asked for terabytes, and a fractional size was a TypeError."""
    checkpoint.save(tmp_path, talker)
    settings = json.loads((tmp_path / "config.json").read_text())
    settings["model"]["hidden"] = size
    (tmp_path / "config.json").write_text(json.dumps(settings))
    with pytest.raises(ValueError, match=says):
        checkpoint.load(tmp_path)


@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        (
            lambda weights: weights.index_fill(0, torch.tensor([0]), float("nan")),
            "holds NaN or infinity",
        ),
        (
            lambda weights: weights.index_fill(0, torch.tensor([0]), float("-inf")),
            "holds NaN or infinity",
        ),
        (
            lambda weights: weights.round().to(torch.int8),
            "holds torch.int8 where torch.float32 is expected",
        ),
        (lambda weights: weights > 0, "holds torch.bool where torch.float32 is expected"),
    ],
    ids=["NaN", "infinity", "int8", "bool"],
)
def test_weights_that_are_no_numbers_with_a_point_are_refused_by_name(saved, spoil, complaint):
    """The skill once started with such a checkpoint, and answered every turn with an apology."""
    weights = load_file(saved / WEIGHTS)
    save_file({**weights, "readout.weight": spoil(weights["readout.weight"])}, saved / WEIGHTS)
    with pytest.raises(ValueError, match=rf"{WEIGHTS}: readout\.weight {complaint}"):
        checkpoint.load(saved)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_weights_of_another_precision_are_read(saved, dtype):
    weights = load_file(saved / WEIGHTS)
    save_file({name: tensor.to(dtype) for name, tensor in weights.items()}, saved / WEIGHTS)
    assert {p.dtype for p in checkpoint.load(saved).model.parameters()} == {torch.float32}


def test_loading_does_not_import_torchs_compiler():
    """It took 57 MB and some seconds: initialising the weights of a model without memory did it."""
    line = "import sys; from dialogue import checkpoint; checkpoint.load(checkpoint.PRETRAINED); "
    line += "print([name for name in ('torch._dynamo', 'sympy') if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", line], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
