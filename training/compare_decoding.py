"""python -m training.compare_decoding: decoding settings side by side, on held-out histories.

python -m training.compare_decoding --data chitchat --data self_dialogue --limit 250
python -m training.compare_decoding --try method=nucleus,top_p=0.8,beam_size=16 \
    --try length_bonus=0.3
"""

from __future__ import annotations

import argparse
import json
import sys

from rich.console import Console

from dialogue.agent import DialogueAgent
from dialogue.command_line import add_model, at_least, command
from dialogue.config import METHODS, DecodeConfig
from training import corpora
from training.corpora.transcript import Complaints
from training.data import batches
from training.metrics.decoding import REPLIES, settings_of, show, side_by_side
from training.metrics.exchanges import by_hash, chosen_exchanges, exchanges_of


@command
def main(arguments: list[str] | None = None) -> int:
    """Compare decoding settings from the command line."""
    options = _options().parse_args(arguments)
    at_least(1, limit=options.limit)
    at_least(0, replies=options.replies)
    default = DecodeConfig()
    tried = [
        *([""] if options.tried else []),
        *(options.tried or [f"method={method}" for method in METHODS]),
    ]
    configs = [settings_of(text, default) for text in tried]
    transcripts = by_hash(
        corpora.load(options.data or corpora.default_names(), options.split, Complaints())
    )
    transcripts = [transcript for transcript in transcripts if len(transcript.turns) > 2][
        : options.limit
    ]
    if not transcripts:
        raise ValueError(
            f"no conversation of the split {options.split!r} has three turns, "
            "so there is no history to answer"
        )
    first = DialogueAgent.load(
        options.checkpoint, model_name=options.model, precision=options.precision
    )
    # All agents share one model, so the histories are computed only once.
    agents = {
        text or "default": first.with_settings(config)
        for text, config in zip(tried, configs, strict=True)
    }
    encoded = batches.encode(transcripts, first.vocabulary, truncate=None).conversations
    exchanges = exchanges_of(first.model, encoded, first.device)
    chosen = chosen_exchanges(exchanges, transcripts, limit=options.limit)
    rows = []
    for row, replies in side_by_side(agents, chosen, exchanges=exchanges, transcripts=transcripts):
        rows.append(row)
        for exchange, reply in list(zip(chosen, replies, strict=True))[: options.replies]:
            print(
                f"  {transcripts[exchange.conversation].turns[exchange.turn - 1]}\n"
                f"    -> {reply.text}"
            )
    print(json.dumps({"replies": len(chosen), "rows": rows}), flush=True)
    show(rows, Console(stderr=True))
    return 0


def _options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m training.compare_decoding",
        description="Compare decoding settings side by side.",
    )
    add = parser.add_argument
    add_model(parser)
    add(
        "--data",
        action="append",
        metavar="NAME|PATH",
        help="a corpus, any number of times (default: as training.fit)",
    )
    add(
        "--split",
        default="validation",
        help="train, validation, test or all (default: %(default)s)",
    )
    add(
        "--limit",
        type=int,
        default=REPLIES,
        metavar="N",
        help="answer N histories at most (default: %(default)s)",
    )
    add(
        "--try",
        action="append",
        dest="tried",
        metavar="NAME=VALUE,...",
        help="settings of DecodeConfig that override the defaults, any number of times "
        "(default: every method)",
    )
    add(
        "--precision",
        default="auto",
        help="precision of the output layer: auto, fp32, bf16, fp16 or int8 (default: %(default)s)",
    )
    add(
        "--replies",
        type=int,
        default=0,
        metavar="N",
        help="show N replies of each (default: %(default)s)",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
