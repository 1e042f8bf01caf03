"""What a run learns, and what it leaves behind."""

import json
import math
import random
from dataclasses import asdict
from itertools import islice

import pytest
import torch

from dialogue import checkpoint
from dialogue.agent import DialogueAgent
from dialogue.config import DecodeConfig, ModelConfig
from tests.training.conftest import SMALL, log
from training import fit
from training.corpora.transcript import split_of
from training.data import batches
from training.run import schedule
from training.run.config import FitConfig
from training.run.state import Progress


@pytest.fixture
def data(conversations, word_vocabulary):
    """The same as tensors, to be memorised: validation is training."""
    train = batches.encode(conversations, word_vocabulary, truncate=None)
    planned = batches.plan(train.conversations, batch_tokens=10_000, rng=random.Random(0))
    return fit.Data(
        word_vocabulary,
        train,
        [batches.collate(windows, pad_id=word_vocabulary.pad_id) for windows in planned],
    )


def test_twenty_conversations_are_learnt_by_heart_in_a_few_hundred_steps(data, tmp_path):
    config = FitConfig(
        data=("by hand",),
        batch_tokens=250,
        epochs=80,
        validations=0.1,
        learning_rate=1e-2,
        precision="fp32",
    )
    sizes = {"embedding": 24, "utterance": 24, "context": 24, "hidden": 24, "dropout": 0.0}
    progress = fit.fit(config, sizes, data, out=tmp_path, device=torch.device("cpu"))
    assert progress.step <= 300
    rows = log(tmp_path)
    assert rows[0]["loss"] > 3
    assert (
        rows[-1]["loss"] < 0.6
    )  # every tenth turn is learnt without its history, and cannot be known
    assert progress.best_perplexity < 1.6
    assert rows[-1]["accuracy"] > 0.9
    agent = DialogueAgent(
        checkpoint.load(tmp_path / "checkpoint"), decode=DecodeConfig(anti_lm=0.0)
    )
    assert agent.respond(["a", "b"], ["do you like music?", "what time is it?"]) == [
        "yes, i like jazz",
        "it is late",
    ]


def taken(data, config, steps):
    """The first batches of a run: (epoch, token ids, turns without history)."""
    progress, found = Progress(), []
    for step in schedule.steps_of(data, config, progress):
        found.append(
            (progress.epoch, step.share.token_ids.tolist(), step.share.without_history.tolist())
        )
        progress.step, progress.batch = progress.step + 1, progress.batch + 1
        if len(found) == steps:
            return found
    raise AssertionError("the steps of a run have no end")


def test_each_epoch_takes_every_turn_once_in_an_order_of_its_own(data):
    found = taken(data, FitConfig(data=(), batch_tokens=60), 60)
    epochs = [[rows for epoch, rows, _ in found if epoch == number] for number in range(2)]
    assert found[-1][0] >= 2, "two whole epochs"
    expected = sorted(
        tuple(turn) for conversation in data.train.conversations for turn in conversation
    )
    for batches_of_epoch in epochs:
        read = [
            tuple(t for t in row if t != data.vocabulary.pad_id)
            for rows in batches_of_epoch
            for row in rows
        ]
        assert sorted(read) == expected
    assert epochs[0] != epochs[1]


def test_batches_collated_ahead_by_other_processes_are_those_of_this_one(data):
    def read(collators):
        steps = schedule.steps_of(
            data, config, progress := Progress(step=5, batch=2), collators=collators
        )
        for step in steps:
            batch, (heard, _) = step.share, step.share.encoder_input
            yield (
                step.of_epoch, step.tokens, progress.epoch, batch.token_ids.tolist(),
                batch.turns.tolist(), heard.tolist(), batch.without_history.tolist(),
                torch.rand(1).item(),
            )  # fmt: skip
            progress.step, progress.batch = progress.step + 1, progress.batch + 1

    config = FitConfig(data=(), batch_tokens=60)
    alone, ahead = (list(islice(read(collators), 12)) for collators in (0, 2))
    assert ahead == alone
    assert len({drawn for *_, drawn in alone}) == 12, "what a model draws differs in every step"
    assert alone[-1][2] == 1, "from the second epoch, too"


def test_only_a_gpu_has_batches_collated_ahead(monkeypatch):
    monkeypatch.setattr("os.cpu_count", lambda: 4)
    assert schedule.collators_for(torch.device("cpu")) == 0
    assert schedule.collators_for(torch.device("cuda")) == 3
    monkeypatch.setattr("os.cpu_count", lambda: 64)
    assert schedule.collators_for(torch.device("cuda")) == schedule.MOST_COLLATORS


