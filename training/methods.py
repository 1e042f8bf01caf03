"""python -m training.methods: ways to decode side by side, on the same held-out histories.

python -m training.methods --data chitchat --data self_dialogue --limit 250
python -m training.methods --try method=nucleus,top_p=0.8,beam_size=16 --try length_bonus=0.3
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

from rich.console import Console
from rich.table import Table

from dialogue.agent import DialogueAgent, Reply
from dialogue.command_line import add_model, at_least, command
from dialogue.config import METHODS, DecodeConfig
from dialogue.words import words
from training import batches, corpora
from training.corpora.transcript import Complaints, Transcript
from training.figures.exchanges import Exchange, Figures, by_hash, chosen_exchanges, exchanges_of
from training.figures.prediction import score
from training.figures.replies import answers, overlap_figures, reply_figures

REPLIES = 250  # to compare ways to decode by
COLUMNS = (
    "token_f1", "bleu", "unique_replies", "distinct_1", "distinct_2", "repeated_2gram", "repeated_3gram", "mean_length",
    "fallbacks", "reply_perplexity", "nats_a_word", "ms",
)  # fmt: skip
MEANINGS = {
    "reply_perplexity": "a token's, of the replies given their histories, by the model itself, </s> included",
    "nats_a_word": "by how much the history raises the log-likelihood of a reply, over its words",
    "ms": "milliseconds a reply takes, in batches",
}


def settings_of(text: str, default: DecodeConfig) -> DecodeConfig:
    """Read `name=value,name=value` over the defaults. Raises ValueError on a name or value that is none."""
    kinds: dict[str, Any] = {"int": int, "float": float, "str": str}
    known = {setting.name: kinds[str(setting.type)] for setting in fields(DecodeConfig) if str(setting.type) in kinds}
    changed = {}
    for part in filter(None, text.split(",")):
        name, _, value = part.partition("=")
        if name not in known:
            raise ValueError(f"--try {text}: there is no setting {name!r}; it is one of {', '.join(known)}")
        try:
            changed[name] = known[name](value)
        except ValueError:
            raise ValueError(f"--try {text}: {value!r} is no {known[name].__name__} for {name}") from None
    return replace(default, **changed)


def measure(
    agent: DialogueAgent, chosen: Sequence[Exchange], *, exchanges: Sequence[Exchange], transcripts: Sequence[Transcript]
) -> tuple[Figures, list[Reply]]:
    """Answer the chosen histories by the agent's settings: the figures of its replies, and how likely it finds them itself."""
    begun = time.perf_counter()
    replies = answers(agent, chosen, exchanges=exchanges, transcripts=transcripts)
    seconds = time.perf_counter() - begun
    said = [[*agent.vocabulary.encode(reply.conversation.turns[-1].text), agent.vocabulary.eos_id] for reply in replies]
    given = score(agent.model, said, histories=[exchange.history for exchange in chosen], name="replies scored")
    blank = score(agent.model, said, histories=None, name="the same without history")
    total, spoken = given.sum().item(), sum(len(words(reply.text)) for reply in replies)
    truth = [transcripts[exchange.conversation].turns[exchange.turn] for exchange in chosen]
    figures = reply_figures(replies) | overlap_figures(replies, truth)[0]
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
    """Measure agents, by the names of their settings, on the same histories: a row of COLUMNS for each, and its replies."""
    for name, agent in agents.items():
        figures, replies = measure(agent, chosen, exchanges=exchanges, transcripts=transcripts)
        yield {"settings": name, **{column: round(figures[column], 4) for column in COLUMNS}}, replies


def show(rows: Sequence[Mapping[str, Any]], console: Console) -> None:
    """Print what was measured of each way to decode, side by side."""
    table = Table("settings", *COLUMNS)
    for row in rows:
        table.add_row(row["settings"], *(f"{row[name]:.3g}" for name in COLUMNS))
    console.width = max(console.width, 180)
    console.print(table)


@command
def main(arguments: list[str] | None = None) -> int:
    """Compare ways to decode from the command line."""
    parser = argparse.ArgumentParser(prog="python -m training.methods", description="Ways to decode, side by side.")
    add = parser.add_argument
    add_model(parser)
    add("--data", action="append", metavar="NAME|PATH", help="a corpus, any number of times (default: as training.fit)")
    add("--split", default="validation", help="train, validation, test or all (default: %(default)s)")
    add("--limit", type=int, default=REPLIES, metavar="N", help="answer N histories at most (default: %(default)s)")
    add(
        "--try",
        action="append",
        dest="tried",
        metavar="NAME=VALUE,...",
        help="settings of DecodeConfig over the defaults, any number of times (default: every method)",
    )
    add("--precision", default="auto", help="of the output layer: auto, fp32, bf16 or int8 (default: %(default)s)")
    add("--replies", type=int, default=0, metavar="N", help="show N replies of each (default: %(default)s)")
    options = parser.parse_args(arguments)
    at_least(1, limit=options.limit)
    at_least(0, replies=options.replies)
    default = DecodeConfig()
    tried = [*([""] if options.tried else []), *(options.tried or [f"method={method}" for method in METHODS])]
    configs = [settings_of(text, default) for text in tried]
    agents = [
        DialogueAgent.load(options.checkpoint, model_name=options.model, precision=options.precision, decode=config)
        for config in configs
    ]
    transcripts = by_hash(corpora.load(options.data or corpora.default_names(), options.split, Complaints()))
    transcripts = [transcript for transcript in transcripts if len(transcript.turns) > 2][: options.limit]
    if not transcripts:
        raise ValueError(f"no conversation of the split {options.split!r} has three turns; there is no history to answer")
    first = agents[0]
    encoded = batches.encode(transcripts, first.vocabulary, truncate=None).conversations
    exchanges = exchanges_of(first.model, encoded, first.device)
    chosen = chosen_exchanges(exchanges, transcripts, limit=options.limit)
    rows = []
    named = dict(zip((text or "default" for text in tried), agents, strict=True))
    for row, replies in side_by_side(named, chosen, exchanges=exchanges, transcripts=transcripts):
        rows.append(row)
        for exchange, reply in list(zip(chosen, replies, strict=True))[: options.replies]:
            print(f"  {transcripts[exchange.conversation].turns[exchange.turn - 1]}\n    -> {reply.text}")
    print(json.dumps({"replies": len(chosen), "rows": rows}), flush=True)
    show(rows, Console(stderr=True))
    return 0


if __name__ == "__main__":
    sys.exit(main())
