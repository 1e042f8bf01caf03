"""python -m training.fit_ranker: fit a checkpoint's ranker, which chooses among candidate replies.

python -m training.fit_ranker --checkpoint runs/mine/checkpoint --minutes 10

There are four steps; --minutes 0 leaves only the last two. The model proposes candidates in
contexts of the corpora; if --teacher names a Transformer, a large judge made from it labels them. A
cross-encoder learns to find the true reply among such candidates and others, and learns the judge's
labels. A linear classifier learns to tell glad from troubled talk, from stories whose emotion is
known. Finally, small judges learn from readers' judgements (training/corpora/judgements.jsonl.gz)
which candidates make sense, given the likelihoods and the outputs of the two networks. Held-out
judgements show how good the result is.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from dialogue import checkpoint, learned_ranker
from dialogue.agent import DialogueAgent
from dialogue.command_line import add_device, add_model, check_writable_file, command
from dialogue.config import DecodeConfig
from dialogue.device import choose_device
from dialogue.learned_ranker import LearnedRanker
from dialogue.models.transformer import Transformer
from dialogue.ranker_network import RankerConfig, RankerNetwork
from dialogue.ranking import LikelihoodRanker, Ranker, RecallRanker
from dialogue.vocabulary import Vocabulary
from training import corpora
from training.corpora.transcript import Complaints
from training.ranking import feelings, judging, matching, proposing, teacher
from training.reading import judgements

STATE = "cross-encoder.safetensors"
MEASURED = 400  # pairs of the validation split


@command
def main(arguments: list[str] | None = None) -> int:
    """Fit a ranker from the command line."""
    options = _options().parse_args(arguments)
    if not 0 <= options.minutes < float("inf"):
        raise ValueError(f"--minutes is {options.minutes}; it must be 0 or more")
    for name in ("teacher", "resume"):
        if getattr(options, name) and not options.minutes:
            raise ValueError(f"--{name} is for the cross-encoder, and --minutes is 0; give it some")
    for name, least in (("contexts", 0), ("batch", 2)):
        if getattr(options, name) < least:
            raise ValueError(f"--{name} is {getattr(options, name)}; it must be {least} or more")
    if options.json:
        check_writable_file(options.json, option="--json")
    device = choose_device(options.device)
    source = checkpoint.load(
        options.checkpoint, device=device, model_name=options.model, with_ranker=False
    )
    check_writable_file(options.checkpoint / learned_ranker.FILE, option="--checkpoint")
    (options.state or Path("runs") / STATE).parent.mkdir(parents=True, exist_ok=True)
    judged, missing = judgements.load(options.judgements)
    if not any(map(judging.is_held_out, judged)) or all(map(judging.is_held_out, judged)):
        raise ValueError(
            f"{options.judgements}: {len(judged)} judged contexts are too few "
            "to learn from some and measure on others"
        )

    torch.manual_seed(options.seed)
    config = RankerConfig(vocab_size=len(source.vocabulary))
    if not options.minutes:
        config = replace(config, layers=0)
    network = RankerNetwork(config, pad_id=source.vocabulary.pad_id).to(device)
    ranker = LearnedRanker(network, source.vocabulary)
    names = options.data or ["companion"]
    agent = DialogueAgent(source, decode=DecodeConfig(ranker="likelihood"))
    every = judging.examples(agent, judged)
    judge = None if options.teacher is None else _fit_judge(every, source.vocabulary, options)
    steps, hits, unseen = _fit_encoder(network, agent, judge, names, options)
    felt = _fit_feelings(network, source.vocabulary, options)
    judging.fit(ranker, [example for example in every if not example.held_out], seed=options.seed)
    held_out = [example for example in every if example.held_out]
    figures = {name: judging.agreement(one, held_out) for name, one in _rankers(ranker).items()}
    if judge is not None:
        figures["large judge"] = judging.agreement(
            teacher.as_ranker(judge, source.vocabulary), held_out
        )
    about = {
        "data": names, "minutes": options.minutes, "steps": steps, "seed": options.seed,
        "judged": len(every), "encoder_hits_at_1_of_20": hits, "feelings_right": felt,
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
    """Print what was left out, and how good the cross-encoder and the classifier are."""
    for name, count in sorted(missing.items()):
        print(f"{count} judged contexts of {name} were left out: the corpus is not available")
    if not about["steps"]:
        print("the ranker has no cross-encoder: --minutes is 0")
    elif (hits := about["encoder_hits_at_1_of_20"]) is not None:
        print(
            f"the cross-encoder finds the true reply among 20 in {hits:.1%} of {unseen} contexts "
            "of the validation split"
        )
    if (felt := about["feelings_right"]) is None:
        print(f"the ranker cannot tell glad from troubled: there is no corpus {feelings.CORPUS}")
    else:
        print(
            f"it tells glad from troubled in {felt[0]:.1%} of what people say and {felt[1]:.1%} of "
            f"replies, on the validation split of {feelings.CORPUS}"
        )


def _fit_judge(
    every: list[judging.Example], vocabulary: Vocabulary, options: argparse.Namespace
) -> teacher.LargeJudge:
    """Make a large judge from --teacher and fit it to the judgements that are not held out."""
    device = choose_device(options.device)
    large = checkpoint.load(options.teacher, device=device, with_ranker=False)
    if large.vocabulary.sha256 != vocabulary.sha256 or not isinstance(large.model, Transformer):
        raise ValueError(
            f"--teacher: {options.teacher} is not a Transformer with this checkpoint's vocabulary"
        )
    torch.manual_seed(options.seed)
    judge = teacher.LargeJudge(large.model, eos_id=vocabulary.eos_id, pad_id=vocabulary.pad_id).to(
        device
    )
    asked, found = teacher.asked_of([one for one in every if not one.held_out], vocabulary)
    teacher.fit(judge, asked, found, seed=options.seed)
    return judge


def _fit_encoder(
    network: RankerNetwork,
    agent: DialogueAgent,
    judge: teacher.LargeJudge | None,
    names: list[str],
    options: argparse.Namespace,
) -> tuple[int, float | None, int]:
    """Fit the cross-encoder to corpora and to the model's own candidates in some of the contexts.

    Return its steps, how often it finds the true reply among 20 (None if there are too few
    contexts to tell), and in how many contexts this was measured. A network without a cross-encoder
    takes no steps.
    """
    if network.encoder is None:
        return 0, None, 0
    complaints, vocabulary = Complaints(skip=options.skip_bad_lines), agent.vocabulary
    found = matching.pairs(corpora.load(names, "train", complaints), vocabulary)
    if len(found) < 2:
        raise ValueError(
            f"{', '.join(names)}: {len(found)} replies are too few to learn matching from"
        )
    print(
        f"{len(found):,} pairs from {', '.join(names)}; "
        f"{sum(p.numel() for p in network.parameters()):,} parameters"
    )
    if not options.resume:
        different = list(dict.fromkeys(found))
        some = random.Random(options.seed).sample(different, min(options.contexts, len(different)))
        own = proposing.candidates(agent, some) if some else []
        found += (
            [replace(pair, own=tuple(theirs)) for pair, theirs in zip(some, own, strict=True)]
            if judge is None
            else teacher.labelled(judge, some, own)
        )
    steps = matching.fit(
        network.encoder,
        found,
        minutes=options.minutes,
        seed=options.seed,
        state=options.state or Path("runs") / STATE,
        batch=options.batch,
        resume=options.resume,
    )
    network.eval()
    unseen = matching.pairs(corpora.load(names, "validation", complaints), vocabulary)[:MEASURED]
    hits = matching.hits(network.encoder, unseen) if len(unseen) > 1 else None
    return steps, hits, len(unseen)


def _fit_feelings(
    network: RankerNetwork, vocabulary: Vocabulary, options: argparse.Namespace
) -> tuple[float, float] | None:
    """Fit the classifier that tells glad from troubled.

    Return how often it is right about what people say and about replies. If the corpus is missing,
    fit nothing and return None.
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
    """Show how well each ranker agrees with the held-out judgements."""
    table = Table(
        "ranker",
        "contexts",
        "candidates",
        "AUC",
        "SSA",
        "unique",
        "best SSA",
        title="held-out judgements: the candidates ranked first",
    )
    for name, figure in figures.items():
        table.add_row(
            name, str(figure.contexts), str(figure.candidates),
            f"{figure.auc:.3f}", f"{figure.ssa:.1%}", f"{figure.unique:.1%}",
            f"{figure.oracle:.1%}",
        )  # fmt: skip
    Console().print(table)


