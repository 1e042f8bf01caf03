"""One step of a beam: which of all (hypothesis, token) pairs go on. Functions over tables (R, V).

Each returns 2K candidates per conversation. At least K of them can go on, since each hypothesis has
only one </s>.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from dialogue.decoding.paths import IMPOSSIBLE, without_nan_

SIZES = range(32, 7, -1)  # possible block sizes, in tokens


class Candidates(NamedTuple):
    """Pairs of a hypothesis and its next token, best first. All (N, C)."""

    priorities: Tensor  # what they are ranked by
    scores: Tensor  # what the hypothesis would sum up to
    flat: Tensor  # hypothesis * V + token


class Blocks(NamedTuple):
    """How the rows of K hypotheses are cut into S blocks each, of B tokens: s, s + S, s + 2S ..."""

    members: Tensor  # (K * S, B): indices into K * V
    rows: Tensor  # (K * S,): the row that a block belongs to


@lru_cache(maxsize=16)
def blocks_of(k: int, vocabulary: int, device: torch.device) -> Blocks | None:
    """Cut K rows of V tokens into blocks; return None if V cannot be cut evenly."""
    size = next(
        (size for size in SIZES if vocabulary % size == 0 and vocabulary >= size * size), None
    )
    if size is None:
        return None
    members = (
        torch.arange(k * vocabulary, device=device)
        .view(k, size, -1)
        .transpose(1, 2)
        .reshape(-1, size)
    )
    return Blocks(members, members[:, 0] // vocabulary)


def best(table: Tensor, totals: Tensor) -> Candidates:
    """Take the 2K best of table (R, V) + totals (N, K): beam search.

    This is a flat top-k over (N, K * V) in two stages: the 2K best are among the 2K blocks with the
    highest maxima, and the maximum of each block is several times faster to find than the top of
    all. NaN is never taken.
    """
    n, k = totals.shape
    vocabulary = table.shape[1]
    count, blocks = min(2 * k, k * vocabulary), blocks_of(k, vocabulary, table.device)
    if blocks is None or count > blocks.rows.shape[0]:
        scores, flat = (
            without_nan_(table.view(n, k, -1) + totals[:, :, None]).view(n, -1).topk(count)
        )
        return Candidates(scores, scores, flat)
    # A candidate among the 2K best is no higher than the maximum of its block, and each block with
    # a higher maximum contains a better candidate: there are at most 2K - 1 of those. So its block
    # is among the 2K chosen.
    size = blocks.members.shape[1]
    maxima = table.view(n * k, size, -1).amax(1).add_(totals.view(-1, 1))  # (R, S)
    chosen = without_nan_(maxima).view(n, -1).topk(count).indices  # (N, 2K)
    members = blocks.members[chosen]  # (N, 2K, B)
    scores = table.view(n, -1).gather(1, members.view(n, -1)).view(n, count, size)
    scores = without_nan_(scores.add_(totals.gather(1, blocks.rows[chosen])[:, :, None]))
    scores, inside = scores.view(n, -1).topk(count)
    return Candidates(scores, scores, members.view(n, -1).gather(1, inside))


def diverse(table: Tensor, totals: Tensor, penalty: float) -> Candidates:
    """Take the 2K best of table (R, V) + totals (N, K), less `penalty` for each better sibling.

    Siblings have the same parent (Li and Jurafsky 2016). The penalty is not added to the totals.
    """
    n, k = totals.shape
    vocabulary = table.shape[1]
    count = min(2 * k, vocabulary)
    siblings, tokens = without_nan_(table).topk(count)
    scores = siblings.view(n, k, count) + totals[:, :, None]
    priorities = scores - penalty * torch.arange(count, device=table.device)
    flat = tokens.view(n, k, count) + (torch.arange(k, device=table.device) * vocabulary)[:, None]
    priorities, chosen = priorities.view(n, -1).topk(min(2 * k, k * count), dim=1)
    return Candidates(
        priorities, scores.view(n, -1).gather(1, chosen), flat.view(n, -1).gather(1, chosen)
    )


def grouped(
    table: Tensor, totals: Tensor, groups: int, *, penalty: float, eos_id: int
) -> Candidates:
    """Take the 2K best of each group, penalising tokens that earlier groups take.

    A token costs `penalty` for every hypothesis of an earlier group that continues with it: Hamming
    diversity (Vijayakumar et al. 2018), one group after the other, as in the paper. K is the size
    of a group; table (R, V), totals (N * groups, K). The penalty is not added to the totals.
    """
    rows, k = totals.shape
    vocabulary = table.shape[1]
    table, totals = table.view(-1, groups, k, vocabulary), totals.view(-1, groups, k)
    said = table.new_zeros(len(table), vocabulary)
    found = []
    for group in range(groups):
        scores = without_nan_(table[:, group] + totals[:, group, :, None])
        priorities = (scores - said[:, None]).view(len(table), -1)
        priorities, flat = priorities.topk(min(2 * k, k * vocabulary), dim=1)
        tokens = flat % vocabulary
        # As the search will choose: the K best that do not end. A finished group takes no tokens.
        going_on = (tokens != eos_id) & ((tokens != eos_id).cumsum(1) <= k)
        going_on &= priorities > IMPOSSIBLE
        said.scatter_add_(1, tokens, going_on * penalty)
        found.append(Candidates(priorities, scores.view(len(table), -1).gather(1, flat), flat))
    return Candidates(
        *(torch.stack(tensors, dim=1).view(rows, -1) for tensors in zip(*found, strict=True))
    )
