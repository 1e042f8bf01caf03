"""Scheduled sampling (Bengio et al. 2015, arXiv 1506.03099): a decoder reads some of its own words.

What it would have said is found first, token by token and without gradients, with the same calls
that talking uses. The training pass then reads it in one go, like true words.
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
    """How a decoder finds its own words: the likeliest, or drawn from its distribution."""

    by: str
    bos_id: int

    @torch.no_grad()
    def mix(self, model: ModelModule[Any], batch: Batch, *, truth: float) -> Batch:
        """Replace some true tokens that the decoder reads with its own.

        Each true token is kept with probability `truth`, independently of all others. The decoder's
        own tokens continue what it has read so far, true or not. Draws from torch's global
        generator.
        """
        if truth >= 1:
            return batch
        token_ids = batch.token_ids
        read, device = token_ids.clone(), token_ids.device
        true = torch.rand(token_ids.shape, device=device) < truth
        # Longest first: the rows that still read a token at step t are then always the first
        # alive[t] ones, so the decoder state only ever shrinks from its end.
        order = batch.lengths.argsort(descending=True, stable=True)
        alive = (batch.lengths[:, None] - 1 > torch.arange(token_ids.shape[1])).sum(0).tolist()
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
        return replace(batch, decoder_input=read, origin=None)

    def _chosen(self, log_probs: Tensor) -> Tensor:
        if self.by == "argmax":
            return log_probs.argmax(-1)
        # The Gumbel trick: the argmax of noisy log-probabilities is a draw from the softmax.
        noise = torch.empty_like(log_probs).exponential_().log_()
        return (log_probs - noise).argmax(-1)
