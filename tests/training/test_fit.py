import json
import math
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from dialogue import checkpoint
from dialogue.agent import DialogueAgent
from dialogue.config import DecodeConfig
from tests.training.conftest import SMALL
from training import batches, fit, report
from training.config import FitConfig
from training.corpora.transcript import split_of
from training.fit import learning_rate_at
from training.state import Progress

ROOT = Path(__file__).parents[2]


@pytest.fixture
def data(conversations, word_vocabulary):
    """The same as tensors, to be learnt by heart: validation is training."""
    train = batches.encode(conversations, word_vocabulary, truncate=None)
    planned = batches.plan(train.conversations, batch_tokens=10_000, rng=random.Random(0))
    return fit.Data(word_vocabulary, train, [batches.collate(windows, pad_id=word_vocabulary.pad_id) for windows in planned])


def log(out):
    return [json.loads(line) for line in (out / "log.jsonl").read_text(encoding="utf-8").splitlines()]


def figures(out):
    """What a run measured at each step that it validated at. A step that was validated twice shows the last figures."""
    return {row["step"]: (row["loss"], row["perplexity"], row["accuracy"], row["best_perplexity"]) for row in log(out)}


def progress_of(out):
    with safe_open(out / "state.safetensors", framework="pt") as file:
        return Progress(**json.loads(file.metadata()["progress"]))


def close(found, expected):
    assert found.keys() == expected.keys()
    for step in expected:
        assert found[step] == pytest.approx(expected[step], rel=1e-6), step


def same_weights(one, other):
    ours, theirs = load_file(one / "state.safetensors"), load_file(other / "state.safetensors")
    assert ours.keys() == theirs.keys()
    for name in ours:
        torch.testing.assert_close(ours[name], theirs[name], rtol=1e-5, atol=1e-7, msg=name)


