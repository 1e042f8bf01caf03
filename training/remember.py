"""python -m training.remember: give a checkpoint replies to remember, from training splits.

python -m training.remember --checkpoint runs/mine/checkpoint --data companion --data my.jsonl

From corpora with a companion, only its turns are remembered, together with the turns they answered.
Test and validation splits are never used, so that measurements on them stay honest.

Each reply is stored with the history vector that it answered, by which it is found later. The
vectors are valid only for these weights: once the weights have changed, replies are found by words
alone until this command is rerun.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Iterator, Sequence
from typing import cast

import torch
from torch import Tensor
from tqdm import trange

from dialogue import checkpoint, nearest
from dialogue.agent import DialogueAgent
from dialogue.atomic_file import replace_file
from dialogue.claims import claims_a_life
from dialogue.command_line import add_model, check_writable_file, command
from dialogue.conversation import Conversation, Turn
from dialogue.models.history import history_vectors
from dialogue.recall import FILE, Exchange, Recall
from dialogue.recognised import as_recognised, as_written
from dialogue.vocabulary import CONTINUED, PLACEHOLDERS
from dialogue.words import repeats_ngram, words
from training import corpora
from training.corpora import cleaning, overlap
from training.corpora.roles import only_companion
from training.corpora.transcript import Complaints, Transcript

MOST_WORDS = 40  # per reply: it is spoken aloud
CHUNK = 256  # conversations read at a time


def exchanges(transcript: Transcript) -> Iterator[tuple[int, Exchange]]:
    """Yield the replies to remember and what they answered, each with the number of its turn.

    Replies that the agent should not say are left out: those that are too long, repeat themselves,
    claim a life, or contain marks.
    """
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
            yield (
                number,
                Exchange(spoken[number - 2] if number > 1 else "", spoken[number - 1], reply),
            )


def histories(
    agent: DialogueAgent, transcripts: Sequence[Transcript], wanted: Sequence[tuple[int, int]]
) -> Tensor | None:
    """Return the history vector that each wanted turn answers, (N, C), in half precision.

    wanted: pairs of transcript and turn numbers. Return None if the model's history is not a
    vector. What a person says is read as a speech recogniser would write it.
    """
    places = {one: place for place, one in enumerate(wanted)}
    empty = history_vectors(agent.empty_history)
    if empty is None:
        return None
    found = torch.zeros(len(wanted), empty.shape[1], dtype=torch.half)
    by_length = sorted(range(len(transcripts)), key=lambda row: len(transcripts[row].turns))
    for at in trange(0, len(by_length), CHUNK, desc="reading", disable=None):
        going_on = [(row, Conversation()) for row in by_length[at : at + CHUNK]]
        for turn in itertools.count():
            going_on = [one for one in going_on if len(transcripts[one[0]].turns) > turn + 1]
            if not going_on:
                break
            heard = agent.hear(
                [conversation for _, conversation in going_on],
                [_turn(transcripts[row], turn) for row, _ in going_on],
            )
            going_on = [(row, one) for (row, _), one in zip(going_on, heard, strict=True)]
            for row, conversation in going_on:
                if (place := places.get((row, turn + 1))) is not None:
                    found[place] = cast(Tensor, conversation.history)[0]
    return found


def _turn(transcript: Transcript, number: int) -> Turn:
    text, persons = transcript.turns[number], transcript.persons
    is_persons = number % 2 == 0 if persons is None else number in persons
    return Turn("user", as_written(as_recognised(text))) if is_persons else Turn("bot", text)


@command
def main(arguments: list[str] | None = None) -> int:
    """Write a checkpoint's remembered replies from the command line."""
    parser = argparse.ArgumentParser(prog="python -m training.remember", description=main.__doc__)
    add = parser.add_argument
    add_model(parser, required=True)
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
    source = checkpoint.load(
        options.checkpoint, model_name=options.model, with_ranker=False, with_recall=False
    )
    check_writable_file(options.checkpoint / FILE, option="--checkpoint")
    transcripts = corpora.load(names, "train", Complaints(skip=options.skip_bad_lines))
    transcripts, _ = overlap.without(transcripts, corpora.held_out(names))
    transcripts, touched = cleaning.clean(transcripts)
    transcripts = [only_companion(transcript) for transcript in transcripts]
    first: dict[Exchange, tuple[int, int]] = {}  # each exchange once: its first transcript and turn
    for row, transcript in enumerate(transcripts):
        for number, exchange in exchanges(transcript):
            first.setdefault(exchange, (row, number))
    recall = Recall(tuple(first))
    vectors = histories(DialogueAgent(source), transcripts, list(first.values()))
    (options.checkpoint / nearest.FILE).unlink(missing_ok=True)  # of the previous replies
    replace_file(options.checkpoint / FILE, recall.save)
    if vectors is not None and len(vectors):
        nearest.save(
            options.checkpoint / nearest.FILE,
            nearest.reduced(vectors),
            model=checkpoint.fingerprint(source),
        )
    print(cleaning.summary(touched))
    print(
        f"{len(recall):,} replies from {len(transcripts):,} conversations "
        f"remembered in {options.checkpoint / FILE}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
