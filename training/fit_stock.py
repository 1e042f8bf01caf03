"""python -m training.fit_stock: fit a checkpoint's stock replies, which suit many contexts.

python -m training.fit_stock --checkpoint runs/mine/checkpoint

Which reply suits when is learnt from contexts for which readers have named those that do
(training/corpora/stock_replies.jsonl.gz, and files of your own in the same form). The replies
belong to these weights: once the weights have changed, they are not used until this command has
been rerun.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from dialogue import checkpoint, stock_replies
from dialogue.agent import DialogueAgent
from dialogue.command_line import add_device, add_model, check_writable_file, command
from dialogue.config import DecodeConfig
from dialogue.device import choose_device
from training.ranking import stock


@command
def main(arguments: list[str] | None = None) -> int:
    """Fit a checkpoint's stock replies from the command line."""
    parser = argparse.ArgumentParser(prog="python -m training.fit_stock", description=main.__doc__)
    add = parser.add_argument
    add_model(parser, required=True)
    add(
        "--labels",
        type=Path,
        action="append",
        metavar="FILE",
        help="labelled contexts, any number of times (default: the project's)",
    )
    add("--seed", type=int, default=0, help="random seed (default: %(default)s)")
    add("--json", type=Path, metavar="FILE", help="also write the figures as JSON")
    add_device(parser)
    options = parser.parse_args(arguments)
    if options.json:
        check_writable_file(options.json, option="--json")
    source = checkpoint.load(
        options.checkpoint,
        device=choose_device(options.device),
        model_name=options.model,
        with_ranker=False,
        with_recall=False,
        with_stock=False,
    )
    check_writable_file(options.checkpoint / stock_replies.FILE, option="--checkpoint")
    labelled = [one for path in options.labels or [stock.FILE] for one in stock.load(path)]
    agent = DialogueAgent(source, decode=DecodeConfig(ranker="likelihood"))
    fitted, about = stock.fit(agent, labelled, seed=options.seed)
    stock_replies.save(
        options.checkpoint, fitted, model=checkpoint.fingerprint(source), about=about
    )
    if options.json:
        options.json.write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")
    print(
        f"{len(fitted)} stock replies in {options.checkpoint / stock_replies.FILE}; in "
        f"{about['held_out']} contexts that were held out, the reader named the best one in "
        f"{about['first_is_named']:.1%}, as a specific one in {about['first_is_specific']:.1%}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
