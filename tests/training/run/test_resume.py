"""A run that was interrupted, or has ended, can be resumed."""

import json
import time
from dataclasses import replace

import pytest

from dialogue import checkpoint
from tests.training.conftest import close, figures, log, progress_of, same_weights
from training import fit
from training.fit import Hooks


@pytest.fixture
def now():
    """The time of a clock that stands still, in a list."""
    return [1e6]


@pytest.fixture
def minute_steps(now):
    """Hooks with which every training step takes a minute."""

    def pass_a_minute(run):
        now[0] += 60

    return Hooks(clock=lambda: now[0], before_step=pass_a_minute)


def stop_at(step):
    """Return hooks that interrupt a run at the n-th training step."""
    taken = []

    def limited(run):
        taken.append(run.progress.step)
        if len(taken) == step:
            raise KeyboardInterrupt

    return Hooks(before_step=limited)


@pytest.mark.parametrize(
    "wishes",
    [
        "--precision=fp32",
        "--precision=bf16",
        "--teacher-forcing 0.9 0.2 --teacher-forcing-by=sample --optimizer=sgd",
        "--unlikelihood=1 --label-smoothing=0.1 --optimizer=adamw",
    ],
)
def test_a_run_that_was_interrupted_goes_on_as_if_nothing_had_happened(
    options, tmp_path, capsys, wishes
):
    """With dropout, history dropout and scheduled sampling, whose random numbers depend only on the
    seed and the step.
    """
    undisturbed, stopped = tmp_path / "undisturbed", tmp_path / "stopped"
    common = [*options[:-1], *wishes.split()]
    assert fit.main([*common, f"--out={undisturbed}"]) == 0
    assert fit.main([*common, f"--out={stopped}"], hooks=stop_at(8)) == 130
    assert "go on with --resume" in capsys.readouterr().err
    assert 0 < len(log(stopped)) < len(log(undisturbed))
    assert fit.main(["--resume", f"--out={stopped}", "--device=cpu"]) == 0
    close(figures(stopped), figures(undisturbed))
    same_weights(stopped, undisturbed)


def test_a_finished_run_goes_on_with_more_epochs_as_one_that_was_longer_from_the_start(
    options, tmp_path
):
    long, short = tmp_path / "long", tmp_path / "short"
    assert fit.main([*options[:-1], "--epochs=3", f"--out={long}"]) == 0
    assert fit.main([*options[:-1], "--epochs=1", f"--out={short}"]) == 0
    assert fit.main(["--resume", "--epochs=3", f"--out={short}", "--device=cpu"]) == 0
    close(figures(short), figures(long))
    same_weights(short, long)
    assert checkpoint.load(short / "checkpoint").training["config"]["epochs"] == 3


def test_what_is_asked_for_at_a_resumption_holds_for_the_next_one_though_nothing_gets_better(
    options, tmp_path
):
    """Settings used to be saved only with the next best validation; until then, the next --resume
    used the old ones.
    """
    out = tmp_path / "run"
    assert fit.main([*options[:-1], "--epochs=1", f"--out={out}"]) == 0
    before = checkpoint.load(out / "checkpoint").training
    assert fit.main(["--resume", "--learning-rate=0.5", f"--out={out}", "--device=cpu"]) == 0
    after = checkpoint.load(out / "checkpoint").training
    assert after["config"] == {**before["config"], "learning_rate": 0.5}
    assert after["progress"] == before["progress"]


@pytest.mark.parametrize("validation", [1, 2])
def test_a_run_that_died_between_its_log_and_its_state_logs_each_step_once(
    options, tmp_path, monkeypatch, validation
):
    """A validation is logged before the state is saved; a run killed in between logged it again
    when resumed.
    """
    saved, save_state = [], fit.save_state

    def die(*arguments, **data):
        saved.append(arguments)
        if len(saved) > validation:  # the first is from before the first step
            raise KeyboardInterrupt
        save_state(*arguments, **data)

    monkeypatch.setattr(fit, "save_state", die)
    assert fit.main(options) == 130
    monkeypatch.undo()
    out = tmp_path / "run"
    assert fit.main(["--resume", f"--out={out}", "--device=cpu"]) == 0
    steps = [row["step"] for row in log(out)]
    assert len(steps) == 4
    assert steps == sorted(set(steps))


def test_the_state_is_saved_at_each_validation_however_long_the_machine_is_up(options, tmp_path):
    """The clock counts from boot: in the first five minutes, "never saved" looked like "just
    saved".
    """
    start = time.monotonic()
    hooks = replace(stop_at(8), clock=lambda: time.monotonic() - start + 10)
    assert fit.main(options, hooks=hooks) == 130
    assert (tmp_path / "run" / "state.safetensors").is_file()


def test_a_run_stops_when_its_minutes_are_over_and_goes_on_when_given_more(
    options, tmp_path, minute_steps, now
):
    undisturbed, timed = tmp_path / "undisturbed", tmp_path / "timed"
    assert fit.main([*options[:-1], f"--out={undisturbed}"], hooks=minute_steps) == 0
    timed_options = [*options[:-1], "--minutes=3.5", f"--out={timed}"]
    assert fit.main(timed_options, hooks=minute_steps) == 0
    assert progress_of(timed).step == 4
    now[0] += 1e5  # a night between the two processes does not count
    more = ["--resume", "--minutes=1000", f"--out={timed}", "--device=cpu"]
    assert fit.main(more, hooks=minute_steps) == 0
    assert progress_of(timed).seconds == pytest.approx(60 * log(undisturbed)[-1]["step"])
    same_weights(timed, undisturbed)


def test_a_run_that_its_minutes_end_keeps_what_it_has_learnt(
    options, tmp_path, minute_steps, capsys
):
    """It ended without a validation: the checkpoint was that of the last validation, or the
    untrained model.
    """
    assert fit.main([*options, "--minutes=2.5", "--validations=0.5"], hooks=minute_steps) == 0
    assert "perplexity inf" not in capsys.readouterr().out
    assert [row["step"] for row in log(tmp_path / "run")] == [3]
    assert checkpoint.load(tmp_path / "run" / "checkpoint").training["progress"]["step"] == 3


def test_a_run_from_before_cleaning_goes_on_without_it(options, tmp_path, capsys):
    """What a checkpoint does not mention was not done: the run's corpus and batches stay what they
    were.
    """
    assert fit.main([*options, "--epochs=0.2", "--no-clean", "--recognised=0"]) == 0
    file = tmp_path / "run" / "checkpoint" / "config.json"
    settings = json.loads(file.read_text())
    for name in ("clean", "recognised"):
        del settings["training"]["config"][name]
    file.write_text(json.dumps(settings))
    capsys.readouterr()
    assert fit.main(["--resume", f"--out={tmp_path / 'run'}", "--device=cpu", "--epochs=0.4"]) == 0
    assert "cleaned:" not in capsys.readouterr().out
    assert json.loads(file.read_text())["training"]["config"]["recognised"] == 0.0
