"""python -m training.evaluate: how well a checkpoint predicts, answers and ranks, on held-out conversations.

What each figure means stands in training/figures.py.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from rich.table import Table

from dialogue.agent import DialogueAgent, Reply
from dialogue.checkpoint import PRETRAINED
from dialogue.device import choose_device
from training import batches, corpora
from training.corpora.transcript import Complaints, Transcript
from training.figures import (
    Figures,
    answers,
    by_hash,
    chosen_exchanges,
    exchanges_of,
    perplexities,
    ranking,
    repeated_replies,
    reply_figures,
)


def evaluate(
    agent: DialogueAgent, transcripts: list[Transcript], *, limit: int | None = None
) -> tuple[Figures, list[tuple[str, Reply]]]:
    """Compute all figures, and the replies beside the utterances that they answer. Nothing of the text is cut.

    Raises ValueError where the conversations are too few or too short for a figure.
    """
    transcripts = by_hash(transcripts)
    encoded = batches.encode(transcripts, agent.vocabulary, truncate=None, heard=True).conversations
    exchanges = exchanges_of(agent.model, encoded, agent.device)
    spoken = [[batches.Utterance(turn.heard or turn) for turn in turns] for turns in encoded]
    histories_heard = {(e.conversation, e.turn): e.history for e in exchanges_of(agent.model, spoken, agent.device)}
    recognised = [replace(exchange, history=histories_heard[exchange.conversation, exchange.turn]) for exchange in exchanges]
    chosen = chosen_exchanges(exchanges, transcripts, limit=limit)
    if not chosen:
        raise ValueError("no conversation has three turns: there is nothing to answer after a history of two")
    replies = answers(agent, chosen, exchanges=exchanges, transcripts=transcripts)
    figures = perplexities(agent.model, exchanges, recognised=recognised, transcripts=transcripts) | reply_figures(replies)
    figures |= repeated_replies(agent, transcripts)
    figures |= ranking(agent.model, chosen, exchanges=exchanges, transcripts=transcripts)
    return figures, [(transcripts[e.conversation].turns[e.turn - 1], reply) for e, reply in zip(chosen, replies, strict=True)]


def main(arguments: list[str] | None = None) -> int:
    """Evaluate a checkpoint from the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m training.evaluate", description="Measure a checkpoint on held-out conversations."
    )
    add = parser.add_argument
    add("--checkpoint", type=Path, default=os.environ.get("CHECKPOINT") or PRETRAINED, help="the model's folder (env CHECKPOINT)")
    add("--model", metavar="MODULE:CLASS", help="the model's class, where it is not of this project")
    add("--data", action="append", metavar="NAME|PATH", help="a corpus, any number of times (default: as training.fit)")
    add("--split", default="test", help="train, validation, test or all (default: %(default)s)")
    add("--limit", type=int, metavar="N", help="answer and rank N histories at most (default: one in each conversation)")
    add("--json", metavar="FILE|-", help="write the figures as JSON; with - standard output holds nothing else")
    add("--replies", type=int, default=10, metavar="N", help="show so many replies (default: %(default)s)")
    add("--skip-bad-lines", action="store_true", help="leave out lines that are no conversation, and count them")
    add("--device", help="cuda, mps or cpu (default: the best there is)")
    options = parser.parse_args(arguments)
    console = Console(stderr=options.json == "-")
    complaints = Complaints(skip=options.skip_bad_lines)
    try:
        if options.limit is not None and options.limit < 1:
            raise ValueError(f"--limit is {options.limit}; it must be at least 1")
        if options.json not in (None, "-") and not Path(options.json).absolute().parent.is_dir():
            raise ValueError(f"--json {options.json}: its folder is not there")
        device = choose_device(options.device)
        agent = DialogueAgent.load(options.checkpoint, device=device, model_name=options.model, precision="fp32")
        transcripts = corpora.load(options.data or corpora.default_names(), options.split, complaints)
        figures, replies = evaluate(agent, transcripts, limit=options.limit)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if complaints.count:
        console.print(f"{complaints.count} bad lines skipped, the first: {complaints.first}", markup=False)
    table = Table("figure", "value")
    for name, value in figures.items():
        table.add_row(name, f"{value:,.4g}")
    console.print(table)
    for utterance, reply in replies[: options.replies]:
        console.print(f"  {utterance}\n    -> {reply.text}", markup=False, highlight=False)
    if options.json:
        text = json.dumps({name: round(value, 6) for name, value in figures.items()}, indent=2)
        print(text) if options.json == "-" else Path(options.json).write_text(text + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