def _rankers(ranker: LearnedRanker) -> dict[str, Ranker]:
    """Return the rankers to compare, by name."""
    decode = DecodeConfig()
    return {
        "likelihood": LikelihoodRanker(None, decode),
        "recall": RecallRanker(None, decode),
        "learned": ranker,
        "learned, varied": ranker.with_variety(decode.variety),
    }


def _options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m training.fit_ranker",
        description="Fit the ranker of a checkpoint to corpora and judgements.",
    )
    add = parser.add_argument
    add_model(parser, required=True)
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
        help="minutes for the cross-encoder, 0 for none (default: %(default)s)",
    )
    add(
        "--teacher",
        type=Path,
        metavar="CHECKPOINT",
        help="a larger Transformer of the same vocabulary, to be made a judge that labels the "
        "model's candidates (default: none; they are only told from true replies)",
    )
    add(
        "--contexts",
        type=int,
        default=2000,
        help="contexts in which the model proposes candidates (default: %(default)s)",
    )
    add("--batch", type=int, default=64, help="contexts per step (default: %(default)s)")
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
        help=f"where the cross-encoder keeps its state (default: runs/{STATE})",
    )
    add(
        "--resume",
        action="store_true",
        help="continue from that state, without new candidates; if its minutes are used up, do "
        "only the last steps",
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
