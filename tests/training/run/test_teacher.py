"""--teacher: a model learns a larger one's probabilities beside the true words."""

from dataclasses import replace

import pytest
import torch

from dialogue import checkpoint
from dialogue.models import LIKELIHOOD, Objective
from dialogue.models.hred import HRED
from dialogue.models.transformer import Transformer
from tests.training.run.test_trainer import CONVERSATIONS, make
from training import fit
from training.data.batches import Utterance, collate
from training.data.vocabulary import build
from training.run.trainer import Trainer


def make_teacher():
    torch.manual_seed(1)
    return Transformer(
        vocab_size=12, bos_id=2, embedding=8, hidden=16, layers=2, heads=2, window=16, dropout=0.3
    )


def step_with(student, teacher, batch, *, share):
    trainer = Trainer(
        student,
        learning_rate=0.0,
        precision="fp32",
        device=torch.device("cpu"),
        objective=Objective(distilled=share),
        teacher=teacher,
    )
    return trainer.step(batch, learning_rate=0.0)


def gradients_of(model):
    return {name: p.grad.clone() for name, p in model.named_parameters()}


@pytest.mark.parametrize("taught", [True, False], ids=["every turn", "some turns"])
def test_the_gradient_is_a_mix_of_the_true_words_and_the_teachers(taught):
    """The share is linear in the gradient; with all of it, the true words do not matter."""
    batch = collate(
        [[Utterance(turn, taught=taught or bool(n)) for n, turn in enumerate(talk)]
         for talk in CONVERSATIONS],
        pad_id=0,
    )  # fmt: skip
    found = {}
    for share in (0.0, 0.25, 1.0):
        student = make().model
        step_with(student, make_teacher(), batch, share=share)
        norm = torch.nn.utils.get_total_norm(p.grad for p in student.parameters())
        assert norm < 1.0, "clipping would hide what this test is about"
        found[share] = gradients_of(student)
    for name, mixed in found[0.25].items():
        expected = 0.75 * found[0.0][name] + 0.25 * found[1.0][name]
        torch.testing.assert_close(mixed, expected, rtol=1e-4, atol=1e-6)


def test_the_teachers_table_has_its_likelihoods_utterance_by_utterance():
    teacher, batch = make_teacher().eval(), collate(CONVERSATIONS, pad_id=0)
    told = teacher.penalised(batch, Objective(keeps_table=True))
    plain = teacher.penalised(batch, LIKELIHOOD)
    words = torch.tensor([token for talk in CONVERSATIONS for turn in talk for token in turn])
    of_words = told.table.gather(1, words[:, None]).squeeze(1).log()
    sums = torch.stack([part.sum() for part in of_words.split(batch.lengths.tolist())])
    torch.testing.assert_close(sums, plain.log_probs)
    torch.testing.assert_close(told.log_probs, plain.log_probs)
    assert torch.equal(told.correct_mask, plain.correct_mask)


def test_a_student_learns_what_its_teacher_finds_likely_not_what_was_said():
    teacher, student = make_teacher(), make().model
    batch = collate(CONVERSATIONS, pad_id=0)
    trainer = Trainer(
        student,
        learning_rate=1e-2,
        precision="fp32",
        device=torch.device("cpu"),
        objective=Objective(distilled=1.0),
        teacher=teacher,
    )

    @torch.no_grad()
    def divergence():
        student.eval()
        own, told = (
            model.penalised(batch, Objective(keeps_table=True)).table
            for model in (student, teacher)
        )
        return float((told * (told.log() - own.log())).sum(-1).mean())

    before = divergence()
    student.train()
    for _ in range(60):
        trainer.step(batch, learning_rate=1e-2)
    assert divergence() < before / 3
    assert all(p.grad is None for p in teacher.parameters())


def test_a_run_learns_from_a_teacher_and_goes_on_with_it(options, tmp_path, capsys):
    teacher, out = tmp_path / "teacher", tmp_path / "run"
    sizes = ["--model=transformer", "--embedding=8", "--hidden=16", "--heads=2", "--layers=1"]
    data = [part for part in options if part.startswith(("--data", "--vocabulary", "--device"))]
    fitting = ["--batch-tokens=100", "--precision=fp32"]
    assert fit.main([*data, *sizes, *fitting, "--epochs=0.4", f"--out={teacher}"]) == 0
    named = f"--teacher={teacher / 'checkpoint'}"
    assert fit.main([*options, named, "--distilled=0.9", "--epochs=0.4", f"--out={out}"]) == 0
    assert fit.main(["--resume", "--epochs=0.8", f"--out={out}"]) == 0
    config = checkpoint.load(out / "checkpoint").training["config"]
    assert config["teacher"] == str(teacher / "checkpoint") and config["distilled"] == 0.9
    capsys.readouterr()
    assert fit.main([*options, f"--teacher={tmp_path}", f"--out={tmp_path / 'other'}"]) == 2
    assert "is not a checkpoint" in capsys.readouterr().err


def test_a_teacher_of_another_vocabulary_is_refused(options, talker, tmp_path, capsys):
    other = build(["something else altogether", "said by nobody"], size=290)
    config = replace(talker.config, vocab_size=len(other))
    model = HRED.from_config(config, bos_id=other.bos_id)
    checkpoint.save(tmp_path / "teacher", checkpoint.Checkpoint(model, other, config, {}))
    assert fit.main([*options, f"--teacher={tmp_path / 'teacher'}"]) == 2
    said = capsys.readouterr().err
    assert "has another vocabulary; fit both with --vocabulary" in said


def test_a_sampled_softmax_has_no_room_for_a_teacher(options, capsys):
    assert fit.main([*options, "--teacher=x", "--sampled-softmax=9"]) == 2
    assert "leave --sampled-softmax or --teacher out" in capsys.readouterr().err


def test_a_likelihood_without_a_table_keeps_its_figures():
    teacher, batch = make_teacher().eval(), collate(CONVERSATIONS, pad_id=0)
    assert teacher.log_likelihood(batch).table is None
