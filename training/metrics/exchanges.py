"""Turns of held-out conversations, each with the model's history of the turns before it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from tqdm import tqdm

from dialogue.models import History, ModelModule
from dialogue.models.history import empty_history, histories_before
from training.corpora.transcript import Transcript
from training.data import batches

BATCH_CONVERSATIONS = 64
Metrics = dict[str, float]


@dataclass(frozen=True)
class Exchange:
    """One turn in its context.

    conversation and turn are indices from 0; history encodes the turns before it; token_ids is the
    turn itself.
    """

    conversation: int
    turn: int
    history: History  # one row
    token_ids: list[int]


def by_hash(transcripts: Iterable[Transcript]) -> list[Transcript]:
    """Sort conversations by the sha1 of their ids: a fixed order that interleaves the corpora."""
    return sorted(
        transcripts, key=lambda transcript: hashlib.sha1(transcript.id.encode()).hexdigest()
    )


def exchanges_of(
    model: ModelModule[Any], conversations: Sequence[list[batches.Utterance]], device: torch.device
) -> list[Exchange]:
    """Encode conversations turn by turn and list every turn but the first of each."""
    empty = empty_history(model)
    found: list[Exchange] = []
    # Conversations of similar length share a batch, so that few rows idle while others continue.
    order = sorted(range(len(conversations)), key=lambda index: len(conversations[index]))
    for begin in tqdm(
        range(0, len(order), BATCH_CONVERSATIONS), desc="histories", leave=False, disable=None
    ):
        part = [i for i in order[begin : begin + BATCH_CONVERSATIONS] if len(conversations[i]) > 1]
        if not part:
            continue
        batch = batches.collate([conversations[index] for index in part], pad_id=0).to(device)
        histories = histories_before(model.encode_turn, batch, empty)
        places = [(turn, index) for index in part for turn in range(len(conversations[index]))]
        found += [
            Exchange(index, turn, histories[[row]], conversations[index][turn])
            for row, (turn, index) in sorted(enumerate(places), key=lambda place: place[1][0])
            if turn
        ]
    return found


def chosen_exchanges(
    exchanges: Sequence[Exchange], transcripts: Sequence[Transcript], *, limit: int | None
) -> list[Exchange]:
    """Choose one exchange per conversation, after at least two turns; return the first `limit`.

    Which turn it is follows from the hash of the conversation's id.
    """
    at = {(exchange.conversation, exchange.turn): exchange for exchange in exchanges}
    chosen = []
    for index, transcript in enumerate(transcripts):
        later = len(transcript.turns) - 2
        if later > 0:
            # The hash's remainder by 20 decides the split (see split_of): use the quotient.
            place = 2 + int(hashlib.sha1(transcript.id.encode()).hexdigest(), 16) // 20 % later
            chosen.append(at[index, place])
    return chosen[:limit]