def test_a_tenth_of_all_turns_is_learnt_without_history(data):
    found = [
        without
        for _, _, rows in taken(data, FitConfig(data=(), batch_tokens=500), 60)
        for without in rows
    ]
    assert len(found) > 1500
    assert sum(found) / len(found) == pytest.approx(0.1, abs=0.03)


def test_the_seed_decides_what_is_random_in_every_step(data):
    one, same, other = (
        taken(data, FitConfig(data=(), batch_tokens=100, seed=seed), 12) for seed in (1, 1, 2)
    )
    assert one == same
    assert one != other


def test_a_run_leaves_a_checkpoint_a_state_a_log_and_its_curves(options, talk, tmp_path, capsys):
    assert fit.main([*options, "--seed=3", "--dropout=0.1", "--no-bidirectional"]) == 0
    out = tmp_path / "run"
    files = ["checkpoint", "log.jsonl", "loss.png", "run.json", "state.safetensors"]
    assert sorted(path.name for path in out.iterdir()) == files
    assert (out / "loss.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")

    settings = json.loads((out / "checkpoint" / "config.json").read_text(encoding="utf-8"))
    size = settings["model"]["vocab_size"]
    assert settings["model"] == asdict(
        ModelConfig(vocab_size=size, **SMALL, bidirectional=False, dropout=0.1)
    )
    asked = {
        "data": [str(talk / "talk.jsonl")],
        "batch_tokens": 100,
        "epochs": 2.0,
        "seed": 3,
        "learning_rate": 0.05,
    }
    assert asked.items() <= settings["training"]["config"].items()
    assert settings["training"]["config"].keys() == asdict(FitConfig(data=())).keys()

    rows = log(out)
    steps = [row["step"] for row in rows]
    assert len(rows) == 4
    assert steps == sorted(set(steps))
    assert rows[-1]["tokens"] > rows[0]["tokens"] > 0
    best = min(rows, key=lambda row: row["perplexity"])
    assert settings["training"]["progress"]["step"] == best["step"]
    assert (
        rows[-1]["best_perplexity"]
        == best["perplexity"]
        < len(checkpoint.load(out / "checkpoint").vocabulary)
    )

    said = capsys.readouterr()
    assert (
        f"best validation perplexity {best['perplexity']:.2f} per token after {steps[-1]} steps"
        in said.out
    )
    assert f"python -m dialogue --checkpoint {out / 'checkpoint'}" in said.out
    assert "what's your favorite movie?  ->" in said.out
    assert "train: 20 conversations, 80 turns" in said.out
    assert "validation: 5 conversations, 20 turns" in said.out


def test_the_best_checkpoint_is_the_model_that_was_validated(options, talk, tmp_path):
    """The saved checkpoint's perplexity, computed by hand from its log-likelihoods without first
    turns.
    """
    assert fit.main([*options, "--epochs=1"]) == 0
    saved = checkpoint.load(tmp_path / "run" / "checkpoint")
    found = fit.prepare(
        FitConfig(data=(str(talk / "talk.jsonl"),)),
        vocabulary_file=talk / "vocabulary.model",
        skip_bad_lines=False,
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
    assert "turns truncated to 4 tokens" in said
    assert " 0 turns truncated to 4" not in said


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


def test_a_run_cleans_what_it_learns_and_says_so(options, talk, tmp_path, capsys):
    key = next(str(n) for n in range(500, 600) if split_of(str(n)) == "train")
    more = json.dumps({"id": key, "turns": ["what's your name?", "my name is xavier."]}) + "\n"
    corpus = tmp_path / "more.jsonl"
    corpus.write_text((talk / "talk.jsonl").read_text(encoding="utf-8") + more, encoding="utf-8")
    assert fit.main([f"--data={corpus}", *options[1:], "--epochs=0.2"]) == 0
    assert (
        "cleaned: 1 introductions by name, 1 answers to who somebody is, not learnt"
        in capsys.readouterr().out
    )
    out = tmp_path / "as it is"
    assert (
        fit.main([f"--data={corpus}", *options[1:-1], "--epochs=0.2", "--no-clean", f"--out={out}"])
        == 0
    )
    assert "cleaned" not in capsys.readouterr().out
