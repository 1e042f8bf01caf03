"""python -m training.fit_ranker: fit a checkpoint's ranker, which chooses among candidate replies.

python -m training.fit_ranker --checkpoint runs/mine/checkpoint --minutes 10

There are three steps. A matcher learns from corpora which reply goes with which context. A linear
classifier learns to tell glad from troubled, from stories whose emotion is known. Judges then learn
from readers' judgements (training/corpora/judgements.jsonl.gz) which candidates make sense, given
the likelihoods and what the two networks say. Held-out judgements show how good the result is.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from dialogue import checkpoint, learned_ranker
from dialogue.agent import DialogueAgent
from dialogue.command_line import add_checkpoint, add_device, check_writable_file, command
from dialogue.config import DecodeConfig
from dialogue.device import choose_device
from dialogue.learned_ranker import LearnedRanker, RankerConfig, RankerNetwork
from dialogue.ranking import LikelihoodRanker, Ranker, RecallRanker
from dialogue.vocabulary import Vocabulary
from training import corpora
from training.corpora.transcript import Complaints
from training.ranking import feelings, judging, matching
from training.reading import judgements

STATE = "matcher.safetensors"
MEASURED = 400  # pairs of the validation split


@command
def main(arguments: list[str] | None = None) -> int:
    """Fit a ranker from the command line."""
    options = _options().parse_args(arguments)
    if not 0 < options.minutes < float("inf"):
        raise ValueError(f"--minutes is {options.minutes}; it must be above 0")
    if options.json:
        check_writable_file(options.json, option="--json")
    device = choose_device(options.device)
    source = checkpoint.load(options.checkpoint, device=device, with_ranker=False)
    check_writable_file(options.checkpoint / learned_ranker.FILE, option="--checkpoint")
    (options.state or Path("runs") / STATE).parent.mkdir(parents=True, exist_ok=True)
    judged, missing = judgements.load(options.judgements)
    if not any(map(judging.is_held_out, judged)) or all(map(judging.is_held_out, judged)):
        raise ValueError(
            f"{options.judgements}: {len(judged)} judged contexts are too few "
            "to learn from some and measure on others"
        )

    torch.manual_seed(options.seed)
    network = RankerNetwork(
        RankerConfig(vocab_size=len(source.vocabulary)), pad_id=source.vocabulary.pad_id
    ).to(device)
    ranker = LearnedRanker(network, source.vocabulary)
    names = options.data or ["companion"]
    steps, hits, unseen = _fit_matcher(network, source.vocabulary, names, options)
    felt = _fit_feelings(network, source.vocabulary, options)

    agent = DialogueAgent(source, decode=DecodeConfig(ranker="likelihood"))
    every = judging.examples(agent, judged)
    judging.fit(ranker, [example for example in every if not example.held_out], seed=options.seed)
    held_out = [example for example in every if example.held_out]
    figures = {name: judging.agreement(one, held_out) for name, one in _rankers(ranker).items()}
    about = {
        "data": names, "minutes": options.minutes, "steps": steps, "seed": options.seed,
        "judged": len(every), "matcher_hits_at_1_of_20": hits, "feelings_right": felt,
        "held_out": {name: asdict(figure) for name, figure in figures.items()},
    }  # fmt: skip
    learned_ranker.save(options.checkpoint, ranker, about)
    if options.json:  # before anything is shown
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(
            json.dumps(about | {"missing": missing}, indent=2) + "\n", encoding="utf-8"
        )
    _show(figures)
    _report(about, missing, unseen)
    print(
        f"the ranker is in {options.checkpoint / learned_ranker.FILE}; "
        "the agent uses it from now on"
    )
    return 0


def _report(about: Mapping[str, Any], missing: Mapping[str, int], unseen: int) -> None:
    """Say what was left out, and how good the two networks before the judges are."""
    for name, count in sorted(missing.items()):
        print(f"{count} judged contexts of {name} were left out: the corpus is not available")
    if (hits := about["matcher_hits_at_1_of_20"]) is not None:
        print(
            f"the matcher finds the true reply among 20 in {hits:.1%} of {unseen} contexts "
            "of the validation split"
        )
    if (felt := about["feelings_right"]) is None:
        print(f"the ranker cannot tell glad from troubled: there is no corpus {feelings.CORPUS}")
    else:
        print(
            f"it tells glad from troubled in {felt[0]:.1%} of what people say and {felt[1]:.1%} of "
            f"replies, on the validation split of {feelings.CORPUS}"
        )


def _fit_matcher(
    network: RankerNetwork, vocabulary: Vocabulary, names: list[str], options: argparse.Namespace
) -> tuple[int, float | None, int]:
    """Fit the matcher to corpora.

    Return its steps, how often it finds the true reply among 20 (None if there are too few
    contexts to tell), and among how many contexts.
    """
    complaints = Complaints(skip=options.skip_bad_lines)
    found = matching.pairs(corpora.load(names, "train", complaints), vocabulary)
    if len(found) < 2:
        raise ValueError(
            f"{', '.join(names)}: {len(found)} replies are too few to learn matching from"
        )
    print(
        f"{len(found):,} pairs from {', '.join(names)}; "
        f"{sum(p.numel() for p in network.parameters()):,} parameters"
    )
    steps = matching.fit(
        network.matcher,
        found,
        minutes=options.minutes,
        seed=options.seed,
        state=options.state or Path("runs") / STATE,
        resume=options.resume,
    )
    network.eval()
    unseen = matching.pairs(corpora.load(names, "validation", complaints), vocabulary)[:MEASURED]
    hits = matching.hits(network.matcher, unseen) if len(unseen) > 1 else None
    return steps, hits, len(unseen)


def _fit_feelings(
    network: RankerNetwork, vocabulary: Vocabulary, options: argparse.Namespace
) -> tuple[float, float] | None:
    """Fit what tells glad from troubled.

    Return how often it is right about what people say, and about replies; None, and nothing is
    fitted, if the corpus is not here.
    """
    try:
        transcripts = {
            split: corpora.load([feelings.CORPUS], split, Complaints())
            for split in ("train", "validation")
        }
    except ValueError:
        return None
    told = {name: feelings.told(found, vocabulary) for name, found in transcripts.items()}
    feelings.fit(network.feelings, told["train"], seed=options.seed)
    return feelings.accuracy(network.feelings, told["validation"])


def _show(figures: Mapping[str, judging.Agreement]) -> None:
    """Show how well each ranker agrees with the judgements that were held out."""
    table = Table(
        "ranker",
        "contexts",
        "candidates",
        "AUC",
        "SSA of the first",
        "of the best there is",
        title="held-out judgements",
    )
    for name, figure in figures.items():
        table.add_row(
            name, str(figure.contexts), str(figure.candidates),
            f"{figure.auc:.3f}", f"{figure.ssa:.1%}", f"{figure.oracle:.1%}",
        )  # fmt: skip
    Console().print(table)


def _rankers(ranker: LearnedRanker) -> dict[str, Ranker]:
    """Return the rankers to compare, by name."""
    decode = DecodeConfig()
    return {
        "likelihood": LikelihoodRanker(None, decode),
        "recall": RecallRanker(None, decode),
        "learned": ranker,
    }


def _options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m training.fit_ranker",
        description="Fit the ranker of a checkpoint to corpora and judgements.",
    )
    add = parser.add_argument
    add_checkpoint(parser, required=True)
    add(
        "--data",
        action="append",
        metavar="NAME|PATH",
        help="a corpus, any number of times (default: companion)",
    )
    add(
        "--minutes",
        type=float,
        default=10.0,
        help="minutes for the first step (default: %(default)s)",
    )
    add(
        "--judgements",
        type=Path,
        default=judgements.FILE,
        metavar="FILE",
        help="judged candidates (default: the project's)",
    )
    add(
        "--state",
        type=Path,
        metavar="FILE",
        help=f"where the first step keeps its state (default: runs/{STATE})",
    )
    add(
        "--resume",
        action="store_true",
        help="continue from that state; if its minutes are used up, do only the second step",
    )
    add(
        "--skip-bad-lines",
        action="store_true",
        help="skip and count lines that are not conversations",
    )
    add("--seed", type=int, default=0, help="random seed (default: %(default)s)")
    add("--json", type=Path, metavar="FILE", help="also write the figures as JSON")
    add_device(parser)
    return parser


if __name__ == "__main__":
    sys.exit(main())
