"""Whether a model finds the true reply among others."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from dialogue.models import ModelModule
from training.corpora.transcript import Transcript
from training.metrics.exchanges import Exchange, Metrics
from training.metrics.prediction import score

CANDIDATES = 20
MEANINGS = {
    "hits_at_1_of_20": "share of true replies ranked first of 20, by log p(reply | history) - log p(reply)",
    "hits_at_5_of_20": "the same among the first five",
    "mean_reciprocal_rank": "mean of 1 / rank of the true reply among 20: 1 is perfect, 0.18 is chance",
    "hits_at_1_of_20_mean_loss": "share of true replies ranked first of 20 by mean loss a token, which favours what always fits",
}


def ranks(
    model: ModelModule[Any],
    chosen: Sequence[Exchange],
    *,
    exchanges: Sequence[Exchange],
    transcripts: Sequence[Transcript],
) -> tuple[Tensor, Tensor]:
    """Rank the true reply among 19 of other conversations of its corpus, drawn with seed 0: 1 is best, ties lose. (M,) each.

    First by log p(reply | history) - log p(reply | no history), then by mean loss a token.
    Raises ValueError where a corpus has one conversation only.
    """
    rng = random.Random(0)
    by_corpus: dict[str, list[Exchange]] = {}
    for exchange in exchanges:
        by_corpus.setdefault(transcripts[exchange.conversation].corpus, []).append(exchange)
    candidates: list[list[int]] = []
    for exchange in chosen:
        others = by_corpus[transcripts[exchange.conversation].corpus]
        if len({other.conversation for other in others}) < 2:
            raise ValueError("a corpus of one conversation has no others to draw candidates from")
        drawn: list[list[int]] = [exchange.token_ids]
        while len(drawn) < CANDIDATES:
            other = rng.choice(others)
            if other.conversation != exchange.conversation:
                drawn.append(other.token_ids)
        candidates += drawn
    histories = [exchange.history for exchange in chosen for _ in range(CANDIDATES)]
    given = score(model, candidates, histories=histories, name="ranking")
    blank = score(model, candidates, histories=None, name="ranking without history")
    lengths = torch.tensor([len(candidate) for candidate in candidates])

    def rank(scores: Tensor) -> Tensor:
        table = scores.view(-1, CANDIDATES)
        return 1 + (table[:, 1:] >= table[:, :1]).sum(1)

    return rank(given - blank), rank(given / lengths)


def ranking_metrics(ranked: Tensor, by_mean_loss: Tensor) -> Metrics:
    """Measure what `ranks` found."""
    return {
        "hits_at_1_of_20": (ranked == 1).double().mean().item(),
        "hits_at_5_of_20": (ranked <= 5).double().mean().item(),
        "mean_reciprocal_rank": ranked.double().reciprocal().mean().item(),
        "hits_at_1_of_20_mean_loss": (by_mean_loss == 1).double().mean().item(),
    }
