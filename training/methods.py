"""python -m training.methods: ways to decode side by side, on the same held-out histories.

python -m training.methods --data chitchat --data self_dialogue --limit 250
python -m training.methods --try method=nucleus,top_p=0.8,beam_size=16 --try length_bonus=0.3
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from dialogue.agent import DialogueAgent, Reply
from dialogue.checkpoint import PRETRAINED
from dialogue.config import METHODS, DecodeConfig
from dialogue.words import words
from training import batches, corpora
from training.corpora.transcript import Complaints, Transcript
from training.figures import Exchange, Figures, answers, by_hash, chosen_exchanges, exchanges_of, reply_figures, score

SHOWN = ("unique_replies", "distinct_1", "distinct_2", "repeated_2gram", "repeated_3gram", "mean_length", "fallbacks")


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
    """Answer the chosen histories by the agent's settings: the figures of its replies, and how likely it finds them itself.

    reply_perplexity: a token's, of the replies given their histories, </s> included. nats_a_word: by how much the history
    raises a reply's log-likelihood, over its words. ms: a reply's, in batches.
    """
    begun = time.perf_counter()
    replies = answers(agent, chosen, exchanges=exchanges, transcripts=transcripts)
    seconds = time.perf_counter() - begun
    said = [[*agent.vocabulary.encode(reply.conversation.turns[-1].text), agent.vocabulary.eos_id] for reply in replies]
    given, _ = score(agent.model, said, histories=[exchange.history for exchange in chosen], name="replies scored")
    blank, _ = score(agent.model, said, histories=None, name="the same without history")
    total, spoken = given.sum().item(), sum(len(words(reply.text)) for reply in replies)
    figures = reply_figures(replies)
    figures |= {
        "reply_perplexity": math.exp(-total / sum(map(len, said))),
        "nats_a_word": (total - blank.sum().item()) / max(1, spoken),
        "ms": 1e3 * seconds / len(replies),
    }
    return figures, replies


def main(arguments: list[str] | None = None) -> int:
    """Compare ways to decode from the command line."""
    parser = argparse.ArgumentParser(prog="python -m training.methods", description="Ways to decode, side by side.")
    add = parser.add_argument
    add("--checkpoint", type=Path, default=os.environ.get("CHECKPOINT") or PRETRAINED, help="the model's folder")
    add("--model", metavar="MODULE:CLASS", help="the model's class, where it is not of this project")
    add("--data", action="append", metavar="NAME|PATH", help="a corpus, any number of times (default: as training.fit)")
    add("--split", default="validation", help="train, validation, test or all (default: %(default)s)")
    add("--limit", type=int, default=250, metavar="N", help="answer N histories at most (default: %(default)s)")
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
    try:
        if options.limit < 1:
            raise ValueError(f"--limit is {options.limit}; it must be at least 1")
        default = DecodeConfig()
        tried = [*([""] if options.tried else []), *(options.tried or [f"method={method}" for method in METHODS])]
        configs = [settings_of(text, default) for text in tried]
        agents = [
            DialogueAgent.load(options.checkpoint, model_name=options.model, precision=options.precision, decode=config)
            for config in configs
        ]
        transcripts = by_hash(corpora.load(options.data or corpora.default_names(), options.split, Complaints()))
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    transcripts = [transcript for transcript in transcripts if len(transcript.turns) > 2][: options.limit]
    first = agents[0]
    encoded = batches.encode(transcripts, first.vocabulary, truncate=None).conversations
    exchanges = exchanges_of(first.model, encoded, first.device)
    chosen = chosen_exchanges(exchanges, transcripts, limit=options.limit)
    columns = (*SHOWN, "reply_perplexity", "nats_a_word", "ms")
    table = Table("settings", *columns)
    rows = []
    for text, agent in zip(tried, agents, strict=True):
        figures, replies = measure(agent, chosen, exchanges=exchanges, transcripts=transcripts)
        rows.append({"settings": text or "default", **{name: round(figures[name], 4) for name in columns}})
        table.add_row(text or "default", *(f"{figures[name]:.3g}" for name in columns))
        for exchange, reply in list(zip(chosen, replies, strict=True))[: options.replies]:
            print(f"  {transcripts[exchange.conversation].turns[exchange.turn - 1]}\n    -> {reply.text}")
    console = Console(stderr=True)
    console.width = max(console.width, 150)
    console.print(table)
    print(json.dumps({"replies": len(chosen), "rows": rows}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
