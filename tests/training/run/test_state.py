import json
import math
from dataclasses import asdict

import pytest
import torch
from safetensors.torch import load_file, save_file

from dialogue.models.hred import HRED
from training.run.state import Progress, load_state, save_state
from training.run.trainer import OPTIMIZERS, Trainer


def make(seed=0, *, hidden=7, steps=0, optimizer="adam"):
    torch.manual_seed(seed)
    model = HRED(
        vocab_size=20,
        bos_id=2,
        embedding=6,
        utterance=8,
        context=5,
        hidden=hidden,
        bidirectional=True,
        dropout=0.0,
    )
    trainer = Trainer(
        model, learning_rate=1e-2, precision="fp32", device=torch.device("cpu"), optimizer=optimizer
    )
    for _ in range(steps):
        walk(trainer)
    return trainer


def walk(trainer):
    """One step down a slope that depends on the current weights."""
    trainer.optimiser.zero_grad()
    sum(
        (parameter**2).sum() + parameter.sum().sin() for parameter in trainer.model.parameters()
    ).backward()
    trainer.optimiser.step()


PROGRESS = Progress(
    step=12,
    epoch=1,
    batch=3,
    tokens=999,
    seconds=4.5,
    halvings=2,
    bad_validations=1,
    best_perplexity=8.25,
)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_state_read_back_goes_on_as_if_nothing_had_happened(tmp_path, optimizer):
    trainer = make(steps=5, optimizer=optimizer)
    save_state(tmp_path / "state", trainer, PROGRESS)
    other = make(seed=1, optimizer=optimizer)
    assert load_state(tmp_path / "state", other) == PROGRESS
    for _ in range(3):
        walk(trainer)
        walk(other)
    for one, two in zip(trainer.model.parameters(), other.model.parameters(), strict=True):
        assert torch.equal(one, two)
        for key, value in trainer.optimiser.state[one].items():
            assert torch.equal(value, other.optimiser.state[two][key]), key


def test_a_state_before_the_first_step_is_one_too(tmp_path):
    trainer = make()
    save_state(tmp_path / "state", trainer, Progress())
    other = make(seed=1)
    progress = load_state(tmp_path / "state", other)
    assert progress == Progress()
    assert math.isinf(progress.best_perplexity)
    assert all(
        torch.equal(one, two)
        for one, two in zip(trainer.model.parameters(), other.model.parameters(), strict=True)
    )


def test_saving_again_replaces_the_state_and_leaves_nothing_beside_it(tmp_path):
    trainer = make(steps=1)
    for step in (1, 2):
        save_state(tmp_path / "state", trainer, Progress(step=step))
    assert load_state(tmp_path / "state", make()).step == 2
    assert [path.name for path in tmp_path.iterdir()] == ["state"]


def test_a_state_of_a_model_of_other_sizes_is_refused(tmp_path):
    save_state(tmp_path / "state", make(steps=1), PROGRESS)
    with pytest.raises(
        ValueError,
        match=r"cannot resume from .*state: .* has the shape \(.*\) in the file and \(.*\) "
        "with these options",
    ):
        load_state(tmp_path / "state", make(hidden=9))


def test_a_missing_state_is_refused_by_name(tmp_path):
    with pytest.raises(ValueError, match=r"cannot resume from .*nowhere"):
        load_state(tmp_path / "nowhere", make())


@pytest.mark.parametrize("damage", ["empty", "garbage", "cut short"])
def test_a_broken_state_is_refused_by_name(tmp_path, damage):
    path = tmp_path / "state"
    save_state(path, make(steps=1), PROGRESS)
    content = path.read_bytes()
    path.write_bytes(
        {"empty": b"", "garbage": b"\x07" * 500, "cut short": content[: len(content) // 2]}[damage]
    )
    with pytest.raises(ValueError, match=r"cannot resume from .*state"):
        load_state(path, make())


@pytest.mark.parametrize(
    "metadata",
    [
        None,
        {},
        {"progress": "no json"},
        {"progress": "[1]"},
        {"progress": json.dumps({**asdict(PROGRESS), "shoe_size": 44})},
    ],
)
def test_a_state_without_a_progress_that_is_known_is_refused(tmp_path, metadata):
    path = tmp_path / "state"
    save_state(path, make(steps=1), PROGRESS)
    save_file(load_file(path), path, metadata=metadata)
    with pytest.raises(ValueError, match=r"cannot resume from .*state"):
        load_state(path, make())


def test_a_state_that_lacks_a_tensor_is_refused(tmp_path):
    path = tmp_path / "state"
    save_state(path, make(steps=1), PROGRESS)
    tensors = load_file(path)
    del tensors["weights.readout.weight"]
    save_file(tensors, path, metadata={"progress": json.dumps(asdict(PROGRESS))})
    with pytest.raises(ValueError, match=r"cannot resume from .*readout\.weight"):
        load_state(path, make())


def test_a_state_of_another_optimiser_is_refused(tmp_path):
    save_state(tmp_path / "state", make(steps=1), PROGRESS)
    with pytest.raises(
        ValueError, match="fitted with Adam and cannot continue with SGD; leave --optimizer out"
    ):
        load_state(tmp_path / "state", make(optimizer="sgd"))


def test_a_state_from_before_there_was_a_choice_goes_on_by_adam(tmp_path):
    path = tmp_path / "state"
    trainer = make(steps=3)
    save_state(path, trainer, PROGRESS)
    tensors = {
        name.replace("optimizer.", "adam.", 1): tensor for name, tensor in load_file(path).items()
    }
    save_file(tensors, path, metadata={"progress": json.dumps(asdict(PROGRESS))})
    other = make(seed=1)
    load_state(path, other)
    for one, two in zip(trainer.model.parameters(), other.model.parameters(), strict=True):
        for key, value in trainer.optimiser.state[one].items():
            assert torch.equal(value, other.optimiser.state[two][key]), key


DATA = {"vocabulary": "a" * 64, "train split": "b" * 64}


def test_a_state_belongs_to_its_data(tmp_path):
    path = tmp_path / "state"
    save_state(path, make(steps=1), PROGRESS, data=DATA)
    assert load_state(path, make(), data=DATA) == PROGRESS
    trainer = make(seed=1)
    before = [parameter.clone() for parameter in trainer.model.parameters()]
    with pytest.raises(
        ValueError,
        match=r"the vocabulary has changed \(sha256 a{12}\.\.\. then, c{12}\.\.\. now\)",
    ):
        load_state(path, trainer, data={**DATA, "vocabulary": "c" * 64})
    assert all(
        torch.equal(one, two) for one, two in zip(before, trainer.model.parameters(), strict=True)
    ), "nothing was read"
    assert load_state(path, make(), data={"another split": "d"}) == PROGRESS, (
        "what only one of them names is not compared"
    )


def test_weights_that_are_no_numbers_are_not_saved_over_those_that_are(tmp_path):
    path = tmp_path / "state"
    trainer = make(steps=1)
    save_state(path, trainer, PROGRESS)
    content = path.read_bytes()
    with torch.no_grad():
        trainer.model.readout.weight[3, 1] = float("inf")
    with pytest.raises(
        ValueError,
        match=r"readout\.weight is not finite at step 12; lower --learning-rate",
    ):
        save_state(path, trainer, PROGRESS)
    assert path.read_bytes() == content
