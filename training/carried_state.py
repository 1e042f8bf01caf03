"""python -m training.carried_state: what carrying its state through a text is worth to a model.

It measures the perplexity of every line but the first of each text, given all lines before it and
without them; the former also in bits per character, counting the end of a line as a character.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from dialogue import checkpoint
from dialogue.checkpoint import Checkpoint
from dialogue.command_line import add_device, add_model, command
from dialogue.device import choose_device
from dialogue.vocabulary import normalise
from training import corpora
from training.corpora.transcript import Complaints, Transcript
from training.data import batches
from training.metrics.exchanges import Metrics, exchanges_of
from training.metrics.prediction import score


def measure(source: Checkpoint, transcripts: Sequence[Transcript]) -> Metrics:
    """Measure texts of two lines or more; others have no state to carry.

    Raises ValueError if there are none.
    """
    device = next(source.model.parameters()).device
    encoded = batches.encode(transcripts, source.vocabulary, truncate=None).conversations
    exchanges = exchanges_of(source.model, encoded, device)
    if not exchanges:
        raise ValueError("no text has a second line, so there is no state to carry over")
    lines = [exchange.token_ids for exchange in exchanges]
    tokens = sum(map(len, lines))
    texts = [
        normalise(transcripts[exchange.conversation].turns[exchange.turn]) for exchange in exchanges
    ]
    words = sum(len(text.split()) + 1 for text in texts)  # a line's end counts as a word
    carried, reset = (
        -score(source.model, lines, histories=histories, name=name).sum().item()
        for name, histories in (
            ("carried", [exchange.history for exchange in exchanges]),
            ("reset", None),
        )
    )
    return {
        "perplexity per token, state carried": math.exp(carried / tokens),
        "perplexity per token, state reset": math.exp(reset / tokens),
        "perplexity per word, state carried": math.exp(carried / words),
        "perplexity per word, state reset": math.exp(reset / words),
        "bits per character, state carried": carried
        / math.log(2)
        / sum(len(text) + 1 for text in texts),
        "lines": len(lines),
    }


@command
def main(arguments: list[str] | None = None) -> int:
    """Measure a checkpoint from the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m training.carried_state",
        description="Measure what carrying its state through a text is worth to a model.",
    )
    add = parser.add_argument
    add_model(parser, required=True)
    add(
        "--data",
        action="append",
        metavar="NAME|PATH",
        help="a text or corpus, any number of times (default: as training.fit)",
    )
    add("--split", default="test", help="train, validation, test or all (default: %(default)s)")
    add_device(parser)
    options = parser.parse_args(arguments)
    source = checkpoint.load(
        options.checkpoint, device=choose_device(options.device), model_name=options.model
    )
    transcripts = corpora.load(options.data or corpora.default_names(), options.split, Complaints())
    figures = measure(source, transcripts)
    table = Table("figure", "value")
    for name, value in figures.items():
        table.add_row(name, f"{value:,.4g}")
    Console().print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
