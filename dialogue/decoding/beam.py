"""Beam search, batched over conversations and hypotheses, for any step function.

A step's cost is one call of the model for N * K rows and one flat top-k; nothing in the loop waits for the device but
the question, every few steps, whether all conversations are done.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from dialogue.config import DecodeConfig
from dialogue.decoding.constraints import IMPOSSIBLE, Constraint
from dialogue.models import DecoderState

State = TypeVar("State", bound=DecoderState)
Step = Callable[[Tensor, State], tuple[Tensor, State]]
LOOK_EVERY = 4  # steps between two questions whether all is done


@dataclass(frozen=True)
class Hypothesis:
    """A finished reply: its tokens without </s>, the sum of their log-probabilities with </s>, and its rank's score."""

    token_ids: tuple[int, ...]
    log_prob: float
    score: float  # log_prob over the length penalty


@dataclass
class _Finished:
    """The best K finished hypotheses of each conversation: scores (N, K), log_probs (N, K), tokens (N, K, T), lengths (N, K)."""

    scores: Tensor
    log_probs: Tensor
    tokens: Tensor
    lengths: Tensor

    def add(self, scores: Tensor, log_probs: Tensor, tokens: Tensor, length: int) -> None:
        """Let K new ones in, (N, K) each and tokens (N, K, T), and keep the best K."""
        keep = self.scores.shape[1]
        self.scores, best = torch.cat([self.scores, scores], dim=1).topk(keep, dim=1)
        self.log_probs = torch.cat([self.log_probs, log_probs], dim=1).gather(1, best)
        lengths = torch.cat([self.lengths, torch.full_like(self.lengths, length)], dim=1)
        self.lengths = lengths.gather(1, best)
        both = torch.cat([self.tokens, tokens], dim=1)
        self.tokens = both.gather(1, best[:, :, None].expand(-1, -1, both.shape[2]))


@torch.no_grad()
def beam_search(
    step: Step[State],
    state: State,
    conversations: int,
    *,
    config: DecodeConfig,
    bos_id: int,
    eos_id: int,
    constraints: Sequence[Constraint] = (),
    device: torch.device | None = None,
) -> list[list[Hypothesis]]:
    """Find the K best replies of each conversation, best first.

    step: a model's; state: N rows, one for each of the `conversations`. Every hypothesis ends by </s>, which is the only
    token left at the maximum length, so that a score is the teacher-forced score of its tokens. A row whose tokens are
    all blocked may end there, whatever the constraints say.
    """
    n, k, longest = conversations, config.beam_size, config.max_length
    state = state.repeat(k)
    first_of = (torch.arange(n, device=device) * k)[:, None]  # (N, 1): the row where each conversation's beam begins
    written = torch.full((n * k, longest), eos_id, device=device)
    last = torch.full((n * k,), bos_id, device=device)
    log_probs = torch.full((n, k), IMPOSSIBLE, device=device)
    log_probs[:, 0] = 0.0  # all hypotheses are alike at first: only one of them is expanded
    pool = torch.full((n, k), IMPOSSIBLE, device=device)
    finished = _Finished(pool, pool, written.view(n, k, longest), torch.zeros(n, k, dtype=torch.long, device=device))
    best_case = _penalty(longest, config.length_penalty)
    for length in range(longest + 1):
        next_log_probs, state = step(last, state)  # (R, V)
        vocabulary = next_log_probs.shape[1]
        ending = next_log_probs[:, eos_id].clone()
        if length == longest:
            next_log_probs = torch.full_like(next_log_probs, IMPOSSIBLE)
            next_log_probs[:, eos_id] = ending
        for constrain in constraints:
            next_log_probs = constrain(next_log_probs, written[:, :length])
        candidates = log_probs[:, :, None] + next_log_probs.view(n, k, vocabulary)
        stuck = candidates.amax(-1) == IMPOSSIBLE  # (N, K)
        candidates[:, :, eos_id] = torch.where(stuck, log_probs + ending.view(n, k), candidates[:, :, eos_id])

        # 2K candidates hold K that go on, whatever ends: each parent has one </s> only.
        totals, flat = candidates.view(n, -1).topk(min(2 * k, k * vocabulary), dim=1)
        tokens, parents = flat % vocabulary, first_of + flat // vocabulary  # (N, 2K)
        ends = tokens == eos_id
        ended = totals[:, :k].masked_fill(~ends[:, :k], IMPOSSIBLE)
        finished.add(ended / _penalty(length, config.length_penalty), ended, written[parents[:, :k]], length)
        if length == longest:
            break
        log_probs, chosen = totals.masked_fill(ends, IMPOSSIBLE).topk(k, dim=1)
        if k == 1:  # a beam of one is greedy: where it ends, no other hypothesis goes on
            log_probs = log_probs.masked_fill(ends[:, :1], IMPOSSIBLE)
        rows = parents.gather(1, chosen).view(-1)
        last = tokens.gather(1, chosen).view(-1)
        written = written[rows]
        written[:, length] = last
        state = state.select(rows)
        if length % LOOK_EVERY == LOOK_EVERY - 1:
            hopeless = log_probs[:, 0] / best_case <= finished.scores[:, -1]
            if bool(hopeless.all()):
                break
    return _read_out(finished)


def _penalty(length: int, alpha: float) -> float:
    """Give GNMT's length penalty (Wu et al. 2016, eq. 14)."""
    return float(((5 + length) / 6) ** alpha)


def _read_out(finished: _Finished) -> list[list[Hypothesis]]:
    found = []
    columns = (finished.scores.tolist(), finished.log_probs.tolist(), finished.tokens.tolist(), finished.lengths.tolist())
    for scores, log_probs, tokens, lengths in zip(*columns, strict=True):
        hypotheses = zip(scores, log_probs, tokens, lengths, strict=True)
        found.append([Hypothesis(tuple(t[:length]), p, s) for s, p, t, length in hypotheses if s != IMPOSSIBLE])
    return found
