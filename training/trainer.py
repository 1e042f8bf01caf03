"""One optimiser step and one validation, whatever the device and precision."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from dialogue.device import computes_in_bf16
from dialogue.models import Batch, Likelihood, ModelModule

GRADIENT_NORM = 1.0  # Serban et al. 2016


class StepFigures(NamedTuple):
    """What a step shows: scalar tensors on the device, so that nothing waits for it."""

    loss: Tensor  # mean negative log-likelihood a token
    norm: Tensor  # of the gradient, before it is clipped
    accuracy: Tensor  # share of tokens that the model would have chosen itself


class Trainer:
    """A model in training: float32 master weights, Adam over them, and where bfloat16 is fast a copy in it that computes."""

    def __init__(self, model: ModelModule[Any], *, learning_rate: float, precision: str, device: torch.device) -> None:
        self.model = model.to(device).train()
        self.device = device
        bf16 = computes_in_bf16(device) if precision == "auto" else precision == "bf16"
        self._autocast = bf16 and device.type == "cuda"
        self._computing = copy.deepcopy(self.model).bfloat16() if bf16 and not self._autocast else self.model
        self.optimiser = torch.optim.Adam(self.model.parameters(), lr=learning_rate, fused=device.type in ("cpu", "cuda"))

    def step(self, batch: Batch, *, learning_rate: float) -> StepFigures:
        """Take one optimiser step on the mean loss a token of a batch; of its turns those count that are to be learnt."""
        with torch.autocast("cuda", torch.bfloat16, enabled=self._autocast):
            likelihood = self._computing.log_likelihood(batch.to(self.device))
        if batch.taught is not None:
            taught = batch.taught.to(self.device)
            likelihood = Likelihood(*(figures * taught for figures in likelihood))
        tokens = likelihood.tokens.sum().clamp_min(1)
        loss = -likelihood.log_probs.sum() / tokens
        self._computing.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        masters = list(self.model.parameters())
        if self._computing is not self.model:
            for master, twin in zip(masters, self._computing.parameters(), strict=True):
                master.grad = None if twin.grad is None else twin.grad.float()
        norm = nn.utils.clip_grad_norm_(masters, GRADIENT_NORM)
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate
        self.optimiser.step()
        self.refresh()
        return StepFigures(loss.detach(), norm, likelihood.correct.sum() / tokens)

    @torch.no_grad()
    def refresh(self) -> None:
        """Bring the computing copy up to the master weights."""
        if self._computing is not self.model:
            torch._foreach_copy_(list(self._computing.parameters()), list(self.model.parameters()))

    @torch.no_grad()
    def validate(self, planned: Iterable[Batch]) -> tuple[float, float]:
        """Give perplexity a token and token accuracy over batches: of every turn but a conversation's first."""
        self._computing.eval()
        log_probs, tokens, correct = 0.0, 0, 0
        for batch in planned:
            found = self._computing.log_likelihood(batch.to(self.device))
            later = torch.ones(len(batch.lengths), dtype=torch.bool)
            later[batch.turns.cumsum(0) - batch.turns] = False
            later = later.to(self.device)
            log_probs += float(found.log_probs[later].sum())
            tokens += int(found.tokens[later].sum())
            correct += int(found.correct[later].sum())
        self._computing.train()
        if not tokens:
            raise ValueError("the validation split has no turn that follows another; validation needs conversations of two turns")
        return math.exp(min(-log_probs / tokens, 700)), correct / tokens
