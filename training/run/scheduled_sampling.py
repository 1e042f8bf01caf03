"""Scheduled sampling (Bengio et al. 2015, arXiv 1506.03099): a decoder in training reads some words of its own.

What it would have said is found by the calls that talking uses, token by token and without gradients; the pass that learns
then reads it in one go, as it reads the true words.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from dialogue.models import Batch, DecoderState, ModelModule
from dialogue.models.history import empty_history, histories_before

WAYS = ("argmax", "sample")


@dataclass(frozen=True)
class OwnWords:
    """How a decoder finds the words that it reads in place of true ones: its likeliest, or drawn as likely as it finds them."""

    by: str
    bos_id: int

    @torch.no_grad()
    def mix(self, model: ModelModule[Any], batch: Batch, *, truth: float) -> Batch:
        """Let the decoder read each true token with the probability `truth`, apart from all others, else one of its own.

        Its own continue what it has read so far, be that true or not. Random by torch's global generator.
        """
        if truth >= 1:
            return batch
        token_ids = batch.token_ids
        read, device = token_ids.clone(), token_ids.device
        true = torch.rand(token_ids.shape, device=device) < truth
        order = batch.lengths.argsort(descending=True, stable=True)
        alive = (
            (batch.lengths[:, None] - 1 > torch.arange(token_ids.shape[1])).sum(0).tolist()
        )  # whose token t is read
        histories = histories_before(model.encode_turn, batch, empty_history(model))
        state: DecoderState = model.start(histories[order])
        on_device = order.to(device)
        before = torch.full((len(order),), self.bos_id, device=device)
        for time, count in enumerate(alive):
            if not count:
                break
            rows = on_device[:count]
            state = state.select(torch.arange(count, device=device))
            log_probs, state = model.step(before[:count], state)
            before = torch.where(true[rows, time], token_ids[rows, time], self._chosen(log_probs))
            read[rows, time] = before
        return replace(batch, decoder_input=read)

    def _chosen(self, log_probs: Tensor) -> Tensor:
        if self.by == "argmax":
            return log_probs.argmax(-1)
        noise = (
            torch.empty_like(log_probs).exponential_().log_()
        )  # Gumbel's trick: the maximum falls as softmax would draw
        return (log_probs - noise).argmax(-1)
