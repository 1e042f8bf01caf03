"""`pytest --device cuda`: a GPU fits what the CPU fits, and a run goes from one to the other."""

import pytest
import torch

from tests.training.conftest import figures, log
from tests.training.run.test_resume import stop_at
from tests.training.run.test_trainer import CONVERSATIONS, EOS
from training import fit
from training.data.batches import collate
from training.run.trainer import Trainer

from .test_trainer import make

BATCH = collate([*CONVERSATIONS, [[4, 4, EOS], [9, EOS]]], pad_id=0)


@pytest.fixture
def gpu(device):
    if device.type != "cuda":
        pytest.skip("not run: it takes a GPU and --device cuda")
    return device


def trainer_on(device, **settings):
    precision = settings.pop("precision", "fp32")
    model = make(**settings).model
    return Trainer(model, learning_rate=1e-2, precision=precision, device=device)


def losses(trainer, steps):
    return [float(trainer.step(BATCH, learning_rate=1e-2).loss) for _ in range(steps)]


def test_steps_in_fp32_are_those_of_the_cpu(gpu):
    here, there = trainer_on(torch.device("cpu")), trainer_on(gpu)
    assert losses(there, 5) == pytest.approx(losses(here, 5), rel=1e-5)
    for (name, mine), other in zip(
        there.model.named_parameters(), here.model.parameters(), strict=True
    ):
        torch.testing.assert_close(
            mine.detach().cpu(), other.detach(), atol=1e-4, rtol=1e-4, msg=name
        )


@pytest.mark.parametrize("dropout", [0.0, 0.2])
def test_steps_in_bf16_learn_what_fp32_learns(gpu, dropout):
    exact, rounded = trainer_on(gpu), trainer_on(gpu, precision="bf16", dropout=dropout)
    expected, found = losses(exact, 60), losses(rounded, 60)
    assert found[0] == pytest.approx(expected[0], rel=0.2 if dropout else 0.02)
    assert found[-1] < 0.6 * found[0]
    assert all(p.dtype == torch.float32 for p in rounded.model.parameters())
    assert all(bool(torch.isfinite(p).all()) for p in rounded.model.parameters())


def test_a_step_reports_without_waiting_for_the_gpu(gpu):
    metrics = trainer_on(gpu).step(BATCH, learning_rate=1e-2)
    assert {figure.device.type for figure in metrics} == {"cuda"}


def test_a_run_of_the_cpu_goes_on_there_and_back(gpu, options, tmp_path, capsys):
    """Without dropout, whose random numbers a GPU draws otherwise."""
    undisturbed, moved = tmp_path / "undisturbed", tmp_path / "moved"
    common = [*options[:-1], "--dropout=0", "--history-dropout=0"]
    assert fit.main([*common, f"--out={undisturbed}"]) == 0
    assert fit.main([*common, f"--out={moved}"], hooks=stop_at(5)) == 130
    again = ["--resume", f"--out={moved}"]
    assert fit.main([*again, "--device=cuda"], hooks=stop_at(3)) == 130
    assert fit.main([*again, "--device=cpu"]) == 0
    capsys.readouterr()
    assert len(log(moved)) >= len(log(undisturbed)) > 0
    expected, found = figures(undisturbed), figures(moved)
    assert found.keys() == expected.keys()
    for step, values in expected.items():
        assert found[step] == pytest.approx(values, rel=1e-3), step
