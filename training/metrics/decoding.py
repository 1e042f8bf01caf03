"""Compare decoding settings on the same held-out histories."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

from rich.console import Console
from rich.table import Table

from dialogue.agent import DialogueAgent, Reply
from dialogue.config import DecodeConfig
from dialogue.words import words
from training.corpora.transcript import Transcript
from training.metrics.exchanges import Exchange, Metrics
from training.metrics.prediction import score
from training.metrics.replies import answers, overlap_metrics, reply_metrics

REPLIES = 250  # to compare decoding settings on
COLUMNS = (
    "token_f1", "bleu", "unique_replies", "distinct_1", "distinct_2", "repeated_2gram",
    "repeated_3gram", "mean_length", "fallbacks", "reply_perplexity", "nats_a_word", "ms",
)  # fmt: skip
MEANINGS = {
    "reply_perplexity": (
        "the model's own per-token perplexity of the replies given their histories, </s> included"
    ),
    "nats_a_word": "how much the history raises the log-likelihood of a reply, per word",
    "ms": "milliseconds per reply, in batches",
}


def settings_of(text: str, default: DecodeConfig) -> DecodeConfig:
    """Parse `name=value,name=value` over the defaults.

    Raises ValueError on an unknown name or an invalid value.
    """
    kinds: dict[str, Any] = {"int": int, "float": float, "str": str}
    known = {
        setting.name: kinds[str(setting.type)]
        for setting in fields(DecodeConfig)
        if str(setting.type) in kinds
    }
    changed = {}
    for part in filter(None, text.split(",")):
        name, _, value = part.partition("=")
        if name not in known:
            raise ValueError(
                f"--try {text}: there is no setting {name!r}; it is one of {', '.join(known)}"
            )
        try:
            changed[name] = known[name](value)
        except ValueError:
            raise ValueError(
                f"--try {text}: {value!r} is not a valid {known[name].__name__} for {name}"
            ) from None
    return replace(default, **changed)


def measure(
    agent: DialogueAgent,
    chosen: Sequence[Exchange],
    *,
    exchanges: Sequence[Exchange],
    transcripts: Sequence[Transcript],
) -> tuple[Metrics, list[Reply]]:
    """Answer the chosen histories with the agent's settings.

    Return the figures of its replies, including how likely the model itself finds them, and the
    replies.
    """
    begun = time.perf_counter()
    replies = answers(agent, chosen, exchanges=exchanges, transcripts=transcripts)
    seconds = time.perf_counter() - begun
    said = [
        [*agent.vocabulary.encode(reply.conversation.turns[-1].text), agent.vocabulary.eos_id]
        for reply in replies
    ]
    given = score(
        agent.model,
        said,
        histories=[exchange.history for exchange in chosen],
        name="replies scored",
    )
    blank = score(agent.model, said, histories=None, name="the same without history")
    total, spoken = given.sum().item(), sum(len(words(reply.text)) for reply in replies)
    truth = [transcripts[exchange.conversation].turns[exchange.turn] for exchange in chosen]
    figures = reply_metrics(replies) | overlap_metrics(replies, truth)[0]
    figures |= {
        "reply_perplexity": math.exp(-total / sum(map(len, said))),
        "nats_a_word": (total - blank.sum().item()) / max(1, spoken),
        "ms": 1e3 * seconds / len(replies),
    }
    return figures, replies


def side_by_side(
    agents: Mapping[str, DialogueAgent],
    chosen: Sequence[Exchange],
    *,
    exchanges: Sequence[Exchange],
    transcripts: Sequence[Transcript],
) -> Iterator[tuple[dict[str, Any], list[Reply]]]:
    """Measure agents, keyed by their settings, on the same histories.

    Yield a row of COLUMNS and the replies for each.
    """
    for name, agent in agents.items():
        figures, replies = measure(agent, chosen, exchanges=exchanges, transcripts=transcripts)
        yield (
            {"settings": name, **{column: round(figures[column], 4) for column in COLUMNS}},
            replies,
        )


def show(rows: Sequence[Mapping[str, Any]], console: Console) -> None:
    """Print the figures of all decoding settings in one table."""
    table = Table("settings", *COLUMNS)
    for row in rows:
        table.add_row(row["settings"], *(f"{row[name]:.3g}" for name in COLUMNS))
    console.width = max(console.width, 180)
    console.print(table)
