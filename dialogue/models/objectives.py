"""The output layer of a model that is fitted by more than its likelihood; see Objective.

The penalties are computed in the same (P, V) table that the likelihood needs anyway. Label
smoothing does not even need it: log p(target) - mean log p is the target's logit minus the mean
logit, and the mean logit is that of the mean row of weights.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from dialogue.device import moved
from dialogue.models import Likelihood, Objective
from dialogue.models.layers import token_log_probs

LEAST = 1e-30  # lower bound of 1 - p: certainty costs 69 nats, not infinitely many


def likelihood(
    inputs: Tensor,
    weight: Tensor,
    bias: Tensor,
    targets: Tensor,
    rows: Tensor,
    lengths: Tensor,
    *,
    objective: Objective,
) -> Likelihood:
    """Score the utterances of a batch by an objective.

    inputs to rows: as in `penalised_log_probs`. lengths (M,), on the CPU: the tokens of each
    utterance.
    """
    order = rows.argsort(stable=True)  # utterance by utterance, each in its order
    if objective.sampled is not None:
        weight, bias, targets = sampled(weight, bias, targets, count=objective.sampled)
    table = penalty = None
    if objective.teacher is not None:
        log_probs, correct, penalty = distilled(
            inputs, weight, bias, targets, order, objective=objective
        )
    elif objective.keeps_table:
        table = torch.softmax(F.linear(inputs, weight, bias), dim=-1, dtype=torch.float)
        log_probs = table.gather(1, targets[:, None]).squeeze(1).log()
        correct, table = table.argmax(-1) == targets, table.to(inputs.dtype)[order]
    else:
        log_probs, correct, penalty = penalised_log_probs(
            inputs, weight, bias, targets, rows, objective=objective
        )
    device = log_probs.device
    nothing = torch.zeros(len(lengths), device=device)
    # Tokens in `order` fill the real places of (M, T) one after the other, row by row.
    real = moved(torch.arange(int(lengths.max())) < lengths[:, None], device)  # (M, T)
    return Likelihood(
        log_probs=nothing.index_add(0, rows, log_probs.float()),
        tokens=moved(lengths, device),
        correct_mask=real.masked_scatter(real, correct[order]),
        penalty=None if penalty is None else nothing.index_add(0, rows, penalty.float()),
        table=table,
    )


def distilled(
    inputs: Tensor,
    weight: Tensor,
    bias: Tensor,
    targets: Tensor,
    order: Tensor,
    *,
    objective: Objective,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return log_probs (P,), correct (P,) and the penalty of distillation, (P,).

    order (P,): the tokens utterance by utterance, as in the teacher's table. With the penalty,
    -log p(target) becomes (1 - a) * -log p(target) + a * -sum of q(w) log p(w), where a is the
    share that is distilled and q the teacher's probability.
    """
    teacher = objective.teacher
    assert teacher is not None
    if len(teacher) != len(targets):
        raise ValueError(
            f"a teacher's table of {len(teacher)} tokens for {len(targets)}; "
            "it must have read the same batch"
        )
    log_table = torch.log_softmax(F.linear(inputs, weight, bias), dim=-1, dtype=torch.float)
    log_probs = log_table.gather(1, targets[:, None]).squeeze(1)
    # `order` inverted: where in the teacher's table each of our tokens stands.
    places = torch.empty_like(order)
    places[order] = torch.arange(len(order), device=order.device)
    instead = -(teacher.index_select(0, places) * log_table).sum(-1)
    correct = log_table.detach().argmax(-1) == targets
    return log_probs, correct, objective.distilled * (instead + log_probs)


