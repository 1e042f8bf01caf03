"""Contexts that the project's files name by corpus, conversation and turn.

This way nobody else's text is copied into the project: it is read from the corpus, if available.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from training import corpora
from training.corpora.transcript import Complaints, Transcript

MOST_TURNS = 12

Transcripts = Mapping[tuple[str, str], Transcript]  # by corpus and conversation id


def transcripts(entries: Iterable[Mapping[str, Any]]) -> Transcripts:
    """Load the training splits that entries with a "turn" refer to; skip missing corpora."""
    found: dict[tuple[str, str], Transcript] = {}
    for name in sorted({entry["corpus"] for entry in entries if "turn" in entry}):
        try:
            loaded = corpora.load([name], "train", Complaints())
        except ValueError:  # the corpus is not available
            continue
        found |= {(name, transcript.id): transcript for transcript in loaded}
    return found


def context(entry: Mapping[str, Any], found: Transcripts) -> tuple[tuple[str, ...], str] | None:
    """Return the turns that an entry names, and the reply that follows them ("" if none does).

    The turns end with number "turn", counted from 0, and are at most MOST_TURNS. Return None if the
    conversation is not available. Raises ValueError if it has no such turn.
    """
    transcript = found.get((entry["corpus"], entry["id"]))
    if transcript is None:
        return None
    end = int(entry["turn"]) + 1
    if not 0 < end <= len(transcript.turns):
        raise ValueError(f"turn {end - 1} of a conversation with {len(transcript.turns)} turns")
    turns = tuple(transcript.turns[max(0, end - MOST_TURNS) : end])
    return turns, "".join(transcript.turns[end : end + 1])
