import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from dialogue.models import LIKELIHOOD, Objective
from dialogue.models.objectives import distilled, earlier_tokens, penalised_log_probs, sampled
from tests.dialogue.conftest import as_batch, make_conversation

ROWS = torch.tensor([0, 1, 2, 0, 1, 0, 1, 0, 0])
TARGETS = torch.tensor([5, 6, 7, 5, 6, 9, 7, 5, 6])
SIZE, VOCABULARY = 6, 11
OBJECTIVES = [
    Objective(label_smoothing=0.2),
    Objective(unlikelihood=0.7),
    Objective(label_smoothing=0.1, unlikelihood=2.0),
]


@pytest.fixture
def layer():
    """Inputs, weight and bias of an output layer; in the later rows the logits are far apart."""
    generator = torch.Generator().manual_seed(2)
    inputs = (
        torch.randn(len(ROWS), SIZE, generator=generator, dtype=torch.double)
        * torch.linspace(0.1, 3, len(ROWS))[:, None]
    )
    weight = torch.randn(VOCABULARY, SIZE, generator=generator, dtype=torch.double)
    return inputs, weight, torch.randn(VOCABULARY, generator=generator, dtype=torch.double)


def candidates_by_hand(position):
    before = {int(TARGETS[i]) for i in range(position) if ROWS[i] == ROWS[position]}
    return before - {int(TARGETS[position])}


def slow(inputs, weight, bias, objective):
    """The obvious twin: the whole table of log-probabilities, a loop over tokens, autograd."""
    table = F.log_softmax(F.linear(inputs, weight, bias), dim=-1)
    log_probs = table.gather(1, TARGETS[:, None]).squeeze(1)
    penalties = []
    for position, row in enumerate(table):
        smoothed = (1 - objective.label_smoothing) * -log_probs[
            position
        ] + objective.label_smoothing * -row.mean()
        unlikely = sum(
            (-(1 - row[token].exp()).log() for token in candidates_by_hand(position)),
            torch.zeros_like(smoothed),
        )
        penalties.append(smoothed + log_probs[position] + objective.unlikelihood * unlikely)
    return log_probs, torch.stack(penalties)


def test_the_candidates_are_the_earlier_tokens_of_the_utterance_once_each_without_the_target():
    places, tokens = earlier_tokens(TARGETS, ROWS)
    found = sorted(zip(places.tolist(), tokens.tolist(), strict=True))
    assert found == [
        (position, token)
        for position in range(len(ROWS))
        for token in sorted(candidates_by_hand(position))
    ]
    assert found == [(5, 5), (6, 6), (7, 9), (8, 5), (8, 9)]


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_penalties_and_gradients_are_those_of_the_whole_table_in_autograd(layer, objective):
    results = []
    weigh = torch.linspace(-1, 2, 2 * len(ROWS), dtype=torch.double).split(len(ROWS))
    for fast in (True, False):
        values = [value.clone().requires_grad_() for value in layer]
        if fast:
            log_probs, _, penalty = penalised_log_probs(*values, TARGETS, ROWS, objective=objective)
        else:
            log_probs, penalty = slow(*values, objective)
        loss = (log_probs * weigh[0]).sum() + (penalty * weigh[1]).sum()
        results.append((log_probs.float(), penalty.float(), *torch.autograd.grad(loss, values)))
    for mine, other in zip(*results, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-5, atol=1e-5)
        assert other.abs().sum() > 0


