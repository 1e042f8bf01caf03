"""What every step of a search chose, and how the replies are read back at the end.

Nothing is copied while the search runs. A step keeps K numbers, parent * V + token, and a reply is
read from its end to its beginning, from parent to parent. With K = 2 hypotheses and V = 10:

    step             0         1         2
    hypothesis 0     3        13        14      13 continues hypothesis 1 with token 3
    hypothesis 1     7         5         3       5 continues hypothesis 0 with token 5

Hypothesis 0 ends in token 4 of parent 1, which has token 5 of parent 0, which has token 3: the
reply is 3 5 4. Hypothesis 1 is 7 3 3.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import torch
from torch import Tensor

from dialogue.device import sent

IMPOSSIBLE = float("-inf")


@dataclass(frozen=True)
class Hypothesis:
    """A reply: its tokens without </s>, their log-probability with </s>, and its search score.

    token_log_probs: of every token, </s> last; they add up to log_prob. A search that runs out of
    time returns unfinished hypotheses, in which </s> is neither reached nor counted.
    """

    token_ids: tuple[int, ...]
    log_prob: float  # the model's own, without temperature and penalties
    score: float  # the search's sum, divided by the length penalty
    token_log_probs: tuple[float, ...] = ()
    finished: bool = True


class Taken(NamedTuple):
    """What one step took, for N beams of K hypotheses.

    These are candidates (N, C), best first, and the hypotheses (N, K) that go on. A candidate is
    parent * V + token, where parent is a hypothesis of the previous step, 0 to K - 1.
    """

    candidates: Tensor
    scores: Tensor  # the search's sum for each candidate
    sums: Tensor  # the model's own log-probability of it
    kept: Tensor  # the candidates that go on
    kept_sums: Tensor  # the model's own log-probability of those


def penalty(length: int, alpha: float) -> float:
    """Return GNMT's length penalty (Wu et al. 2016, eq. 14)."""
    return float(((5 + length) / 6) ** alpha)


def without_nan_(scores: Tensor) -> Tensor:
    """Replace NaN and infinities by IMPOSSIBLE, in place: NaN would compare as the highest."""
    return scores.nan_to_num_(nan=IMPOSSIBLE, posinf=IMPOSSIBLE, neginf=IMPOSSIBLE)


@dataclass(frozen=True)
class Paths:
    """The steps of a search over N beams of K hypotheses, one entry per step."""

    keep: int  # K
    eos_id: int
    alpha: float  # of the length penalty
    steps: list[Taken] = field(default_factory=list)

    def select(self, beams: Tensor) -> Paths:
        """Take the beams (M,) out of all N."""
        return replace(
            self, steps=[Taken(*(tensor[beams] for tensor in step)) for step in self.steps]
        )

    def ended(self, vocabulary: int) -> Tensor:
        """Return the scores, divided by the length penalty, of the finished hypotheses: (N, T, K).

        Entries that did not end are minus infinity. Only the K best candidates of a step count.
        """
        scores = torch.stack([step.scores[:, : self.keep] for step in self.steps], dim=1)
        tokens = (
            torch.stack([step.candidates[:, : self.keep] for step in self.steps], dim=1)
            % vocabulary
        )
        penalties = [penalty(length, self.alpha) for length in range(len(self.steps))]
        scores = scores / sent(penalties, scores.device)[:, None]
        return scores.masked_fill_(tokens != self.eos_id, IMPOSSIBLE)

    def worst_kept(self, vocabulary: int) -> Tensor:
        """Return the score of the K-th best finished hypothesis of each beam: (N,).

        It is minus infinity for a beam with fewer than K.
        """
        return self.ended(vocabulary).flatten(1).topk(self.keep, dim=1).values[:, -1]

    def read(self, vocabulary: int) -> list[list[Hypothesis]]:
        """List the K best finished hypotheses of each beam, best first."""
        best, places = self.ended(vocabulary).flatten(1).topk(self.keep, dim=1)
        lengths, ranks = (places // self.keep).tolist(), (places % self.keep).tolist()
        trace = self._tracer(vocabulary)
        candidates, sums = (
            torch.stack([step[column][:, : self.keep] for step in self.steps]).tolist()
            for column in (0, 2)
        )
        return [
            [
                trace(
                    beam,
                    candidates[length][beam][rank] // vocabulary,
                    length,
                    sums[length][beam][rank],
                    score,
                )
                for score, length, rank in zip(*found, strict=True)
                if score != IMPOSSIBLE
            ]
            for beam, found in enumerate(zip(best.tolist(), lengths, ranks, strict=True))
        ]

    def read_unfinished(self, totals: Tensor, vocabulary: int) -> list[list[Hypothesis]]:
        """List each beam's hypotheses so far, best first. totals: the search's sums, (N, K)."""
        length, trace = len(self.steps), self._tracer(vocabulary)
        scores, rows = (totals / penalty(length, self.alpha)).sort(dim=1, descending=True)
        return [
            [
                trace(beam, row, length, None, score)
                for score, row in zip(*found, strict=True)
                if score != IMPOSSIBLE
            ]
            for beam, found in enumerate(zip(scores.tolist(), rows.tolist(), strict=True))
        ]

    def _tracer(
        self, vocabulary: int
    ) -> Callable[[int, int, int, float | None, float], Hypothesis]:
        kept = torch.stack([step.kept for step in self.steps]).tolist()  # [step][beam][hypothesis]
        kept_sums = torch.stack([step.kept_sums for step in self.steps]).tolist()

        def trace(
            beam: int, row: int, length: int, total: float | None, score: float
        ) -> Hypothesis:
            """Follow the parents back from a row after `length` tokens.

            total: the log-probability with </s>; None if </s> was not reached.
            """
            token_ids, sums = [], [] if total is None else [total]
            for step in range(length - 1, -1, -1):
                sums.append(kept_sums[step][beam][row])
                row, token = divmod(kept[step][beam][row], vocabulary)
                token_ids.append(token)
            sums = [0.0, *reversed(sums)]
            log_probs = tuple(after - before for before, after in itertools.pairwise(sums))
            return Hypothesis(
                tuple(reversed(token_ids)), sums[-1], score, log_probs, total is not None
            )

        return trace
