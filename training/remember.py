"""python -m training.remember: give a checkpoint replies to remember, from training splits.

python -m training.remember --checkpoint runs/mine/checkpoint --data companion --data my.jsonl

From corpora with a companion, its turns are remembered, together with what they answered. Test and
validation splits are never used, so that measurements on them stay honest.

Each reply is stored with its log-probability without a history, which ranking needs. The numbers
belong to these weights: once the weights have changed, every answer computes them again, until this
command has been rerun.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator, Sequence

from tqdm import trange

from dialogue import checkpoint
from dialogue.atomic_file import replace_file
from dialogue.candidates import Scorer
from dialogue.checkpoint import Checkpoint
from dialogue.claims import claims_a_life
from dialogue.command_line import add_checkpoint, check_writable_file, command
from dialogue.models import prepare
from dialogue.models.history import empty_history
from dialogue.recall import FILE, Exchange, Recall
from dialogue.vocabulary import CONTINUED, PLACEHOLDERS
from dialogue.words import repeats_ngram, words
from training import corpora
from training.corpora import cleaning, overlap
from training.corpora.roles import only_companion
from training.corpora.transcript import Complaints, Transcript

MOST_WORDS = 40  # per reply: it is spoken aloud
CHUNK = 512  # replies that are scored at a time


def exchanges(transcripts: Iterable[Transcript]) -> Iterator[Exchange]:
    """Yield what the companion answered to what.

    Replies that the agent should not say are left out: with marks, claims of a life, or repetition.
    """
    for transcript in transcripts:
        spoken = [turn.replace(f" {CONTINUED} ", " ") for turn in transcript.turns]
        for number, reply in enumerate(spoken):
            if (
                number in transcript.untaught
                or not number > 0
                or not 0 < len(words(reply)) <= MOST_WORDS
            ):
                continue
            if (
                not any(mark in reply for mark in PLACEHOLDERS)
                and not claims_a_life(reply)
                and not repeats_ngram(reply, 3)
            ):
                yield Exchange(spoken[number - 2] if number > 1 else "", spoken[number - 1], reply)


def blanks(source: Checkpoint, replies: Sequence[str]) -> list[float]:
    """Compute log p(reply), without a history, of each reply, in fp32."""
    model, device = source.model, next(source.model.parameters()).device
    scorer = Scorer(prepare(model, "fp32"), source.vocabulary, empty_history(model), device=device)
    texts = sorted(set(replies))  # so that those that begin alike are scored together
    found: dict[str, float] = {}
    for at in trange(0, len(texts), CHUNK, desc="scoring", disable=None):
        chunk = texts[at : at + CHUNK]
        found |= zip(chunk, scorer.blanks(chunk), strict=True)
    return [found[reply] for reply in replies]


@command
def main(arguments: list[str] | None = None) -> int:
    """Write a checkpoint's remembered replies from the command line."""
    parser = argparse.ArgumentParser(prog="python -m training.remember", description=main.__doc__)
    add = parser.add_argument
    add_checkpoint(parser, required=True)
    add(
        "--data",
        action="append",
        metavar="NAME|PATH",
        help="a corpus, any number of times (default: companion)",
    )
    add(
        "--skip-bad-lines",
        action="store_true",
        help="skip and count lines that are not conversations",
    )
    options = parser.parse_args(arguments)
    names = options.data or ["companion"]
    source = checkpoint.load(options.checkpoint)
    check_writable_file(options.checkpoint / FILE, option="--checkpoint")
    transcripts = corpora.load(names, "train", Complaints(skip=options.skip_bad_lines))
    transcripts, _ = overlap.without(transcripts, corpora.held_out(names))
    transcripts, touched = cleaning.clean(transcripts)
    remembered = list(dict.fromkeys(exchanges(map(only_companion, transcripts))))
    recall = Recall(
        remembered,
        blanks=blanks(source, [exchange.reply for exchange in remembered]),
        model=checkpoint.fingerprint(source),
    )
    replace_file(options.checkpoint / FILE, recall.save)
    print(cleaning.summary(touched))
    print(
        f"{len(recall):,} replies from {len(transcripts):,} conversations "
        f"remembered in {options.checkpoint / FILE}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
