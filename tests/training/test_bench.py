"""training.bench ends with the line of JSON that scripts read. No timing is asserted."""

import json
import os

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from dialogue.config import ModelConfig
from dialogue.models.hred import HRED
from training.bench import __main__ as training_bench
from training.bench import floor as training_floor
from training.bench.plain import PlainHRED
from training.data.batches import collate


@pytest.fixture
def small_training(monkeypatch, conversations, tmp_path):
    """The paper's sizes divided by a thousand, and options for a tiny corpus."""
    tiny = {"embedding": 8, "utterance": 12, "context": 10, "hidden": 14}
    monkeypatch.setattr(
        training_bench, "read_recipe", lambda name: {**tiny, "readout": "maxout", "data": [name]}
    )
    monkeypatch.setattr(training_bench, "ROUNDS", 1)
    lines = [
        json.dumps({"id": t.id + str(n), "turns": t.turns})
        for n in range(20)
        for t in conversations
    ]
    (tmp_path / "talk.jsonl").write_text("\n".join(lines))
    return [
        "--data",
        str(tmp_path / "talk.jsonl"),
        "--batch-tokens=300",
        "--steps=2",
        "--device=cpu",
        "--sizes=serban2016",
    ]


TRAINING_ROW = {
    "model", "sizes", "tokens_per_s", "plain_tokens_per_s", "speedup", "floor_ratio",
    "floor_ratio_with_adam", "padding", "padding_computed",
}  # fmt: skip


def test_training_bench_ends_with_its_rows(small_training, capsys):
    assert training_bench.main(small_training) == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    (row,) = found["rows"]
    assert set(row) == TRAINING_ROW
    assert row["sizes"] == "serban2016"
    assert 0 < row["padding"] < 1
    assert row["padding_computed"] == 0
    assert row["floor_ratio_with_adam"] <= row["floor_ratio"]
    assert found["processes"] == []


@pytest.mark.slow
def test_training_bench_measures_several_processes_beside_one(small_training, capsys):
    if not hasattr(os, "sched_getaffinity") or len(os.sched_getaffinity(0)) < 2:
        pytest.skip("two processes need two cores")
    assert training_bench.main([*small_training, "--processes=2"]) == 0
    (row,) = json.loads(capsys.readouterr().out.splitlines()[-1])["processes"]
    assert set(row) == {"sizes", "processes", "tokens_per_s", "one_process_tokens_per_s", "ratio"}
    assert row["processes"] == 2
    assert min(row["tokens_per_s"], row["one_process_tokens_per_s"]) > 0


def test_the_sizes_of_a_bench_are_the_default_ones_or_a_recipes():
    assert training_bench.sizes_of("default", 40) == ModelConfig(vocab_size=40)
    paper = training_bench.sizes_of("serban2016", 40)
    assert (paper.hidden, paper.context, paper.utterance, paper.readout) == (
        600,
        300,
        600,
        "maxout",
    )


def test_the_floor_of_a_step_has_its_matrix_products_and_no_others():
    """Counted against those of the model's own step with autograd: the floor may not do more, nor
    much less.
    """
    batch = collate([[[5, 6, 7, 3], [8, 3], [9, 10, 3]], [[5, 3]], [[7, 3], [8, 9, 3]]], pad_id=0)
    config = ModelConfig(
        vocab_size=200, embedding=8, utterance=12, context=10, hidden=14, dropout=0.0
    )
    step = training_floor.floor_of(batch, config, dtype=torch.float32)
    in_place = {
        torch.ops.aten.addmm_: lambda _, one, other, **__: 2 * one[0] * one[1] * other[1]
    }  # which the counter leaves out otherwise
    with FlopCounterMode(display=False, custom_mapping=in_place) as bare:
        step()
    model = HRED.from_config(config, bos_id=2)
    with FlopCounterMode(display=False, custom_mapping=in_place) as real:
        model.log_likelihood(batch).log_probs.sum().backward()
    assert 0.9 < bare.get_total_flops() / real.get_total_flops() <= 1


@pytest.mark.parametrize("readout", ["linear", "maxout"])
def test_the_plain_loop_has_the_loss_of_our_model_with_the_same_weights(readout):
    """Otherwise the comparison would not be fair. Its inputs are not scaled, so the embedding has
    size one here.
    """
    torch.manual_seed(0)
    config = ModelConfig(
        vocab_size=20, embedding=1, utterance=6, context=5, hidden=7, dropout=0.0, readout=readout
    )
    model, plain = HRED.from_config(config, bos_id=2), PlainHRED(config)
    batch = collate([[[5, 6, 7, 3], [8, 3], [9, 10, 3]], [[5, 3]], [[7, 3], [8, 9, 3]]], pad_id=0)
    names = [
        ("weight_input", "weight_ih"),
        ("weight_hidden", "weight_hh"),
        ("bias_input", "bias_ih"),
        ("bias_hidden", "bias_hh"),
    ]
    with torch.no_grad():
        for ours, theirs, suffix in [
            (model.encoder[0], plain.encoder, "_l0"),
            (model.encoder[1], plain.encoder, "_l0_reverse"),
            (model.context, plain.context, "_l0"),
        ]:
            for mine, other in names:
                getattr(theirs, other + suffix).copy_(getattr(ours, mine))
        plain.decoder.weight_ih_l0.copy_(
            torch.cat([model.decoder.weight_input, model.context_gates.weight], dim=1)
        )
        for mine, other in names[1:]:
            getattr(plain.decoder, other + "_l0").copy_(getattr(model.decoder, mine))
        for name in ("embedding", "initial", "readout"):
            getattr(plain, name).load_state_dict(getattr(model, name).state_dict())
    loss = -model.log_likelihood(batch).log_probs.sum() / batch.lengths.sum()
    torch.testing.assert_close(plain(batch, 2), loss)
