import math
from dataclasses import replace
from functools import partial

import pytest
import torch

from dialogue.models import Objective
from dialogue.models.hred import HRED
from training.data.batches import Utterance, collate
from training.run.scheduled_sampling import OwnWords
from training.run.trainer import GRADIENT_NORM, Trainer

EOS = 3
CONVERSATIONS = [
    [[4, 5, 6, EOS], [7, EOS], [8, 9, EOS]],
    [[5, EOS]],
    [[6, 6, EOS], [4, 4, 4, 4, EOS]],
]


def make(*, precision="fp32", dropout=0.0, optimizer="adam", own_words=None):
    torch.manual_seed(0)
    model = HRED(
        vocab_size=12,
        bos_id=2,
        embedding=6,
        utterance=8,
        context=5,
        hidden=7,
        bidirectional=True,
        dropout=dropout,
    )
    return Trainer(
        model,
        learning_rate=1e-2,
        precision=precision,
        device=torch.device("cpu"),
        optimizer=optimizer,
        own_words=own_words,
    )


@pytest.mark.parametrize(
    ("optimizer", "plain_way"),
    [
        ("adam", torch.optim.Adam),
        ("adamw", torch.optim.AdamW),
        ("sgd", partial(torch.optim.SGD, momentum=0.9, nesterov=True)),
    ],
)
def test_a_step_is_the_optimisers_on_the_mean_loss_a_token_with_the_gradient_clipped(
    optimizer, plain_way
):
    """Against the plain way: autograd, clip_grad_norm_ and torch's own optimiser."""
    trainer, plain = make(optimizer=optimizer), make().model
    optimiser = plain_way(plain.parameters(), lr=0.02)
    for _ in range(4):
        found = trainer.step(collate(CONVERSATIONS, pad_id=0), learning_rate=0.02)
        likelihood = plain.log_likelihood(collate(CONVERSATIONS, pad_id=0))
        loss = -likelihood.log_probs.sum() / sum(
            len(turn) for conversation in CONVERSATIONS for turn in conversation
        )
        optimiser.zero_grad()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(plain.parameters(), GRADIENT_NORM)
        optimiser.step()
        torch.testing.assert_close(found.loss, loss.detach())
        torch.testing.assert_close(found.norm, norm)
        torch.testing.assert_close(
            found.accuracy, likelihood.correct_count.sum() / likelihood.tokens.sum()
        )
    for ours, theirs in zip(trainer.model.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_the_learning_rate_of_a_step_is_the_one_that_is_given():
    trainer = make()
    before = [parameter.detach().clone() for parameter in trainer.model.parameters()]
    trainer.step(collate(CONVERSATIONS, pad_id=0), learning_rate=0.0)
    assert all(
        torch.equal(now, then) for now, then in zip(trainer.model.parameters(), before, strict=True)
    )
    trainer.step(collate(CONVERSATIONS, pad_id=0), learning_rate=1e-2)
    assert not any(
        torch.equal(now, then) for now, then in zip(trainer.model.parameters(), before, strict=True)
    )


def test_perplexity_and_accuracy_are_those_of_every_turn_but_a_conversations_first():
    trainer = make(dropout=0.5)
    trainer.model.eval()
    log_probs, tokens, correct = 0.0, 0, 0
    with torch.no_grad():
        for conversation in CONVERSATIONS:
            likelihood = trainer.model.log_likelihood(collate([conversation], pad_id=0))
            log_probs += float(likelihood.log_probs[1:].sum())
            tokens += int(likelihood.tokens[1:].sum())
            correct += int(likelihood.correct_count[1:].sum())
    assert tokens == 10
    trainer.model.train()
    planned = [collate(CONVERSATIONS[:2], pad_id=0), collate(CONVERSATIONS[2:], pad_id=0)]
    perplexity, accuracy = trainer.validate(planned)
    assert perplexity == pytest.approx(math.exp(-log_probs / tokens))
    assert accuracy == pytest.approx(correct / tokens)
    assert trainer.model.training, "training goes on with dropout"


def test_conversations_of_one_turn_cannot_be_validated_on():
    with pytest.raises(
        ValueError, match="no conversation of two turns or more; validation needs one"
    ):
        make().validate([collate([[[5, EOS]]], pad_id=0)])


def test_in_bf16_the_master_weights_stay_in_float32_and_the_computing_copy_follows_them():
    """Steps too small for bfloat16 must add up: near 1, its numbers are 0.004 apart."""
    trainer = make(precision="bf16")
    batch = collate(CONVERSATIONS, pad_id=0)
    before = [parameter.detach().clone() for parameter in trainer.model.parameters()]
    losses = [float(trainer.step(batch, learning_rate=1e-5).loss) for _ in range(3)]
    for now, then in zip(trainer.model.parameters(), before, strict=True):
        assert now.dtype == torch.float32
        assert 0 < float((now.detach() - then).abs().max()) < 1e-4
    losses += [float(trainer.step(batch, learning_rate=1e-2).loss) for _ in range(30)]
    assert losses[-1] < losses[0] / 2
    perplexity, _ = trainer.validate([batch])
    exact = make()
    exact.model.load_state_dict(trainer.model.state_dict())
    assert perplexity == pytest.approx(exact.validate([batch])[0], rel=0.05)


def test_a_step_in_bf16_is_near_the_step_in_fp32():
    batch = collate(CONVERSATIONS, pad_id=0)
    exact, rough = (
        make(precision=precision).step(batch, learning_rate=1e-3) for precision in ("fp32", "bf16")
    )
    assert float(rough.loss) == pytest.approx(float(exact.loss), rel=0.02)
    assert float(rough.norm) == pytest.approx(float(exact.norm), rel=0.05)


def test_turns_that_are_not_to_be_learnt_are_heard_but_do_not_count():
    """Their loss does not count, but they are part of the history of later turns."""
    untaught = [
        [Utterance([4, 5, 6, EOS]), Utterance([7, 8, EOS], taught=False), Utterance([8, 9, EOS])]
    ]
    trainer, plain = make(), make().model
    found = trainer.step(collate(untaught, pad_id=0), learning_rate=0.01)
    likelihood = plain.log_likelihood(collate(untaught, pad_id=0))
    torch.testing.assert_close(
        found.loss, -(likelihood.log_probs[0] + likelihood.log_probs[2]).detach() / 7
    )
    torch.testing.assert_close(
        found.accuracy, (likelihood.correct_count[0] + likelihood.correct_count[2]) / 7
    )
    without = plain.log_likelihood(collate([[untaught[0][0], untaught[0][2]]], pad_id=0))
    assert not torch.allclose(without.log_probs[1], likelihood.log_probs[2]), "the turn was heard"


def test_a_batch_of_which_nothing_is_to_be_learnt_changes_nothing_but_by_adams_momentum():
    trainer = make()
    found = trainer.step(
        collate([[Utterance([5, EOS], taught=False)]], pad_id=0), learning_rate=0.01
    )
    assert float(found.loss) == 0.0
    assert float(found.norm) == 0.0


def test_a_step_goes_down_the_penalty_too_where_turns_are_learnt_and_shows_the_plain_loss():
    """Against autograd on -log p + penalty of the taught turns."""
    objective = Objective(label_smoothing=0.1, unlikelihood=1.0)
    untaught = [
        [
            Utterance([4, 5, 4, 6, EOS]),
            Utterance([7, 8, 7, EOS], taught=False),
            Utterance([8, 9, 8, EOS]),
        ]
    ]
    plain = make().model
    trainer = Trainer(
        make().model,
        learning_rate=1e-2,
        precision="fp32",
        device=torch.device("cpu"),
        objective=objective,
    )
    found = trainer.step(collate(untaught, pad_id=0), learning_rate=0.01)
    likelihood = plain.penalised(collate(untaught, pad_id=0), objective)
    losses = -likelihood.log_probs + likelihood.penalty
    ((losses[0] + losses[2]) / 9).backward()
    norm = torch.nn.utils.clip_grad_norm_(plain.parameters(), math.inf)
    torch.testing.assert_close(found.norm, norm)
    torch.testing.assert_close(
        found.loss, -(likelihood.log_probs[0] + likelihood.log_probs[2]).detach() / 9
    )
    assert trainer.validate([collate(CONVERSATIONS, pad_id=0)]) == Trainer(
        trainer.model, learning_rate=1.0, precision="fp32", device=torch.device("cpu")
    ).validate([collate(CONVERSATIONS, pad_id=0)]), "validation is by the plain likelihood"


@pytest.mark.parametrize(
    "more", [{"objective": Objective(unlikelihood=1.0)}, {"own_words": OwnWords("argmax", 2)}]
)
def test_a_model_that_knows_its_likelihood_alone_is_refused_for_another_objective(more):
    model = torch.nn.Linear(2, 2)
    with pytest.raises(
        ValueError,
        match="Linear has no `penalised`, so it can only be fitted by cross-entropy",
    ):
        Trainer(model, learning_rate=1.0, precision="fp32", device=torch.device("cpu"), **more)


def test_a_step_with_words_of_its_own_learns_the_true_words_after_reading_its_own():
    own, batch = OwnWords("argmax", 2), collate(CONVERSATIONS, pad_id=0)
    trainer, plain = make(own_words=own), make().model
    torch.manual_seed(5)
    found = trainer.step(batch, learning_rate=0.0, truth=0.3)
    torch.manual_seed(5)
    read = own.mix(plain, batch, truth=0.3)
    likelihood = plain.log_likelihood(read)
    torch.testing.assert_close(
        found.loss, (-likelihood.log_probs.sum() / likelihood.tokens.sum()).detach()
    )
    assert not torch.allclose(plain.log_likelihood(batch).log_probs, likelihood.log_probs)
    assert torch.equal(replace(read, decoder_input=None).token_ids, batch.token_ids)
    assert trainer.validate([batch]) == make().validate([batch]), "validation reads the true words"


def test_in_bf16_a_step_with_words_of_its_own_can_be_taken():
    trainer = make(precision="bf16", own_words=OwnWords("sample", 2), dropout=0.2)
    assert math.isfinite(
        float(trainer.step(collate(CONVERSATIONS, pad_id=0), learning_rate=0.1, truth=0.5).norm)
    )
