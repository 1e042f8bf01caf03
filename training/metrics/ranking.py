"""How well a model finds the true reply among others."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from dialogue.agent import DialogueAgent
from dialogue.conversation import Conversation, Turn
from dialogue.ranking import Candidate
from training.corpora.transcript import Transcript
from training.metrics.exchanges import Exchange, Metrics
from training.metrics.prediction import score

CANDIDATES = 20
MEANINGS = {
    "hits_at_1_of_20": (
        "share of true replies ranked first of 20, by log p(reply | history) - log p(reply)"
    ),
    "hits_at_5_of_20": "the same among the first five",
    "mean_reciprocal_rank": (
        "mean of 1 / rank of the true reply among 20: 1 is perfect, 0.18 is chance"
    ),
    "hits_at_1_of_20_ranker": "share of true replies that the agent's own ranker puts first of 20",
    "hits_at_1_of_20_mean_loss": (
        "share of true replies ranked first of 20 by mean loss per token, which favours replies "
        "that always fit"
    ),
}


class Ranks(NamedTuple):
    """The rank of each true reply among 20, (M,): 1 is best; ties count against it."""

    by_gain: Tensor  # log p(reply | history) - log p(reply | no history)
    by_mean_loss: Tensor
    by_ranker: Tensor  # the agent's


def ranks(
    agent: DialogueAgent,
    chosen: Sequence[Exchange],
    *,
    exchanges: Sequence[Exchange],
    transcripts: Sequence[Transcript],
) -> Ranks:
    """Rank each true reply among 19 from other conversations of its corpus, drawn with seed 0.

    Raises ValueError if a corpus has only one conversation.
    """
    rng = random.Random(0)
    by_corpus: dict[str, list[Exchange]] = {}
    for exchange in exchanges:
        by_corpus.setdefault(transcripts[exchange.conversation].corpus, []).append(exchange)
    drawn = [
        reply
        for exchange in chosen
        for reply in _among(exchange, by_corpus[transcripts[exchange.conversation].corpus], rng)
    ]
    replies = [reply.token_ids for reply in drawn]
    histories = [exchange.history for exchange in chosen for _ in range(CANDIDATES)]
    given = score(agent.model, replies, histories=histories, name="ranking")
    blank = score(agent.model, replies, histories=None, name="ranking without history")
    lengths = torch.tensor([len(reply) for reply in replies])
    candidates = [
        Candidate(
            transcripts[reply.conversation].turns[reply.turn],
            log_prob,
            log_prob,
            without,
            len(reply.token_ids) - 1,  # without </s>
        )
        for reply, log_prob, without in zip(drawn, given.tolist(), blank.tolist(), strict=True)
    ]
    scores = agent.ranker(
        [_conversation(exchange, transcripts) for exchange in chosen],
        [candidates[at : at + CANDIDATES] for at in range(0, len(candidates), CANDIDATES)],
    )
    return Ranks(
        _places(given - blank),
        _places(given / lengths),
        _places(torch.tensor([score for found in scores for score in found])),
    )


def _among(exchange: Exchange, others: Sequence[Exchange], rng: random.Random) -> list[Exchange]:
    """Return an exchange, followed by 19 from other conversations."""
    if len({other.conversation for other in others}) < 2:
        raise ValueError("a corpus of one conversation has no others to draw candidates from")
    drawn = [exchange]
    while len(drawn) < CANDIDATES:
        other = rng.choice(others)
        if other.conversation != exchange.conversation:
            drawn.append(other)
    return drawn


def _conversation(exchange: Exchange, transcripts: Sequence[Transcript]) -> Conversation:
    """Return what a ranker reads of an exchange: the turns before it, ending with the person's."""
    turns = transcripts[exchange.conversation].turns[: exchange.turn]
    return Conversation(
        exchange.history,
        tuple(
            Turn("bot" if (len(turns) - at) % 2 == 0 else "user", text)
            for at, text in enumerate(turns)
        ),
    )


def _places(scores: Tensor) -> Tensor:
    """Return the rank of the first score of every 20: (M * 20,) -> (M,)."""
    table = scores.view(-1, CANDIDATES)
    return 1 + (table[:, 1:] >= table[:, :1]).sum(1)


def ranking_metrics(found: Ranks) -> Metrics:
    """Compute the figures of what `ranks` returned."""
    by_gain = found.by_gain.double()
    return {
        "hits_at_1_of_20": (by_gain == 1).double().mean().item(),
        "hits_at_5_of_20": (by_gain <= 5).double().mean().item(),
        "mean_reciprocal_rank": by_gain.reciprocal().mean().item(),
        "hits_at_1_of_20_mean_loss": (found.by_mean_loss == 1).double().mean().item(),
        "hits_at_1_of_20_ranker": (found.by_ranker == 1).double().mean().item(),
    }
