"""What training may not read because a test conversation holds it: the same three turns in a row.

Corpora copy from each other, and people hand in the same conversation twice under two ids, so that a
split by id alone would let a model be tested on what it has learnt.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise

from dialogue.vocabulary import normalise
from training.corpora.transcript import Transcript

TURNS = 3  # in a row; two alone ("hi", "how are you?") are everybody's


def without(
    transcripts: Sequence[Transcript], test: Iterable[Transcript]
) -> tuple[list[Transcript], int]:
    """Leave out the conversations that share TURNS turns in a row with a test conversation.

    Turns are compared as the model reads them. Those of a corpus that came split by its authors
    (spaced, as MovieTriples) stay as they are. Returns what is left, and how many were left out.
    """
    known = {stretch for transcript in test for stretch in _stretches(transcript)}
    kept = [one for one in transcripts if one.spaced or known.isdisjoint(_stretches(one))]
    return kept, len(transcripts) - len(kept)


def _stretches(transcript: Transcript) -> set[tuple[str, ...]]:
    turns = [normalise(turn) for turn in transcript.turns]
    return {(*one, turn) for one, turn in zip(pairwise(turns), turns[TURNS - 1 :], strict=False)}
