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
        order = order.to(device)
        state: DecoderState = model.start(histories_before(model, batch)[order])
        before = torch.full((len(order),), self.bos_id, device=device)
        for time, count in enumerate(alive):
            if not count:
                break
            rows = order[:count]
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


@torch.no_grad()
def histories_before(model: ModelModule[Any], batch: Batch) -> Tensor:
    """Give the history vector that stands before each utterance of a batch, turn by turn: (M, C)."""
    token_ids, lengths = batch.encoder_input or (batch.token_ids, batch.lengths)
    first = batch.turns.cumsum(0) - batch.turns  # (N,): where each conversation begins among the M
    device, history = token_ids.device, batch.history
    if history is None:  # as zeros, of a size that the model alone knows
        history = torch.zeros_like(model.encode_turn(token_ids[:1], lengths[:1], None)).expand(
            len(first), -1
        )
    going_on, places, vectors = torch.arange(len(first)), [first], [history]
    for turn in range(1, int(batch.turns.max())):
        staying = batch.turns[going_on] > turn
        going_on, history = going_on[staying], history[staying.to(device)]
        said = first[going_on] + turn - 1
        history = model.encode_turn(token_ids[said.to(device)], lengths[said], history)
        places.append(said + 1)
        vectors.append(history)
    before = torch.cat(vectors)[torch.cat(places).argsort().to(device)]
    if batch.without_history is not None:
        before = before.masked_fill(batch.without_history[:, None], 0)
    return before
