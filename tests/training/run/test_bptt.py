"""--bptt: a language model reads one running text in contiguous batches and carries its state
along.

--sample-every shows what it writes.
"""

import pytest
import torch

from dialogue import checkpoint
from dialogue.config import ModelConfig
from dialogue.models import LIKELIHOOD
from tests.training.conftest import close, figures, same_weights
from tests.training.run.test_resume import stop_at
from training import fit
from training.data import batches
from training.data.batches import Utterance, collate
from training.fit import Hooks
from training.run.config import FitConfig
from training.run.distributed import Processes
from training.run.trainer import Trainer

EOS, BOS = 3, 2
TEXT = [5, 6, EOS, 7, 8, 9, EOS, 4, 4, EOS, 6, 5, 4, 7, EOS, 9]
CELLS = {"gru": {}, "lstm": {"cell": "lstm", "layers": 2}, "rnn": {"cell": "rnn"}}


def build(**sizes):
    torch.manual_seed(1)
    config = ModelConfig(vocab_size=12, dropout=0.0, **{"embedding": 6, "hidden": 8} | sizes)
    return checkpoint.model_class("language-model").from_config(config, bos_id=BOS)


@pytest.mark.parametrize("cell", CELLS)
def test_a_text_in_stretches_scores_as_in_one_piece_and_leaves_the_state_that_reading_it_does(cell):
    model = build(**CELLS[cell]).eval()
    rows = [TEXT, TEXT[::-1]]
    whole, end = model.read_on(collate([[row] for row in rows], pad_id=0), LIKELIHOOD)
    trainer = Trainer(
        model, learning_rate=0.0, precision="fp32", device=torch.device("cpu"), carries=True
    )
    total = 0.0
    for begin in range(0, len(TEXT), 5):
        part = collate([[row[begin : begin + 5]] for row in rows], pad_id=0)
        total += float(trainer.step(part, learning_rate=0.0).loss) * int(part.lengths.sum())
        assert not trainer.carried.requires_grad, "no gradient flows back into the batch before"
    assert total == pytest.approx(-float(whole.log_probs.detach().sum()), rel=1e-5)
    torch.testing.assert_close(trainer.carried, end)
    read = model.encode_turn(torch.tensor(rows), torch.tensor([len(TEXT)] * 2), None)
    torch.testing.assert_close(trainer.carried, read)


def test_the_state_behind_a_conversation_is_that_of_its_history_whatever_branches_off():
    model = build().eval()
    conversations = [[[5, 6, EOS], [7, EOS]], [[4, EOS]]]
    plain = model.read_on(collate(conversations, pad_id=0), LIKELIHOOD)[1]
    apart = model.read_on(
        collate(conversations, pad_id=0, without_history=torch.tensor([True, True, False])),
        LIKELIHOOD,
    )[1]
    torch.testing.assert_close(plain, apart)


@pytest.fixture
def options(options):
    """A small run over 20 conversations as one text: 11 rows of 9 tokens per batch."""
    kept = [
        option
        for option in options
        if not option.startswith(("--utterance", "--context", "--batch-tokens"))
    ]
    return [kept[0], "--model=language-model", "--bptt=9", "--batch-tokens=99", *kept[1:]]


def test_a_model_that_reads_on_learns_and_says_what_it_has_learnt(options, tmp_path, capsys):
    assert (
        fit.main(
            [*options, "--epochs=120", "--validations=0.05", "--hidden=32", "--learning-rate=0.02"]
        )
        == 0
    )
    said = capsys.readouterr().out
    assert "hi  ->" not in said, "a model of texts writes one"
    assert "    do you like" in said
    settings = checkpoint.load(tmp_path / "run" / "checkpoint").training["config"]
    assert (settings["bptt"], settings["recognised"]) == (9, 0.0)
    rows = figures(tmp_path / "run")
    losses = [loss for loss, *_ in rows.values()]
    assert losses[0] > 3.5
    assert losses[-1] < 2


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_run_that_was_interrupted_goes_on_from_the_state_that_it_carried(
    options, tmp_path, precision
):
    undisturbed, stopped = tmp_path / "undisturbed", tmp_path / "stopped"
    common = [*options[:-1], "--dropout=0.1", f"--precision={precision}"]
    assert fit.main([*common, f"--out={undisturbed}"]) == 0
    assert fit.main([*common, f"--out={stopped}"], hooks=stop_at(7)) == 130
    assert fit.main(["--resume", f"--out={stopped}", "--device=cpu"]) == 0
    close(figures(stopped), figures(undisturbed))
    same_weights(stopped, undisturbed)


def test_a_state_does_not_go_on_in_other_rows(options, tmp_path, capsys):
    common = [*options[:-1], f"--out={tmp_path / 'run'}"]
    assert fit.main(common, hooks=stop_at(7)) == 130
    before = (tmp_path / "run" / "state.safetensors").read_bytes()
    assert (
        fit.main(["--resume", "--batch-tokens=60", f"--out={tmp_path / 'run'}", "--device=cpu"])
        == 2
    )
    assert (
        "a state of 11 rows cannot continue in a batch of 6; "
        "leave --batch-tokens and --bptt as they were" in capsys.readouterr().err
    )
    assert (tmp_path / "run" / "state.safetensors").read_bytes() == before


def test_a_new_pass_begins_the_text_anew(options, tmp_path):
    begun = []
    hooks = Hooks(before_step=lambda run: begun.append(run.trainer.carried is None))
    assert fit.main([*options[:-1], f"--out={tmp_path / 'run'}"], hooks=hooks) == 0
    assert begun.count(True) == 2
    assert begun[0]
    assert len(begun) > 4


def test_models_that_carry_no_state_and_rows_that_do_not_fit_are_refused(options, tmp_path, capsys):
    plain = [option for option in options if not option.startswith("--model")]
    assert fit.main(plain) == 2
    assert (
        "HRED has no `read_on`: it cannot carry a state from batch to batch; leave --bptt out"
        in capsys.readouterr().err
    )
    assert fit.main([*options, "--bptt=100"]) == 2
    assert "--bptt is 100; it must be from 1 to --batch-tokens, 99" in capsys.readouterr().err
    assert not (tmp_path / "run" / "state.safetensors").exists()


def test_several_processes_do_not_share_a_state(word_vocabulary, tmp_path):
    train = batches.Encoded([[Utterance(TEXT)]], 0, 1, [1])
    data = fit.Data(word_vocabulary, train, [])
    with pytest.raises(
        ValueError,
        match="--bptt carries one state from batch to batch; it runs in one process, not in 2",
    ):
        fit.fit(
            FitConfig(data=(), bptt=3),
            {},
            data,
            out=tmp_path,
            device=torch.device("cpu"),
            processes=Processes(0, 2),
        )


@pytest.mark.parametrize("model", ["hred", "language-model"])
def test_samples_are_shown_every_so_many_steps(options, tmp_path, monkeypatch, model):
    shown, taken = [], []
    hooks = Hooks(before_step=taken.append)
    monkeypatch.setattr(fit, "show_sample", lambda model: shown.append(len(taken)))
    common = [option for option in options if not option.startswith(("--model", "--bptt"))]
    assert (
        fit.main(
            [*common, f"--model={model}", "--batch-tokens=100", "--sample-every=3", "--epochs=1.6"],
            hooks=hooks,
        )
        == 0
    )
    assert shown == [3, 6]
    assert len(taken) == 8
