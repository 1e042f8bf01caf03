"""What every step of a search chose, and the replies that are read back out of it: nothing is copied while the search runs."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

IMPOSSIBLE = float("-inf")


@dataclass(frozen=True)
class Hypothesis:
    """A reply: its tokens without </s>, their log-probability with </s>, and what its rank goes by.

    token_log_probs: of every token, </s> last; they add up to log_prob. A search that ran out of time gives hypotheses that
    are not finished: </s> is neither reached nor counted.
    """

    token_ids: tuple[int, ...]
    log_prob: float  # the model's own, whatever temperature and penalties made of it
    score: float  # what the search summed up, over the length penalty
    token_log_probs: tuple[float, ...] = ()
    finished: bool = True


class Taken(NamedTuple):
    """What one step took for N beams of K: hypotheses that ended, and those that go on. All (N, K)."""

    ended: Tensor  # scores over the length penalty, minus infinity where none ended
    ended_sums: Tensor  # the model's own log-probability of the same
    ended_from: Tensor  # the hypothesis, 0 to K - 1, that </s> was said to
    tokens: Tensor  # said by those that go on
    parents: Tensor  # the hypothesis that each one extends
    sums: Tensor  # the model's own log-probability so far


def penalty(length: int, alpha: float) -> float:
    """Give GNMT's length penalty (Wu et al. 2016, eq. 14)."""
    return float(((5 + length) / 6) ** alpha)


def without_nan_(scores: Tensor) -> Tensor:
    """Make what is no number impossible, in place: it would compare as the highest."""
    return scores.nan_to_num_(nan=IMPOSSIBLE, posinf=IMPOSSIBLE, neginf=IMPOSSIBLE)


@dataclass
class Paths:
    """The steps of a search over N beams of K hypotheses, one entry a step."""

    keep: int  # K
    steps: list[Taken] = field(default_factory=list)

    def worst_kept(self) -> Tensor:
        """Give the score of the K-th best finished hypothesis of each beam, (N,): minus infinity where there are fewer."""
        return torch.cat([step.ended for step in self.steps], dim=1).topk(self.keep, dim=1).values[:, -1]

    def select(self, beams: Tensor) -> Paths:
        """Take the beams (M,) out of all N."""
        return Paths(self.keep, [Taken(*(tensor[beams] for tensor in step)) for step in self.steps])

    def read(self) -> list[list[Hypothesis]]:
        """List the best K finished hypotheses of each beam, best first."""
        if not self.steps:
            return []
        n, k = self.steps[0].ended.shape
        best, flat = torch.stack([step.ended for step in self.steps], dim=1).view(n, -1).topk(self.keep, dim=1)
        scores, places = best.tolist(), flat.tolist()
        columns = self._columns()
        found = []
        for beam in range(n):
            hypotheses = []
            for score, place in zip(scores[beam], places[beam], strict=True):
                if score != IMPOSSIBLE:
                    length, row = divmod(place, k)
                    total = columns.ended_sums[length][beam][row]
                    hypotheses.append(columns.trace(beam, columns.ended_from[length][beam][row], length, total, score))
            found.append(hypotheses)
        return found

    def read_unfinished(self, totals: Tensor, alpha: float) -> list[list[Hypothesis]]:
        """List what each beam has so far, best first: totals (N, K) are what the search summed up."""
        length, columns = len(self.steps), self._columns()
        order = totals.sort(dim=1, descending=True)
        found = []
        for beam, (scores, rows) in enumerate(zip(order.values.tolist(), order.indices.tolist(), strict=True)):
            going_on = [
                (score / penalty(length, alpha), row) for score, row in zip(scores, rows, strict=True) if score != IMPOSSIBLE
            ]
            found.append([columns.trace(beam, row, length, None, score) for score, row in going_on])
        return found

    def _columns(self) -> _Columns:
        return _Columns(*(torch.stack(tensors).tolist() for tensors in list(zip(*self.steps, strict=True))[1:]))


class _Columns(NamedTuple):
    """The steps as lists: [step][beam][hypothesis]."""

    ended_sums: list[list[list[float]]]
    ended_from: list[list[list[int]]]
    tokens: list[list[list[int]]]
    parents: list[list[list[int]]]
    sums: list[list[list[float]]]

    def trace(self, beam: int, row: int, length: int, total: float | None, score: float) -> Hypothesis:
        """Follow the parents back from a row after `length` tokens. total: with </s>, None where it was not reached."""
        token_ids, sums = [], [] if total is None else [total]
        for step in range(length - 1, -1, -1):
            token_ids.append(self.tokens[step][beam][row])
            sums.append(self.sums[step][beam][row])
            row = self.parents[step][beam][row]
        sums = [0.0, *reversed(sums)]
        log_probs = tuple(after - before for before, after in itertools.pairwise(sums))
        return Hypothesis(tuple(reversed(token_ids)), sums[-1], score, log_probs, total is not None)