def sampled(
    weight: Tensor, bias: Tensor, targets: Tensor, *, count: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Return an output layer's rows for the targets and a sample of the others (Jean et al. 2015).

    weight (V, E), bias (V,), targets (P,) -> weight (S, E), bias (S,), targets (P,) among the S.
    `count` others are drawn. Each counts (V - T) / count times, where T is the number of distinct
    targets, so that the softmax's sum is right on average. A count of V or more gives the exact
    softmax.
    """
    present, places = torch.unique(targets, return_inverse=True)
    absent = torch.ones(len(weight), dtype=torch.bool, device=weight.device)
    absent[present] = False
    rest = absent.nonzero().squeeze(1)
    drawn = rest[torch.randperm(len(rest), device=rest.device)[:count]]
    rows = torch.cat([present, drawn])
    stands_for = torch.zeros(len(rows), dtype=bias.dtype, device=bias.device)
    if len(drawn):
        stands_for[len(present) :] = math.log(len(rest) / len(drawn))
    return F.embedding(rows, weight), bias[rows] + stands_for, places


def penalised_log_probs(
    inputs: Tensor,
    weight: Tensor,
    bias: Tensor,
    targets: Tensor,
    rows: Tensor,
    *,
    objective: Objective,
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Return what layers.token_log_probs does, and an objective's penalty for each target.

    inputs (P, E), weight (V, E), bias (V,), targets (P,); rows (P,): the utterance of each token,
    whose tokens are in order. -> log_probs (P,) float32, correct (P,) bool, penalty (P,) float32,
    to be added to the negative log-probability, or None.
    """
    penalties = []
    if objective.unlikelihood:
        weight, bias = weight.to(inputs.dtype), bias.to(inputs.dtype)  # autocast
        places, tokens = earlier_tokens(targets, rows)
        log_probs, correct, unlikelihood = _Unlikelihood.apply(
            inputs, weight, bias, targets, places, tokens
        )  # type: ignore[no-untyped-call]
        penalties.append(objective.unlikelihood * unlikelihood)
    else:
        log_probs, correct = token_log_probs(inputs, weight, bias, targets)
    if objective.label_smoothing:
        above = F.embedding(targets, weight).float() - weight.float().mean(0)  # (P, E)
        above_mean = (inputs.float() * above).sum(-1) + bias.float()[targets] - bias.float().mean()
        penalties.append(objective.label_smoothing * above_mean)
    return log_probs, correct, torch.stack(penalties).sum(0) if penalties else None


@torch.no_grad()
def earlier_tokens(targets: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Return the distinct tokens before each token in its utterance, except itself.

    targets (P,), rows (P,): as above -> places (Q,) among the P, tokens (Q,): tokens[q] occurs
    before places[q]. For the utterance "a b a c":

        place     0   1   2   3
        target    a   b   a   c
        earlier   -   a   b   a b     at 2, "a" is the target itself; at 3, it counts once
    """
    order = rows.argsort(stable=True)  # utterance by utterance, each in its order
    ids, rows, at = targets[order], rows[order], torch.arange(len(rows), device=rows.device)
    # For each token, the place where its utterance repeats it; the end if it does not.
    again = torch.full_like(at, len(at))
    alike = (rows * (ids.max() + 1) + ids).argsort(stable=True)
    same = (ids[alike][1:] == ids[alike][:-1]) & (rows[alike][1:] == rows[alike][:-1])
    again[alike[:-1][same]] = alike[1:][same]
    # All pairs (later, earlier) of one utterance.
    begins = torch.searchsorted(rows, rows)  # (P,): where the utterance of each token begins
    before = at - begins
    later = at.repeat_interleave(before)
    earlier = torch.arange(len(later), device=rows.device) - (
        before.cumsum(0) - before - begins
    ).repeat_interleave(before)
    # An earlier token counts unless it is repeated up to and including the later one. So each
    # counts once, at its last occurrence, and the target never does.
    kept = again[earlier] > later
    return order[later[kept]], ids[earlier[kept]]


class _Unlikelihood(torch.autograd.Function):
    """layers._TokenLogProbs, plus the sum of -log(1 - p(c)) over each token's candidates c.

    Both come from the same table. If p(c) is near 1, which only the likeliest token can be, then
    1 - p(c) is computed as the sum of all other probabilities, not as a difference. With
    r(c) = p(c) / (1 - p(c)), the gradient with respect to logit j is r(j) - p(j) * (sum of r),
    where r(j) is 0 for all but the candidates. The likeliest token's own terms in its gradient add
    up to p(c), so that value is used directly.
    """

    @staticmethod
    def forward(
        ctx: Any,
        inputs: Tensor,
        weight: Tensor,
        bias: Tensor,
        targets: Tensor,
        places: Tensor,
        tokens: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        table = F.linear(inputs, weight, bias)  # (P, V) logits
        every = torch.arange(len(targets), device=targets.device)
        flat, candidates = every * table.shape[1] + targets, places * table.shape[1] + tokens
        highest, likeliest = table.max(-1, keepdim=True)
        target = table.view(-1)[flat]
        correct = target >= highest.squeeze(1)
        table.sub_(highest).exp_()
        table.scatter_(1, likeliest, 0)
        others = table.sum(-1).float()  # (P,): of all but the likeliest, whose entry is 1
        table.scatter_(1, likeliest, 1)
        total = others + 1
        log_probs = target.float() - highest.squeeze(1).float() - total.log()

        prob = table.view(-1)[candidates].float() / total[places]  # (Q,)
        top = tokens == likeliest.squeeze(1)[places]
        remains = torch.where(top, others[places] / total[places], 1 - prob).clamp_min(LEAST)
        penalty = torch.zeros_like(total).index_add_(0, places, -remains.log())
        ctx.save_for_backward(
            table, total, inputs, weight, flat, candidates, places, top, prob, remains
        )
        ctx.mark_non_differentiable(correct)
        return log_probs, correct, penalty

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        grad_log_probs, _, grad_penalty = grad_outputs
        table, total, inputs, weight, flat, candidates, places, top, prob, remains = (
            ctx.saved_tensors
        )
        ratio = prob / remains  # (Q,)
        of_others = torch.zeros_like(total).index_add_(0, places, ratio.masked_fill(top, 0))
        of_all = of_others.index_add(0, places, ratio.masked_fill(~top, 0))  # (P,)
        everywhere = grad_log_probs + grad_penalty * of_all  # times -p: every logit's gradient
        # A candidate's own gradient, avoiding the difference of two huge numbers to which
        # r - p * (sum of r) would lead near p = 1.
        own = torch.where(top, prob - prob * of_others[places], ratio - prob * of_all[places])
        at_candidates = grad_penalty[places] * own - grad_log_probs[places] * prob
        at_targets = grad_log_probs - table.view(-1)[flat].float() / total * everywhere
        table.mul_((-everywhere / total)[:, None].to(table.dtype))
        table.view(-1)[candidates] = at_candidates.to(table.dtype)
        table.view(-1)[flat] = at_targets.to(table.dtype)
        return table @ weight, table.t() @ inputs, table.sum(0), None, None, None
