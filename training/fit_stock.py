"""python -m training.fit_stock: fit a checkpoint's stock replies, plain and topical ones.

python -m training.fit_stock --checkpoint runs/mine/checkpoint

Which plain replies suit when is learnt from contexts for which readers have named those that do
(training/corpora/stock_replies.jsonl.gz), and which topical one from moments that were written for
it (training/corpora/topical_replies.jsonl.gz), or from files of your own in the same form. To what
people say to each other (chitchat, and self_dialogue where it is there) none of them belongs. The
replies belong to these weights: once the weights have changed, they are not used until this command
has been rerun.
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
from training.ranking import labels, stock, topical

PEOPLE = ("chitchat", "self_dialogue")


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
    add(
        "--moments",
        type=Path,
        action="append",
        metavar="FILE",
        help="moments of topical replies, any number of times (default: the project's)",
    )
    add(
        "--people",
        action="append",
        metavar="NAME",
        help="a corpus of people among themselves, to whom no topical reply belongs, any number of "
        f"times (default: {' and '.join(PEOPLE)}, if found)",
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
    for name in stock_replies.FILES:
        check_writable_file(options.checkpoint / name, option="--checkpoint")
    labelled: list[labels.Labelled] = []
    for path in options.labels or [labels.FILE]:
        there, left_out = labels.load(path)
        labelled += there
        for name, count in sorted(left_out.items()):
            print(f"{count} labelled contexts of {name} were left out: the corpus is not available")
    moments: list[topical.Moment] = []
    verdicts: dict[str, tuple[int, int]] = {}
    for path in options.moments or [topical.FILE]:
        some, said = topical.load(path)
        moments += some
        verdicts |= said
    for name in options.people or PEOPLE:
        try:
            moments += topical.of_people(name, seed=options.seed)
        except ValueError as missing:
            if options.people:
                raise
            print(f"without moments of people from {name}: {missing}")
    agent = DialogueAgent(source, decode=DecodeConfig(ranker="likelihood"))
    plain, of_plain = stock.fit(agent, labelled, seed=options.seed)
    fitted, of_topical = topical.fit(agent, moments, verdicts, seed=options.seed)
    model = checkpoint.fingerprint(source)
    stock_replies.save(options.checkpoint, plain, model=model, about=of_plain)
    stock_replies.save(options.checkpoint, fitted, model=model, about=of_topical)
    if options.json:
        figures = {"plain": of_plain, "topical": of_topical}
        options.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    print(
        f"{len(plain)} plain stock replies: in {of_plain['held_out']} contexts that were held out, "
        f"the reader named the best one in {of_plain['first_is_named']:.1%}, as a specific one in "
        f"{of_plain['first_is_specific']:.1%}"
    )
    print(
        f"{len(fitted)} topical ones: in {of_topical['first_is_right']:.1%} of held-out moments "
        f"that one suits, the best one is right; of {of_topical['said']} that are likelier than "
        f"none, {of_topical['said_is_right']:.1%} are right"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
