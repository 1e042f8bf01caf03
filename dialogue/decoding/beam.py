"""One step of a beam: which of all (hypothesis, token) pairs go on. Functions over tables (N, K, V).

Each gives 2K candidates a conversation (K of them go on, whatever ends: each hypothesis has one </s> only).
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from dialogue.decoding.paths import without_nan_

BLOCKS = range(32, 7, -1)  # into how many blocks a row may be cut: few enough to search, small enough to skip


class Candidates(NamedTuple):
    """Pairs of a hypothesis and its next token, best rank first. All (N, C)."""

    ranks: Tensor  # what they are compared by
    scores: Tensor  # what the hypothesis would have summed up
    flat: Tensor  # hypothesis * V + token


def best(table: Tensor, totals: Tensor) -> Candidates:
    """Take the 2K best of table (N, K, V) + totals (N, K): beam search.

    A flat top-k over (N, K * V) in two stages: the 2K best are among the 2K blocks with the highest maxima, and a maximum of
    each block is several times faster to find than the top of all. A number that is none (NaN) is never taken.
    """
    n, k, vocabulary = table.shape
    count = min(2 * k, k * vocabulary)
    members = _members(k, vocabulary, table.device)
    if members is None or count > len(members):
        scores = without_nan_(table + totals[:, :, None])
        scores, flat = scores.view(n, -1).topk(count, dim=1)
        return Candidates(scores, scores, flat)
    width = members.shape[1]
    maxima = table.view(n, k, width, -1).amax(2)  # (N, K, S): of tokens s, s + S, s + 2S ...
    maxima = without_nan_(maxima.add_(totals[:, :, None])).view(n, -1)
    blocks = maxima.topk(count, dim=1).indices  # (N, 2K)
    inside = members[blocks].view(n, -1)  # (N, 2K * B) into K * V
    scores = table.view(n, -1).gather(1, inside).view(n, count, width)
    scores = without_nan_(scores.add_(totals.gather(1, blocks // (vocabulary // width))[:, :, None])).view(n, -1)
    scores, chosen = scores.topk(count, dim=1)
    return Candidates(scores, scores, inside.gather(1, chosen))


@lru_cache(maxsize=16)
def _members(k: int, vocabulary: int, device: torch.device) -> Tensor | None:
    """List what each block of K rows holds, (K * S, B), as indices into K * V; None where V cannot be cut evenly."""
    blocks = next((blocks for blocks in BLOCKS if vocabulary % blocks == 0 and vocabulary >= blocks * blocks), None)
    if blocks is None:
        return None
    rows = torch.arange(k * vocabulary, device=device).view(k, blocks, vocabulary // blocks)
    return rows.transpose(1, 2).reshape(-1, blocks)


def diverse(table: Tensor, totals: Tensor, penalty: float) -> Candidates:
    """Take the 2K best after `penalty` for each better sibling of the same parent (Li and Jurafsky 2016). It is not summed up."""
    n, k, vocabulary = table.shape
    count = min(2 * k, vocabulary)
    siblings, tokens = without_nan_(table.view(n * k, vocabulary)).topk(count, dim=1)
    scores = siblings.view(n, k, count) + totals[:, :, None]
    ranks = scores - penalty * torch.arange(count, device=table.device)
    flat = tokens.view(n, k, count) + (torch.arange(k, device=table.device) * vocabulary)[:, None]
    ranks, chosen = ranks.view(n, -1).topk(min(2 * k, k * count), dim=1)
    return Candidates(ranks, scores.view(n, -1).gather(1, chosen), flat.view(n, -1).gather(1, chosen))


def grouped(table: Tensor, totals: Tensor, groups: int, *, penalty: float, eos_id: int) -> Candidates:
    """Take the 2K best of each group; a token costs `penalty` for every hypothesis of an earlier group that goes on with it.

    Vijayakumar et al. 2018 with Hamming diversity. table (N * groups, K, V), K being the size of a group; one group after
    the other, as the paper has it. The penalty is not summed up.
    """
    rows, k, vocabulary = table.shape
    table, totals = table.view(-1, groups, k, vocabulary), totals.view(-1, groups, k)
    said = table.new_zeros(len(table), vocabulary)
    found = []
    for group in range(groups):
        scores = without_nan_(table[:, group] + totals[:, group, :, None])
        ranks = (scores - said[:, None]).view(len(table), -1)
        ranks, flat = ranks.topk(min(2 * k, k * vocabulary), dim=1)
        tokens = flat % vocabulary
        going_on = (tokens != eos_id) & ((tokens != eos_id).cumsum(1) <= k)
        said.scatter_add_(1, tokens, going_on * penalty)
        found.append(Candidates(ranks, scores.view(len(table), -1).gather(1, flat), flat))
    return Candidates(*(torch.stack(tensors, dim=1).view(rows, -1) for tensors in zip(*found, strict=True)))