@pytest.fixture
def minute_steps(monkeypatch):
    """A clock on which every training step takes a minute: the time now, in a list."""
    now, original = [1e6], fit.Trainer.step

    def slow(self, batch, **options):
        now[0] += 60
        return original(self, batch, **options)

    monkeypatch.setattr(fit.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(fit.Trainer, "step", slow)
    return now


def stop_at(monkeypatch, step, error=KeyboardInterrupt):
    """Make the training step of that number fail."""
    original, taken = fit.Trainer.step, []

    def limited(self, batch, **options):
        taken.append(options)
        if len(taken) == step:
            raise error
        return original(self, batch, **options)

    monkeypatch.setattr(fit.Trainer, "step", limited)


# --- learning ------------------------------------------------------------------------------------------------------------


def test_twenty_conversations_are_learnt_by_heart_in_a_few_hundred_steps(data, tmp_path):
    config = FitConfig(data=("by hand",), batch_tokens=250, epochs=80, validations=0.1, learning_rate=1e-2, precision="fp32")
    sizes = {"embedding": 24, "utterance": 24, "context": 24, "hidden": 24, "dropout": 0.0}
    progress = fit.fit(config, sizes, data, out=tmp_path, device=torch.device("cpu"))
    assert progress.step <= 300
    rows = log(tmp_path)
    assert rows[0]["loss"] > 3
    assert rows[-1]["loss"] < 0.6  # every tenth turn is learnt without its history, and cannot be known
    assert progress.best_perplexity < 1.6
    assert rows[-1]["accuracy"] > 0.9
    agent = DialogueAgent(checkpoint.load(tmp_path / "checkpoint"), decode=DecodeConfig(anti_lm=0.0))
    assert agent.respond(["a", "b"], ["do you like music?", "what time is it?"]) == ["yes, i like jazz", "it is late"]


def taken(data, config, steps):
    """The first batches of a run: (epoch, token ids, turns without history)."""
    progress, found = Progress(), []
    for step in fit.steps_of(data, config, progress):
        found.append((progress.epoch, step.share.token_ids.tolist(), step.share.without_history.tolist()))
        progress.step, progress.batch = progress.step + 1, progress.batch + 1
        if len(found) == steps:
            return found
    raise AssertionError("the steps of a run have no end")


def test_each_epoch_takes_every_turn_once_in_an_order_of_its_own(data):
    found = taken(data, FitConfig(data=(), batch_tokens=60), 60)
    epochs = [[rows for epoch, rows, _ in found if epoch == number] for number in range(2)]
    assert found[-1][0] >= 2, "two whole epochs"
    expected = sorted(tuple(turn) for conversation in data.train.conversations for turn in conversation)
    for batches_of_epoch in epochs:
        read = [tuple(t for t in row if t != data.vocabulary.pad_id) for rows in batches_of_epoch for row in rows]
        assert sorted(read) == expected
    assert epochs[0] != epochs[1]


def test_a_tenth_of_all_turns_is_learnt_without_history(data):
    found = [without for _, _, rows in taken(data, FitConfig(data=(), batch_tokens=500), 60) for without in rows]
    assert len(found) > 1500
    assert sum(found) / len(found) == pytest.approx(0.1, abs=0.03)


def test_the_seed_decides_what_is_random_in_every_step(data):
    one, same, other = (taken(data, FitConfig(data=(), batch_tokens=100, seed=seed), 12) for seed in (1, 1, 2))
    assert one == same
    assert one != other


# --- what a run leaves ---------------------------------------------------------------------------------------------------


def test_a_run_leaves_a_checkpoint_a_state_a_log_and_its_curves(options, talk, tmp_path, capsys):
    assert fit.main([*options, "--seed=3", "--dropout=0.1", "--no-bidirectional"]) == 0
    out = tmp_path / "run"
    files = ["checkpoint", "log.jsonl", "loss.png", "run.json", "state.safetensors"]
    assert sorted(path.name for path in out.iterdir()) == files
    assert (out / "loss.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")

    settings = json.loads((out / "checkpoint" / "config.json").read_text(encoding="utf-8"))
    assert settings["model"] == {
        **SMALL,
        "vocab_size": settings["model"]["vocab_size"],
        "bidirectional": False,
        "readout": "linear",
        "dropout": 0.1,
    }
    asked = {"data": [str(talk / "talk.jsonl")], "batch_tokens": 100, "epochs": 2.0, "seed": 3, "learning_rate": 0.05}
    assert asked.items() <= settings["training"]["config"].items()
    assert settings["training"]["config"].keys() == asdict(FitConfig(data=())).keys()

    rows = log(out)
    steps = [row["step"] for row in rows]
    assert len(rows) == 4
    assert steps == sorted(set(steps))
    assert rows[-1]["tokens"] > rows[0]["tokens"] > 0
    best = min(rows, key=lambda row: row["perplexity"])
    assert settings["training"]["progress"]["step"] == best["step"]
    assert rows[-1]["best_perplexity"] == best["perplexity"] < len(checkpoint.load(out / "checkpoint").vocabulary)

    said = capsys.readouterr()
    assert f"best validation perplexity {best['perplexity']:.2f} a token after {steps[-1]} steps" in said.out
    assert f"python -m dialogue --checkpoint {out / 'checkpoint'}" in said.out
    assert "what's your favorite movie?  ->" in said.out
    assert "train: 20 conversations, 80 turns" in said.out
    assert "validation: 5 conversations, 20 turns" in said.out


def test_the_best_checkpoint_is_the_model_that_was_validated(options, talk, tmp_path):
    """Perplexity of the saved checkpoint, by hand from its own log-likelihoods, first turns left out."""
    assert fit.main([*options, "--epochs=1"]) == 0
    saved = checkpoint.load(tmp_path / "run" / "checkpoint")
    found = fit.prepare(
        FitConfig(data=(str(talk / "talk.jsonl"),)), vocabulary_file=talk / "vocabulary.model", skip_bad_lines=False
    )
    log_probs, tokens = 0.0, 0
    for batch in found.validation:
        with torch.no_grad():
            likelihood = saved.model.log_likelihood(batch)
        later = torch.ones(len(batch.lengths), dtype=torch.bool)
        later[torch.tensor([0, *batch.turns.cumsum(0)[:-1].tolist()])] = False
        log_probs += float(likelihood.log_probs[later].sum())
        tokens += int(batch.lengths[later].sum())
    best = min(row["perplexity"] for row in log(tmp_path / "run"))
    assert math.exp(-log_probs / tokens) == pytest.approx(best, rel=5e-3), "half precision on disk"


def test_turns_above_the_limit_are_cut_and_counted(options, capsys):
    assert fit.main([*options, "--truncate=4", "--epochs=0.2"]) == 0
    said = capsys.readouterr().out
    assert "turns cut at 4" in said
    assert " 0 turns cut at 4" not in said


def test_without_a_vocabulary_one_is_built_from_the_training_split(options, tmp_path):
    named = [option for option in options if not option.startswith("--vocabulary")]
    assert fit.main([*named, "--epochs=0.2"]) == 0
    vocabulary = checkpoint.load(tmp_path / "run" / "checkpoint").vocabulary
    assert len(vocabulary) > 256, "unigram, with bytes to fall back on"
    assert vocabulary.decode(vocabulary.encode("do you like müsli?")) == "do you like müsli?"


def test_a_run_is_named_by_its_data(options, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert fit.main([*options[:-1], "--epochs=0.2"]) == 0
    assert (tmp_path / "runs" / "talk" / "checkpoint").is_dir()


# --- going on ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wishes",
    [
        "--precision=fp32",
        "--precision=bf16",
        "--teacher-forcing 0.9 0.2 --teacher-forcing-by=sample --optimizer=sgd",
        "--unlikelihood=1 --label-smoothing=0.1 --optimizer=adamw",
    ],
)
def test_a_run_that_was_interrupted_goes_on_as_if_nothing_had_happened(options, tmp_path, monkeypatch, capsys, wishes):
    """With dropout, history dropout and words of its own, whose numbers come from the seed and the step alone."""
    undisturbed, stopped = tmp_path / "undisturbed", tmp_path / "stopped"
    common = [*options[:-1], *wishes.split()]
    assert fit.main([*common, f"--out={undisturbed}"]) == 0
    stop_at(monkeypatch, 8)
    assert fit.main([*common, f"--out={stopped}"]) == 130
    assert "go on with --resume" in capsys.readouterr().err
    assert 0 < len(log(stopped)) < len(log(undisturbed))
    monkeypatch.undo()
    assert fit.main(["--resume", f"--out={stopped}", "--device=cpu"]) == 0
    close(figures(stopped), figures(undisturbed))
    same_weights(stopped, undisturbed)


def test_a_finished_run_goes_on_with_more_epochs_as_one_that_was_longer_from_the_start(options, tmp_path):
    long, short = tmp_path / "long", tmp_path / "short"
    assert fit.main([*options[:-1], "--epochs=3", f"--out={long}"]) == 0
    assert fit.main([*options[:-1], "--epochs=1", f"--out={short}"]) == 0
    assert fit.main(["--resume", "--epochs=3", f"--out={short}", "--device=cpu"]) == 0
    close(figures(short), figures(long))
    same_weights(short, long)
    assert checkpoint.load(short / "checkpoint").training["config"]["epochs"] == 3


def test_what_is_asked_for_at_a_resumption_holds_for_the_next_one_though_nothing_gets_better(options, tmp_path):
    """It was written down with the next best validation only; until then the next resumption went back to the old wish."""
    out = tmp_path / "run"
    assert fit.main([*options[:-1], "--epochs=1", f"--out={out}"]) == 0
    before = checkpoint.load(out / "checkpoint").training
    assert fit.main(["--resume", "--learning-rate=0.5", f"--out={out}", "--device=cpu"]) == 0
    after = checkpoint.load(out / "checkpoint").training
    assert after["config"] == {**before["config"], "learning_rate": 0.5}
    assert after["progress"] == before["progress"]


@pytest.mark.parametrize("validation", [1, 2])
def test_a_run_that_died_between_its_log_and_its_state_logs_each_step_once(options, tmp_path, monkeypatch, validation):
    """The row of a validation is written before the state; killed between them, the run that went on wrote the row again."""
    shown = []

    def die(model):
        shown.append(model)
        if len(shown) == validation:
            raise KeyboardInterrupt
        return [""] * len(report.OPENINGS)

    monkeypatch.setattr(report, "sample_replies", die)
    assert fit.main(options) == 130
    out = tmp_path / "run"
    assert fit.main(["--resume", f"--out={out}", "--device=cpu"]) == 0
    steps = [row["step"] for row in log(out)]
    assert len(steps) == 4
    assert steps == sorted(set(steps))


def test_the_state_is_saved_at_each_validation_however_long_the_machine_is_up(options, tmp_path, monkeypatch):
    """The clock counts from the machine's start: in its first five minutes "never saved" looked like "saved just now"."""
    start = time.monotonic()
    real = time.monotonic
    monkeypatch.setattr(fit.time, "monotonic", lambda: real() - start + 10)
    stop_at(monkeypatch, 8)
    assert fit.main(options) == 130
    assert (tmp_path / "run" / "state.safetensors").is_file()


def test_a_run_stops_when_its_minutes_are_over_and_goes_on_when_given_more(options, tmp_path, minute_steps):
    undisturbed, timed = tmp_path / "undisturbed", tmp_path / "timed"
    assert fit.main([*options[:-1], f"--out={undisturbed}"]) == 0
    assert fit.main([*options[:-1], "--minutes=3.5", f"--out={timed}"]) == 0
    assert progress_of(timed).step == 4
    minute_steps[0] += 1e5  # a night between the two processes does not count
    assert fit.main(["--resume", "--minutes=1000", f"--out={timed}", "--device=cpu"]) == 0
    assert progress_of(timed).seconds == pytest.approx(60 * log(undisturbed)[-1]["step"])
    same_weights(timed, undisturbed)


def test_a_run_that_its_minutes_end_keeps_what_it_has_learnt(options, tmp_path, minute_steps, capsys):
    """It left without a validation: the checkpoint was the one of the last validation, or the untrained model that it began with."""
    assert fit.main([*options, "--minutes=2.5", "--validations=0.5"]) == 0
    assert "perplexity inf" not in capsys.readouterr().out
    assert [row["step"] for row in log(tmp_path / "run")] == [3]
    assert checkpoint.load(tmp_path / "run" / "checkpoint").training["progress"]["step"] == 3


@pytest.mark.slow
def test_a_run_that_was_killed_goes_on_as_if_nothing_had_happened(options, tmp_path):
    """A real process and a real SIGKILL, as soon as its second validation shows in the log."""
    undisturbed, killed = tmp_path / "undisturbed", tmp_path / "killed"
    common = [*options[:-1], "--epochs=4"]
    assert fit.main([*common, f"--out={undisturbed}"]) == 0
    process = subprocess.Popen(
        [sys.executable, "-m", "training.fit", *common, f"--out={killed}"],
        cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 60
        while not (killed / "log.jsonl").exists() or (killed / "log.jsonl").read_bytes().count(b"\n") < 2:
            assert process.poll() is None, "it ended before it could be killed"
            assert time.monotonic() < deadline
            time.sleep(0.01)
    finally:
        process.kill()
        assert process.wait() == -signal.SIGKILL
    assert len(log(killed)) < len(log(undisturbed)) == 8
    assert fit.main(["--resume", f"--out={killed}", "--device=cpu"]) == 0
    close(figures(killed), figures(undisturbed))
    same_weights(killed, undisturbed)


# --- what is refused -----------------------------------------------------------------------------------------------------


def test_a_run_is_not_begun_over_another(options, tmp_path, capsys):
    assert fit.main([*options, "--epochs=0.2"]) == 0
    before = (tmp_path / "run" / "state.safetensors").read_bytes()
    assert fit.main([*options, "--epochs=0.2"]) == 2
    assert "run holds a run already; go on with it by --resume, or name another folder" in capsys.readouterr().err
    assert (tmp_path / "run" / "state.safetensors").read_bytes() == before


@pytest.mark.parametrize(
    ("option", "complaint"),
    [
        ("--batch-tokens=0", "--batch-tokens is 0; it must be at least 1"),
        ("--truncate=1", "--truncate is 1; it must be at least 2"),
        ("--learning-rate=0", "--learning-rate is 0.0; it must be at least"),
        ("--learning-rate=nan", "--learning-rate is nan"),
        ("--epochs=-1", "--epochs is -1.0; it must be at least"),
        ("--validations=0", "--validations is 0.0; it must be at least"),
        ("--label-smoothing=1", "--label-smoothing is 1.0; it is a share, from 0 to below 1"),
        ("--unlikelihood=-1", "--unlikelihood is -1.0; it is a weight, 0 or more"),
        ("--schedule=linear", "--schedule is 'linear'; it is plateau, cosine or constant"),
        ("--precision=fp8", "--precision is 'fp8'; it is auto, fp32 or bf16"),
        ("--hidden=0", "hidden is 0; it must be 1 or more"),
        ("--utterance=7", "utterance is 7; a bidirectional encoder needs an even size"),
        ("--dropout=1", "dropout is 1.0; it must be at least 0 and below 1"),
        ("--device=abacus", "device 'abacus' is not there"),
        ("--data=nowhere.jsonl", "no corpus 'nowhere.jsonl'"),
        ("--vocabulary=nowhere.model", "no vocabulary at nowhere.model"),
    ],
)
def test_an_option_out_of_reach_is_a_sentence(options, tmp_path, capsys, option, complaint):
    assert fit.main([*options, option]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert complaint in error
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("option", ["--epochs=many", "--layers=3", "--batch-tokens=1.5"])
def test_an_option_that_is_none_shows_the_usage(options, capsys, option):
    with pytest.raises(SystemExit) as stopped:
        fit.main([*options, option])
    assert stopped.value.code == 2
    assert "usage: python -m training.fit" in capsys.readouterr().err


def test_there_is_nothing_to_resume_in_an_empty_folder(tmp_path, capsys):
    assert fit.main(["--resume", f"--out={tmp_path}"]) == 2
    assert "is no checkpoint: it lacks model.safetensors" in capsys.readouterr().err


def test_a_run_is_not_resumed_with_other_sizes(options, tmp_path, capsys):
    assert fit.main([*options, "--epochs=0.2"]) == 0
    assert fit.main(["--resume", f"--out={tmp_path / 'run'}", "--hidden=12", "--device=cpu"]) == 2
    assert "cannot resume from" in capsys.readouterr().err


def test_a_checkpoint_that_no_run_wrote_is_not_resumed(talker, tmp_path, capsys):
    """A checkpoint without the configuration of a run was a KeyError, with a stack trace."""
    checkpoint.save(tmp_path / "checkpoint", talker)
    assert fit.main(["--resume", f"--out={tmp_path}"]) == 2
    assert capsys.readouterr().err.startswith("error: ")


def test_a_loss_that_is_no_number_stops_the_run(options, tmp_path, capsys, monkeypatch):
    original = fit.Trainer.step

    def broken(self, batch, **options):
        return original(self, batch, **options)._replace(loss=torch.tensor(float("nan")))

    monkeypatch.setattr(fit.Trainer, "step", broken)
    assert fit.main(options) == 2
    assert "the loss is nan at step" in capsys.readouterr().err
    assert progress_of(tmp_path / "run").step == 0, "the state before it is kept"


# --- learning rates and stopping -----------------------------------------------------------------------------------------


def test_the_learning_rate_warms_up_step_by_step():
    config = FitConfig(data=(), learning_rate=0.4)
    rates = [learning_rate_at(config, Progress(step=step), 10_000) for step in (0, 99, 199, 200, 5000)]
    assert rates == pytest.approx([0.4 / 200, 0.2, 0.4, 0.4, 0.4])


def test_the_plateau_schedule_halves_by_hand():
    config = FitConfig(data=(), learning_rate=0.4, schedule="plateau")
    rates = [learning_rate_at(config, Progress(step=5000, halvings=halvings), 10_000) for halvings in range(4)]
    assert rates == pytest.approx([0.4, 0.2, 0.1, 0.05])


def test_the_cosine_schedule_falls_by_hand():
    config = FitConfig(data=(), learning_rate=0.4, schedule="cosine")
    rates = [learning_rate_at(config, Progress(step=step, halvings=3), 9000) for step in (3000, 4500, 6000, 9000, 12_000)]
    assert rates == pytest.approx([0.3, 0.2, 0.1, 0.004, 0.004])


def test_the_share_of_true_words_goes_from_the_first_to_the_second_in_a_line():
    config = FitConfig(data=("x",), teacher_forcing=(0.9, 0.5))
    shares = [fit.teacher_forcing_at(config, Progress(step=step), 100) for step in (0, 25, 100, 120)]
    assert shares == pytest.approx([0.9, 0.8, 0.5, 0.5])


def validated(monkeypatch, perplexities):
    """Make validation find these perplexities, one after the other, and note the learning rate of each step."""
    left, rates = iter(perplexities), []
    original = fit.Trainer.step

    def step(self, batch, *, learning_rate, **options):
        rates.append(learning_rate)
        return original(self, batch, learning_rate=learning_rate, **options)

    monkeypatch.setattr(fit.Trainer, "step", step)
    monkeypatch.setattr(fit.Trainer, "validate", lambda self, planned: (next(left), 0.5))
    monkeypatch.setattr(fit, "WARMUP_STEPS", 1)
    monkeypatch.setattr(report, "draw_curves", lambda out: None)
    return rates


def test_without_gain_the_learning_rate_is_halved_and_at_last_the_run_stops(options, tmp_path, monkeypatch):
    rates = validated(monkeypatch, [50.0, 40.0, 41.0, 40.0, 39.0, 39.5, 39.0, 39.0, 60.0, 1.0])
    assert fit.main([*options, "--epochs=50", "--validations=1", "--schedule=plateau"]) == 0
    rows = log(tmp_path / "run")
    assert [row["perplexity"] for row in rows] == [50.0, 40.0, 41.0, 40.0, 39.0, 39.5, 39.0, 39.0, 60.0], "four without gain"
    assert [row["bad_validations"] for row in rows] == [0, 0, 1, 2, 0, 1, 2, 3, 4]
    assert [row["halvings"] for row in rows] == [0, 0, 1, 2, 2, 3, 4, 5, 6]
    assert rows[-1]["best_perplexity"] == 39.0
    steps = [0, *(row["step"] for row in rows)]
    assert len(rates) == steps[-1]
    for number, halvings in enumerate([0, 0, 0, 1, 2, 2, 3, 4, 5]):
        assert rates[steps[number] : steps[number + 1]] == pytest.approx([0.05 / 2**halvings] * (steps[number + 1] - steps[number]))
    assert checkpoint.load(tmp_path / "run" / "checkpoint").training["progress"]["step"] == rows[4]["step"]


def test_a_run_that_stopped_for_want_of_gain_does_not_go_on_by_itself(options, tmp_path, monkeypatch):
    rates = validated(monkeypatch, [5.0] * 9)
    assert fit.main([*options, "--epochs=50", "--validations=1"]) == 0
    taken = len(rates)
    assert fit.main(["--resume", f"--out={tmp_path / 'run'}", "--device=cpu"]) == 0
    assert len(rates) == taken
    assert len(log(tmp_path / "run")) == 5


# --- beginning with another run's weights ----------------------------------------------------------------------------------


def test_a_run_that_starts_from_a_checkpoint_has_its_weights_vocabulary_and_sizes(options, tmp_path):
    assert fit.main([*options, "--epochs=0.2"]) == 0
    first = tmp_path / "run" / "checkpoint"
    sizes_and_data = [
        option for option in options if not option.startswith(("--vocabulary", "--out", *(f"--{name}=" for name in SMALL)))
    ]
    out = tmp_path / "second"
    again = [*sizes_and_data, "--learning-rate=1e-12", "--epochs=0.2", f"--start-from={first}", f"--out={out}"]
    assert fit.main(again) == 0
    ours, theirs = load_file(first / "model.safetensors"), load_file(out / "checkpoint" / "model.safetensors")
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert (first / "vocabulary.model").read_bytes() == (out / "checkpoint" / "vocabulary.model").read_bytes()


@pytest.mark.parametrize(
    ("option", "complaint"),
    [
        ("--hidden=3", "leave --hidden out"),
        ("--vocabulary=other.model", "leave --vocabulary out"),
        ("--resume", "leave --start-from out"),
    ],
)
def test_what_a_checkpoint_settles_cannot_be_asked_for_as_well(option, complaint, options, tmp_path, capsys):
    assert fit.main([*options, "--epochs=0.2"]) == 0
    kept = [o for o in options if not o.startswith(("--vocabulary", *(f"--{name}=" for name in SMALL)))]
    out = [] if option == "--resume" else [f"--out={tmp_path / 'second'}"]
    assert fit.main([*kept, *out, f"--start-from={tmp_path / 'run' / 'checkpoint'}", option]) == 2
    assert complaint in capsys.readouterr().err
    assert not (tmp_path / "second").exists()


def test_a_run_cleans_what_it_learns_and_says_so(options, talk, tmp_path, capsys):
    key = next(str(n) for n in range(500, 600) if split_of(str(n)) == "train")
    more = json.dumps({"id": key, "turns": ["what's your name?", "my name is xavier."]}) + "\n"
    corpus = tmp_path / "more.jsonl"
    corpus.write_text((talk / "talk.jsonl").read_text(encoding="utf-8") + more, encoding="utf-8")
    assert fit.main([f"--data={corpus}", *options[1:], "--epochs=0.2"]) == 0
    assert "cleaned: 1 introductions by name, 1 answers to who somebody is, not learnt" in capsys.readouterr().out
    out = tmp_path / "as it is"
    assert fit.main([f"--data={corpus}", *options[1:-1], "--epochs=0.2", "--no-clean", f"--out={out}"]) == 0
    assert "cleaned" not in capsys.readouterr().out


def test_a_run_from_before_cleaning_goes_on_without_it(options, tmp_path, capsys):
    """What a checkpoint does not speak of was not done: the corpus and the batches of the run stay what they were."""
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
