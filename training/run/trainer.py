"""One optimiser step and one validation, on any device and in any precision."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from dialogue.device import computes_in_bf16
from dialogue.models import (
    LIKELIHOOD,
    Batch,
    Likelihood,
    ModelModule,
    Objective,
    Penalises,
    ReadsOn,
)
from training.run.distributed import ALONE, Processes
from training.run.scheduled_sampling import OwnWords

GRADIENT_NORM = 1.0  # Serban et al. 2016
OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,  # with torch's weight decay, 0.01
    "sgd": partial(torch.optim.SGD, momentum=0.9, nesterov=True),
}


class StepMetrics(NamedTuple):
    """What a step reports: scalar tensors on the device, so that nothing waits for it."""

    loss: Tensor  # mean negative log-likelihood per token
    norm: Tensor  # of the gradient, before clipping
    accuracy: Tensor  # share of tokens that are the model's likeliest


def check_abilities(
    model: ModelModule[Any], *, objective: Objective, own_words: bool, carries: bool
) -> None:
    """Check that a model can be fitted in the ways asked for.

    Raises ValueError if it cannot.
    """
    if carries and not isinstance(model, ReadsOn):
        raise ValueError(
            f"{type(model).__name__} has no `read_on`: it cannot carry a state from batch to "
            "batch; leave --bptt out"
        )
    if (objective != LIKELIHOOD or own_words) and not isinstance(model, Penalises):
        raise ValueError(
            f"{type(model).__name__} has no `penalised`, so it can only be fitted by "
            "cross-entropy over true words; "
            "leave --label-smoothing, --unlikelihood, --teacher and --teacher-forcing out"
        )


class Trainer:
    """A model in training: float32 master weights, their optimiser, and perhaps a bfloat16 copy.

    A CPU that is fast in bfloat16 computes with that copy; a GPU uses autocast instead.
    """

    def __init__(
        self,
        model: ModelModule[Any],
        *,
        learning_rate: float,
        precision: str,
        device: torch.device,
        optimizer: str = "adam",
        objective: Objective = LIKELIHOOD,
        own_words: OwnWords | None = None,
        teacher: ModelModule[Any] | None = None,
        carries: bool = False,
        processes: Processes = ALONE,
    ) -> None:
        """Prepare a model for training.

        own_words: how its decoder finds its own words, if it is to read some. teacher: the model
        whose probabilities it learns, with the weight `distilled` of the objective. carries: every
        batch continues where the previous one stopped, from `carried`, the model's state there.
        Raises ValueError if the model does not support the objective.
        """
        check_abilities(
            model, objective=objective, own_words=own_words is not None, carries=carries
        )
        self._objective, self._own_words, self._carries = objective, own_words, carries
        self.carried: Tensor | None = None  # (N, C); None before the first batch
        self.model = model.to(device).train()
        self._teacher = None if teacher is None else teacher.to(device).eval()
        self.device = device
        self._processes = processes
        bf16 = computes_in_bf16(device) if precision == "auto" else precision == "bf16"
        # The optimiser keeps float32 weights, since bfloat16 would round small steps away.
        self._autocast = bf16 and device.type == "cuda"
        self._computing = (
            copy.deepcopy(self.model).bfloat16() if bf16 and not self._autocast else self.model
        )
        build = OPTIMIZERS[optimizer]
        self.optimiser = build(
            self.model.parameters(), lr=learning_rate, fused=device.type in ("cpu", "cuda")
        )

    def step(self, batch: Batch | None, *, learning_rate: float, truth: float = 1.0) -> StepMetrics:
        """Take one optimiser step on the mean loss per token of the turns to be learnt.

        batch: this process's share, None if it got none. The mean is over the tokens of all
        processes. truth: the share of true words that the decoder reads; the others are its own.
        Raises ValueError if the carried state does not have this batch's rows.
        """
        # 1. This process's share: sums, not means, so that the shares can be added up.
        self._computing.zero_grad(set_to_none=True)
        loss, penalty, tokens, correct = self._sums(batch, truth)
        tokens = self._processes.add_up([tokens])[0].clamp_min(1)
        loss = loss / tokens
        if batch is not None:
            (loss + penalty / tokens).backward()  # type: ignore[no-untyped-call]
        # 2. Add the gradients of all processes up, in float32, on the master weights.
        masters, twins = (
            [p for p in model.parameters() if p.requires_grad]
            for model in (self.model, self._computing)
        )
        # A parameter that this share does not reach gets zeros: another process's share may reach
        # it, and the result must not depend on the number of processes.
        shares = [torch.zeros_like(twin) if twin.grad is None else twin.grad for twin in twins]
        *gradients, loss, correct = self._processes.add_up(
            [*(share.float() for share in shares), loss.detach(), correct]
        )
        for master, gradient in zip(masters, gradients, strict=True):
            master.grad = gradient
        # 3. Every process now has the same gradients, hence takes the same step.
        # Clipped after the sum, or the result would depend on how the batch was shared.
        norm = nn.utils.clip_grad_norm_(masters, GRADIENT_NORM)
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate
        self.optimiser.step()
        self.refresh()
        return StepMetrics(loss, norm, correct / tokens)

    def _sums(self, batch: Batch | None, truth: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Sum loss, penalty, tokens and correct tokens over the turns that are to be learnt."""
        nothing = torch.zeros((), device=self.device)
        if batch is None:
            return nothing, nothing, nothing, nothing
        with torch.autocast("cuda", torch.bfloat16, enabled=self._autocast):
            if self._carries and self.carried is not None:
                if len(self.carried) != len(batch.turns):
                    raise ValueError(
                        f"a state of {len(self.carried)} rows cannot continue in a batch of "
                        f"{len(batch.turns)}; leave --batch-tokens and --bptt as they were"
                    )
                batch = replace(batch, history=self.carried)  # detached: BPTT ends at the batch
            batch = batch.to(self.device)
            if self._own_words is not None:
                self._computing.eval()  # without dropout, as when it talks
                batch = self._own_words.mix(self._computing, batch, truth=truth)
                self._computing.train()
            likelihood = self._likelihood(batch)
        if batch.loss_mask is not None:
            likelihood = likelihood.of(batch.loss_mask)
        penalty = nothing if likelihood.penalty is None else likelihood.penalty.sum()
        return (
            -likelihood.log_probs.sum(),
            penalty,
            likelihood.tokens.sum().float(),
            likelihood.correct_count.sum().float(),
        )

    def _likelihood(self, batch: Batch) -> Likelihood:
        if self._carries:
            assert isinstance(self._computing, ReadsOn)  # check_abilities made sure
            found, self.carried = self._computing.read_on(batch, self._objective)
            return found
        if isinstance(self._computing, Penalises):
            objective = self._objective
            if isinstance(self._teacher, Penalises):
                every = replace(batch, loss_mask=None)  # the table has a row for each token
                with torch.no_grad():
                    told = self._teacher.penalised(every, Objective(keeps_table=True))
                objective = replace(objective, teacher=told.table)
            return self._computing.penalised(batch, objective)
        return self._computing.log_likelihood(batch)

    @torch.no_grad()
    def refresh(self) -> None:
        """Copy the master weights to the computing copy."""
        if self._computing is not self.model:
            torch._foreach_copy_(list(self._computing.parameters()), list(self.model.parameters()))

    @torch.no_grad()
    def validate(self, planned: Iterable[Batch]) -> tuple[float, float]:
        """Return perplexity per token and token accuracy over the batches of all processes.

        The first turn of each conversation does not count. Raises ValueError if there is no other.
        """
        self._computing.eval()
        sums = torch.zeros(3, dtype=torch.float64)  # log-probability, tokens, correct tokens
        for batch in planned:
            found = self._computing.log_likelihood(batch.to(self.device))
            # The first turn has no history, so predicting it says little about the model.
            later = torch.ones(len(batch.lengths), dtype=torch.bool)
            later[batch.turns.cumsum(0) - batch.turns] = False
            if batch.loss_mask is not None:
                later &= batch.loss_mask.cpu()
            kept = found.of(later.to(self.device))
            figures = (kept.log_probs, kept.tokens, kept.correct_count)
            sums += torch.stack([figure.sum().double() for figure in figures]).cpu()
        self._computing.train()
        log_probs, tokens, correct = self._processes.add_up([sums])[0].tolist()
        if not tokens:
            raise ValueError(
                "the validation split has no conversation of two turns or more; "
                "validation needs one"
            )
        return math.exp(min(-log_probs / tokens, 700)), correct / tokens  # exp(710) overflows
