"""Learning rates, the share of true words, and when a run stops."""

import pytest

from dialogue import checkpoint
from tests.training.conftest import log
from training import fit
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


def validated(perplexities):
    """Return hooks by which validations find these perplexities in turn, and a list that records
    each step's learning rate.
    """
    left, rates = iter(perplexities), []

    def record(run):
        rates.append(run.trainer.optimiser.param_groups[0]["lr"])

    return fit.Hooks(after_step=record, validate=lambda run, batches: (next(left), 0.5)), rates


def test_without_gain_the_learning_rate_is_halved_and_at_last_the_run_stops(options, tmp_path):
    """All of it within the first 200 steps, in which the learning rate warms up."""
    hooks, rates = validated([50.0, 40.0, 41.0, 40.0, 39.0, 39.5, 39.0, 39.0, 60.0, 1.0])
    plateau = ["--epochs=50", "--validations=1", "--schedule=plateau"]
    assert fit.main([*options, *plateau], hooks=hooks) == 0
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
        taken = range(steps[number], steps[number + 1])
        assert [rates[step] for step in taken] == pytest.approx(
            [0.05 / 2**halvings * (step + 1) / 200 for step in taken]
        )
    assert (
        checkpoint.load(tmp_path / "run" / "checkpoint").training["progress"]["step"]
        == rows[4]["step"]
    )


def test_a_run_that_stopped_for_want_of_gain_does_not_go_on_by_itself(options, tmp_path):
    hooks, rates = validated([5.0] * 9)
    assert fit.main([*options, "--epochs=50", "--validations=1"], hooks=hooks) == 0
    taken = len(rates)
    resumed = ["--resume", f"--out={tmp_path / 'run'}", "--device=cpu"]
    assert fit.main(resumed, hooks=hooks) == 0
    assert len(rates) == taken
    assert len(log(tmp_path / "run")) == 5