def test_the_penalties_of_two_tokens_by_hand():
    """Probabilities 1/2, 1/4, 1/4; "0 1": the second token's candidate is 0."""
    layer = torch.zeros(2, 1), torch.zeros(3, 1), torch.tensor([0.5, 0.25, 0.25]).log()
    told = {"targets": torch.tensor([0, 1]), "rows": torch.tensor([0, 0])}
    _, _, penalty = penalised_log_probs(*layer, **told, objective=Objective(unlikelihood=3.0))
    assert penalty.tolist() == pytest.approx([0, 3 * math.log(2)])
    _, _, penalty = penalised_log_probs(*layer, **told, objective=Objective(label_smoothing=0.3))
    assert penalty.tolist() == pytest.approx(
        [
            0.3 * (math.log(0.5) - math.log(1 / 32) / 3),
            0.3 * (math.log(0.25) - math.log(1 / 32) / 3),
        ]
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("logit", [12.0, 60.0, 300.0])
def test_a_candidate_that_is_all_but_certain_has_a_finite_penalty_and_the_right_gradient(
    dtype, logit
):
    """1 - p(c) as a difference is 0 here. The gradient of -log(1 - p(c)) is p(c) for the logit of
    c, and -p(j) p(c) / (1 - p(c)) for the others.
    """
    bias = torch.tensor([logit, 0.0, 0.0], dtype=dtype, requires_grad=True)
    layer = torch.zeros(2, 1, dtype=dtype), torch.zeros(3, 1, dtype=dtype), bias
    told = {"targets": torch.tensor([0, 1]), "rows": torch.tensor([0, 0])}
    _, _, penalty = penalised_log_probs(*layer, **told, objective=Objective(unlikelihood=1.0))
    assert penalty[1].item() == pytest.approx(min(logit - math.log(2), 69.08), rel=0.01)
    penalty.sum().backward()
    expected = [1.0, -0.5, -0.5] if logit < 100 else [1.0, 0.0, 0.0]
    assert bias.grad.tolist() == pytest.approx(expected, abs=0.02)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_in_bfloat16_penalties_and_gradients_stay_near_those_in_float32(layer, objective):
    values = [value.float().requires_grad_() for value in layer]
    rough_values = [value.detach().bfloat16().requires_grad_() for value in values]
    penalty = penalised_log_probs(*values, TARGETS, ROWS, objective=objective)[2]
    rough = penalised_log_probs(*rough_values, TARGETS, ROWS, objective=objective)[2]
    torch.testing.assert_close(rough, penalty, atol=0.1, rtol=0.05)
    penalty.sum().backward()
    rough.sum().backward()
    for value, rough_value in zip(values, rough_values, strict=True):
        assert (rough_value.grad.float() - value.grad).norm() < 0.05 * value.grad.norm()


def test_a_model_gives_the_same_likelihood_with_a_penalty_and_none_where_none_was_asked_for(model):
    batch = as_batch([make_conversation(turns, seed=turns) for turns in (3, 1, 4)])
    plain, found = model.log_likelihood(batch), model.penalised(batch, Objective(unlikelihood=1.0))
    assert plain.penalty is None
    assert model.penalised(batch, LIKELIHOOD).penalty is None
    torch.testing.assert_close(found.log_probs, plain.log_probs)
    assert found.correct_count.tolist() == plain.correct_count.tolist()
    assert found.penalty.shape == plain.log_probs.shape
    assert found.penalty.sum().item() > 0


# --- a softmax over some of the tokens -----------------------------------------------------------


def test_with_all_other_tokens_drawn_a_sampled_softmax_is_the_whole_one(layer):
    values = [value.clone().requires_grad_() for value in layer]
    inputs, weight, bias = values
    few = sampled(weight, bias, TARGETS, count=VOCABULARY)
    found = penalised_log_probs(inputs, *few, ROWS, objective=LIKELIHOOD)[0]
    expected, _ = slow(inputs, weight, bias, LIKELIHOOD)
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-6)
    ours, theirs = (
        torch.autograd.grad(one.double().sum(), values, retain_graph=True)
        for one in (found, expected)
    )
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


def test_the_sum_of_a_sampled_softmax_is_right_in_the_mean(layer):
    """Averaged over many draws, the weighted sum of exp(logit) is the sum over the vocabulary."""
    inputs, weight, bias = layer
    whole = F.linear(inputs, weight, bias).exp().sum(1)
    torch.manual_seed(0)
    sums = []
    for _ in range(4000):
        few_weight, few_bias, targets = sampled(weight, bias, TARGETS, count=2)
        assert len(few_weight) == 4 + 2, "the different targets, and two others"
        torch.testing.assert_close(few_weight[targets], weight[TARGETS])
        torch.testing.assert_close(few_bias[targets], bias[TARGETS])
        sums.append(F.linear(inputs, few_weight, few_bias).exp().sum(1))
    torch.testing.assert_close(torch.stack(sums).mean(0), whole, rtol=0.05, atol=0)


def test_what_is_not_taught_is_not_scored_and_leaves_the_rest_as_it_was(model):
    batch = as_batch([make_conversation(turns, seed=turns) for turns in (3, 1, 4)])
    taught = torch.tensor([True, False, True, False, False, True, True, False])
    whole = model.penalised(batch, Objective(unlikelihood=1.0)).of(taught)
    found = model.penalised(replace(batch, loss_mask=taught), Objective(unlikelihood=1.0))
    for name in ("log_probs", "tokens", "correct_mask", "penalty"):
        torch.testing.assert_close(getattr(found, name), getattr(whole, name))
    assert found.tokens[~taught].sum() == 0
    nothing = replace(batch, loss_mask=torch.zeros(8, dtype=torch.bool))
    assert model.penalised(nothing, LIKELIHOOD).log_probs.requires_grad, (
        "a batch of nothing to learn can still be stepped on"
    )


def test_a_teacher_takes_its_share_of_the_cross_entropy(layer):
    teacher = torch.rand(len(ROWS), VOCABULARY, dtype=torch.double).softmax(-1)  # by utterance
    order = ROWS.argsort(stable=True)
    _, _, penalty = distilled(
        *layer, TARGETS, order, objective=Objective(distilled=0.3, teacher=teacher)
    )
    table = F.log_softmax(F.linear(*layer), dim=-1)
    for place, at in enumerate(order.tolist()):
        true, told = -table[at, TARGETS[at]], -(teacher[place] * table[at]).sum()
        assert float(true + penalty[at]) == pytest.approx(float(0.7 * true + 0.3 * told))


def test_a_teacher_that_knows_the_true_words_changes_nothing(layer):
    order = ROWS.argsort(stable=True)
    teacher = F.one_hot(TARGETS[order], VOCABULARY).double()
    log_probs, correct, penalty = distilled(
        *layer, TARGETS, order, objective=Objective(distilled=0.5, teacher=teacher)
    )
    plain = penalised_log_probs(*layer, TARGETS, ROWS, objective=LIKELIHOOD)
    assert torch.allclose(log_probs, plain[0]) and torch.equal(correct, plain[1])
    assert penalty.abs().max() < 1e-12


def test_a_teacher_that_read_another_batch_is_refused(layer):
    with pytest.raises(ValueError, match="a teacher's table of 2 tokens for 9"):
        distilled(
            *layer, TARGETS, ROWS.argsort(), objective=Objective(teacher=torch.ones(2, VOCABULARY))
        )
