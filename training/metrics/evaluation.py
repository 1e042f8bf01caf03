"""All figures of a model on held-out conversations, and what they were measured on."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from torch import Tensor

from dialogue.agent import DialogueAgent, Reply
from training.corpora.transcript import Transcript
from training.data import batches
from training.metrics import prediction, ranking, replies, talks
from training.metrics.exchanges import Exchange, Metrics, by_hash, chosen_exchanges, exchanges_of
from training.metrics.prediction import Prediction, predict, prediction_metrics
from training.metrics.ranking import ranking_metrics, ranks
from training.metrics.replies import answers, overlap_metrics, reply_metrics
from training.metrics.talks import Talk, hold_talks, talk_metrics

MEANINGS = prediction.MEANINGS | ranking.MEANINGS | replies.MEANINGS | talks.MEANINGS


@dataclass(frozen=True)
class Evaluation:
    """What was measured, and on what.

    exchanges: every turn but the first of each conversation. chosen: the exchanges that were
    answered and ranked. replies: the answers to them. ranks: (M,), each true reply's rank among 20.
    bleu_signature: how sacrebleu computed BLEU.
    """

    figures: Metrics
    transcripts: list[Transcript]
    exchanges: list[Exchange]
    prediction: Prediction
    chosen: list[Exchange]
    replies: list[Reply]
    ranks: Tensor
    talks: list[Talk]
    bleu_signature: str

    def turn(self, exchange: Exchange, *, before: int = 0) -> str:
        """Return the text of an exchange's turn, or of one `before` turns earlier."""
        return self.transcripts[exchange.conversation].turns[exchange.turn - before]


def evaluate(
    agent: DialogueAgent, transcripts: Iterable[Transcript], *, limit: int | None = None
) -> Evaluation:
    """Compute all figures; answer and rank at most `limit` exchanges. No text is truncated.

    Raises ValueError if the conversations are too few or too short for a figure.
    """
    transcripts = by_hash(transcripts)
    encoded = batches.encode(transcripts, agent.vocabulary, truncate=None, heard=True).conversations
    exchanges = exchanges_of(agent.model, encoded, agent.device)
    chosen = chosen_exchanges(exchanges, transcripts, limit=limit)
    if not chosen:
        raise ValueError(
            "no conversation has three turns: there is nothing to answer after a history of two"
        )
    given = answers(agent, chosen, exchanges=exchanges, transcripts=transcripts)
    held = hold_talks(agent, transcripts)

    predicted = predict(agent.model, encoded, transcripts=transcripts, vocabulary=agent.vocabulary)
    ranked = ranks(agent, chosen, exchanges=exchanges, transcripts=transcripts)
    truth = [transcripts[exchange.conversation].turns[exchange.turn] for exchange in chosen]
    overlap, signature = overlap_metrics(given, truth)
    return Evaluation(
        figures=prediction_metrics(predicted)
        | ranking_metrics(ranked)
        | overlap
        | reply_metrics(given)
        | talk_metrics(held),
        transcripts=transcripts,
        exchanges=exchanges,
        prediction=predicted,
        chosen=chosen,
        replies=given,
        ranks=ranked.by_gain,
        talks=held,
        bleu_signature=signature,
    )
