"""python -m training.fit_stock: fit a checkpoint's stock replies, plain and topical ones.

python -m training.fit_stock --checkpoint runs/mine/checkpoint

When a plain reply suits is learnt from contexts for which readers named the replies that do
(training/corpora/stock_replies.jsonl.gz); when a topical one does, from moments written for it
(training/corpora/topical_replies.jsonl.gz). Files of your own may replace them or be added. No
topical reply suits what people say to each other (chitchat, and self_dialogue if available). With
--encoder, a large teacher (a pretrained sentence encoder) is fitted to these data first and then
labels many more contexts; the shipped replies were fitted this way.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from pathlib import Path
from typing import Any

from dialogue import checkpoint, stock_replies
from dialogue.agent import DialogueAgent
from dialogue.command_line import add_device, add_model, check_writable_file, command
from dialogue.config import DecodeConfig
from dialogue.device import choose_device
from dialogue.stock_replies import StockConfig
from training import corpora
from training.corpora.transcript import Complaints
from training.ranking import labels, lessons, stock, topical
from training.ranking.sentence_encoder import SentenceTeacher
from training.reading import judgements

PEOPLE = ("chitchat", "self_dialogue")
# How many contexts of each corpus the teacher labels.
MORE = {
    "companion": 60_000, "chitchat": 14_000, "self_dialogue": 14_000, "empathetic": 8_000,
    "synthetic_persona": 3_000, "personachat": 3_000,
}  # fmt: skip


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
    add(
        "--encoder",
        type=Path,
        metavar="FOLDER",
        help="a pretrained sentence encoder, to be fitted as a teacher (default: no teacher)",
    )
    add(
        "--teacher",
        type=Path,
        metavar="FILE",
        help="where the fitted teacher is kept; if it is there, it is not fitted again",
    )
    add("--seed", type=int, default=0, help="random seed (default: %(default)s)")
    add("--json", type=Path, metavar="FILE", help="also write the figures as JSON")
    add_device(parser)
    options = parser.parse_args(arguments)
    if options.json:
        check_writable_file(options.json, option="--json")
    if options.teacher:
        if not options.encoder:
            raise ValueError("--teacher needs the --encoder that it was made from")
        check_writable_file(options.teacher, option="--teacher")
    source = checkpoint.load(
        options.checkpoint,
        device=choose_device(options.device),
        model_name=options.model,
        with_ranker=False,
        with_recall=False,
        with_stock=False,
    )
    check_writable_file(options.checkpoint / stock_replies.FILE, option="--checkpoint")
    agent = DialogueAgent(source, decode=DecodeConfig(ranker="likelihood"))
    stock.readable(agent)
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
    known = lessons.lessons_of(labelled, moments)
    trust = {
        **lessons.trusted(known.plain, lessons.verdicts_of(labelled)),
        **lessons.trusted(known.topical, verdicts),
    }
    about: dict[str, Any] = {}
    taught = None
    if options.encoder:
        taught, about["teacher"] = _taught(options, agent, known)
    replies, measured = stock.fit(agent, known, trust=trust, taught=taught, seed=options.seed)
    about |= measured
    stock_replies.save(
        options.checkpoint, replies, model=checkpoint.fingerprint(source), about=about
    )
    if options.json:
        options.json.write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")
    plain, of_topical = about["plain"], about["topical"]
    print(
        f"{plain['replies']} plain stock replies: in {plain['held_out']} contexts that were held "
        f"out, the reader named the best one in {plain['first_is_named']:.1%}, as a specific one "
        f"in {plain['first_is_specific']:.1%}"
    )
    print(
        f"{of_topical['replies']} topical ones: in {of_topical['first_is_right']:.1%} of held-out "
        f"moments that one suits, the best one is right; of {of_topical['said']} that are likelier "
        f"than none, {of_topical['said_is_right']:.1%} are right"
    )
    return 0


def _taught(
    options: argparse.Namespace, agent: DialogueAgent, known: lessons.Lessons
) -> tuple[stock.Taught, dict[str, Any]]:
    """Fit a teacher or load the saved one; return what it teaches, and its own figures."""
    teacher = SentenceTeacher(options.encoder, known).to(agent.device)
    if options.teacher and options.teacher.exists():
        teacher.read(options.teacher)
    else:
        teacher.fit(seed=options.seed)
        if options.teacher:
            teacher.write(options.teacher)
    more = contexts(seed=options.seed)
    suits = teacher.probabilities([*known.contexts, *more])
    words = teacher.words(agent.vocabulary, StockConfig.own)
    return stock.Taught(more, suits, words), lessons.figures(known, lambda rows: suits[rows])


def contexts(*, seed: int) -> list[tuple[str, ...]]:
    """Draw contexts for the teacher to label; see MORE.

    None comes from a conversation that the ranker learns from: the ranker must see the replies' fit
    as it is in conversations that no network has learnt from.
    """
    rng, found = random.Random(seed), []
    judged = {(entry["corpus"], entry["id"]) for entry in judgements.read_entries()}
    for name, most in MORE.items():
        try:
            transcripts = corpora.load([name], "train", Complaints(skip=True))
        except ValueError as missing:
            print(f"without contexts of {name}: {missing}")
            continue
        # The companion's turns need no reply; between people, every turn does.
        step = 2 if name == "companion" else 1
        places = [
            (row, last)
            for row, transcript in enumerate(transcripts)
            if (name, transcript.id) not in judged
            for last in range(0, len(transcript.turns), step)
        ]
        for row, last in rng.sample(places, min(most, len(places))):
            turns = transcripts[row].turns
            found.append(lessons.context_of(turns[: last + 1]))
    return found


if __name__ == "__main__":
    sys.exit(main())
