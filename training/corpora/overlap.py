"""Keep training from reading the test: leave out conversations that share three turns with it.

Corpora copy from each other, and people submit the same conversation twice under two ids. Splitting
by id alone would let a model be tested on what it has learnt.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise

from dialogue.vocabulary import normalise
from training.corpora.transcript import Transcript

TURNS = 3  # in a row; two ("hi", "how are you?") would match too many conversations


def without(
    transcripts: Sequence[Transcript], test: Iterable[Transcript]
) -> tuple[list[Transcript], int]:
    """Leave out the conversations that share TURNS consecutive turns with a test conversation.

    Turns are compared as the model reads them. Conversations of a corpus that its authors have
    split (spaced ones, as in MovieTriples) are always kept. Returns what is left and how many were
    left out.
    """
    # Hashing every three consecutive turns makes this one pass over each corpus.
    known = {stretch for transcript in test for stretch in _stretches(transcript)}
    kept = [one for one in transcripts if one.spaced or known.isdisjoint(_stretches(one))]
    return kept, len(transcripts) - len(kept)


def _stretches(transcript: Transcript) -> set[tuple[str, ...]]:
    turns = [normalise(turn) for turn in transcript.turns]
    return {(*one, turn) for one, turn in zip(pairwise(turns), turns[TURNS - 1 :], strict=False)}
