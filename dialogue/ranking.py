"""Rank candidates: a ranker scores those of each conversation, and the highest score comes first.

likelihood    log p(reply | history) - lambda * log p(reply) + gamma * length (Li et al. 2016)
recall        the same, but remembered replies that fit well come first
learned       the checkpoint's network, fitted to readers' judgements (dialogue.learned_ranker)
module:Class  your own, built as Class(checkpoint, decode)
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol, cast

from dialogue.config import DecodeConfig
from dialogue.conversation import Conversation

if TYPE_CHECKING:
    from dialogue.checkpoint import Checkpoint

TIER = 1e4  # exceeds the difference of any two scores of one kind


@dataclass(frozen=True)
class Candidate:
    """A reply that could be said.

    log_prob: log p(reply | history); 0 for a known reply that there was no time to score. score:
    the search's at first, then the ranker's. blank: log p(reply), without a history; None if not
    computed. tokens: the length, without </s>.
    similarity: of a remembered reply, between what it answered and what was heard; else None. fit:
    of a stock reply, how likely it is to suit; else None. trust: of a stock reply, what readers
    thought of it elsewhere; else None. is_topical: whether it is a stock reply that belongs to one
    kind of moment.
    """

    text: str
    log_prob: float
    score: float
    blank: float | None = None
    tokens: int = 0
    token_log_probs: tuple[float, ...] = ()  # of each token, </s> last if it was reached
    similarity: float | None = None
    fit: float | None = None
    is_topical: bool = False
    trust: float | None = None


class Ranker(Protocol):
    """A function that scores the candidates for the last turns of conversations.

    A ranker that never reads log p(reply) says so with `needs_blank = False`: computing it would
    take half as long as the search.
    """

    def __call__(
        self, conversations: Sequence[Conversation], candidates: Sequence[Sequence[Candidate]]
    ) -> Sequence[Sequence[float]]:
        """Return a finite score for each candidate of each conversation; higher is better."""


class LikelihoodRanker:
    """Maximum mutual information (Li et al. 2016).

    log p(reply | history) - lambda * log p(reply) + gamma * length
    """

    def __init__(self, checkpoint: Checkpoint | None, decode: DecodeConfig) -> None:
        self.weight, self.bonus = decode.anti_lm, decode.length_bonus
        # Without the correction, the search's own score is used and there is nothing to compute.
        self.needs_blank = self.weight != 0

    def __call__(
        self, conversations: Sequence[Conversation], candidates: Sequence[Sequence[Candidate]]
    ) -> list[list[float]]:
        """Score by likelihood; if `blank` is unknown or has no weight, keep the search's score."""
        return [[self.score(candidate) for candidate in found] for found in candidates]

    def score(self, candidate: Candidate) -> float:
        """Score one candidate."""
        if candidate.blank is None or not self.weight:
            return candidate.score
        return candidate.log_prob - self.weight * candidate.blank + self.bonus * candidate.tokens


class RecallRanker(LikelihoodRanker):
    """Ranks remembered replies that fit well first, then the search's, then the others."""

    def __init__(self, checkpoint: Checkpoint | None, decode: DecodeConfig) -> None:
        super().__init__(checkpoint, decode)
        self.least, self.likelihood = decode.recall_from, decode.recall_likelihood
        self.needs_blank = self.weight != 0 or self.likelihood != 0

    def score(self, candidate: Candidate) -> float:
        """Score one candidate: in its tier, by fit or by likelihood."""
        if candidate.similarity is None:
            return super().score(candidate)
        fit = candidate.similarity + self.likelihood * gain(candidate)
        return fit + (TIER if fit >= self.least else -TIER)


def gain(candidate: Candidate) -> float:
    """Return how much likelier the history makes a candidate, over the root of its length.

    It is 0 if unknown.
    """
    if candidate.blank is None:
        return 0.0
    return (candidate.log_prob - candidate.blank) / math.sqrt(candidate.tokens + 1)


def ranked(
    ranker: Ranker,
    conversations: Sequence[Conversation],
    candidates: Sequence[Sequence[Candidate]],
) -> list[list[Candidate]]:
    """Order the candidates of each conversation by a ranker's scores, best first.

    Raises ValueError if the ranker does not score each of them.
    """
    scores = ranker(conversations, candidates)
    expected, given = [len(found) for found in candidates], [len(theirs) for theirs in scores]
    if given != expected:
        raise ValueError(
            f"{type(ranker).__name__} gave {sum(given)} scores for {sum(expected)} candidates; "
            "each needs one"
        )
    return [
        sorted(
            (replace(one, score=score) for one, score in zip(found, theirs, strict=True)),
            key=lambda candidate: -candidate.score,
        )
        for found, theirs in zip(candidates, scores, strict=True)
    ]


OURS: dict[str, Callable[[Checkpoint, DecodeConfig], Ranker]] = {
    "likelihood": LikelihoodRanker,
    "recall": RecallRanker,
}


def ranker_of(checkpoint: Checkpoint, decode: DecodeConfig) -> Ranker:
    """Build the ranker that the settings name.

    "auto" is the checkpoint's own if it has one, else "recall". Raises ValueError if there is no
    such ranker.
    """
    name = decode.ranker
    if name == "auto":
        name = "recall" if checkpoint.ranker is None else "learned"
    if name == "learned":
        if checkpoint.ranker is None:
            raise ValueError(
                "ranker is learned, but the checkpoint has none; "
                "fit one with python -m training.fit_ranker"
            )
        return checkpoint.ranker.with_variety(decode.variety)
    if name in OURS:
        return OURS[name](checkpoint, decode)
    module, _, class_name = name.partition(":")
    try:
        found = getattr(importlib.import_module(module), class_name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(
            f"there is no ranker {name!r} ({error}); "
            f"use auto, learned, {', '.join(OURS)} or module:Class"
        ) from None
    return cast(Ranker, found(checkpoint, decode))
