"""Learning rates, the share of true words, and when a run stops."""

import pytest

from dialogue import checkpoint
from tests.training.conftest import log
from training import fit
from training.run import log as run_log
from training.run import schedule
from training.run.config import FitConfig
from training.run.schedule import learning_rate_at, teacher_forcing_at
from training.run.state import Progress


def test_the_learning_rate_warms_up_step_by_step():
    config = FitConfig(data=(), learning_rate=0.4)
    rates = [
        learning_rate_at(config, Progress(step=step), 10_000) for step in (0, 99, 199, 200, 5000)
    ]
    assert rates == pytest.approx([0.4 / 200, 0.2, 0.4, 0.4, 0.4])


def test_the_plateau_schedule_halves_by_hand():
    config = FitConfig(data=(), learning_rate=0.4, schedule="plateau")
    rates = [
        learning_rate_at(config, Progress(step=5000, halvings=halvings), 10_000)
        for halvings in range(4)
    ]
    assert rates == pytest.approx([0.4, 0.2, 0.1, 0.05])


def test_the_cosine_schedule_falls_by_hand():
    config = FitConfig(data=(), learning_rate=0.4, schedule="cosine")
    rates = [
        learning_rate_at(config, Progress(step=step, halvings=3), 9000)
        for step in (3000, 4500, 6000, 9000, 12_000)
    ]
    assert rates == pytest.approx([0.3, 0.2, 0.1, 0.004, 0.004])


def test_the_share_of_true_words_goes_from_the_first_to_the_second_in_a_line():
    config = FitConfig(data=("x",), teacher_forcing=(0.9, 0.5))
    shares = [teacher_forcing_at(config, Progress(step=step), 100) for step in (0, 25, 100, 120)]
    assert shares == pytest.approx([0.9, 0.8, 0.5, 0.5])


def validated(monkeypatch, perplexities):
    """Make validations find these perplexities in turn, and record each step's learning rate."""
    left, rates = iter(perplexities), []
    original = fit.Trainer.step

    def step(self, batch, *, learning_rate, **options):
        rates.append(learning_rate)
        return original(self, batch, learning_rate=learning_rate, **options)

    monkeypatch.setattr(fit.Trainer, "step", step)
    monkeypatch.setattr(fit.Trainer, "validate", lambda self, planned: (next(left), 0.5))
    monkeypatch.setattr(schedule, "WARMUP_STEPS", 1)
    monkeypatch.setattr(run_log, "draw_curves", lambda out: None)
    return rates


def test_without_gain_the_learning_rate_is_halved_and_at_last_the_run_stops(
    options, tmp_path, monkeypatch
):
    rates = validated(monkeypatch, [50.0, 40.0, 41.0, 40.0, 39.0, 39.5, 39.0, 39.0, 60.0, 1.0])
    assert fit.main([*options, "--epochs=50", "--validations=1", "--schedule=plateau"]) == 0
    rows = log(tmp_path / "run")
    assert [row["perplexity"] for row in rows] == [
        50.0,
        40.0,
        41.0,
        40.0,
        39.0,
        39.5,
        39.0,
        39.0,
        60.0,
    ], "four without gain"
    assert [row["bad_validations"] for row in rows] == [0, 0, 1, 2, 0, 1, 2, 3, 4]
    assert [row["halvings"] for row in rows] == [0, 0, 1, 2, 2, 3, 4, 5, 6]
    assert rows[-1]["best_perplexity"] == 39.0
    steps = [0, *(row["step"] for row in rows)]
    assert len(rates) == steps[-1]
    for number, halvings in enumerate([0, 0, 0, 1, 2, 2, 3, 4, 5]):
        assert rates[steps[number] : steps[number + 1]] == pytest.approx(
            [0.05 / 2**halvings] * (steps[number + 1] - steps[number])
        )
    assert (
        checkpoint.load(tmp_path / "run" / "checkpoint").training["progress"]["step"]
        == rows[4]["step"]
    )


def test_a_run_that_stopped_for_want_of_gain_does_not_go_on_by_itself(
    options, tmp_path, monkeypatch
):
    rates = validated(monkeypatch, [5.0] * 9)
    assert fit.main([*options, "--epochs=50", "--validations=1"]) == 0
    taken = len(rates)
    assert fit.main(["--resume", f"--out={tmp_path / 'run'}", "--device=cpu"]) == 0
    assert len(rates) == taken
    assert len(log(tmp_path / "run")) == 5
