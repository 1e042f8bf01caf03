"""Turns of held-out conversations, each with the history vector of what was said before it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from dialogue.models import ModelModule
from training.corpora.transcript import Transcript
from training.data import batches

BATCH_CONVERSATIONS = 64
Metrics = dict[str, float]


@dataclass(frozen=True)
class Exchange:
    """One turn in its place: which conversation and turn it is, from 0, what was said before as a vector, and the turn."""

    conversation: int
    turn: int
    history: Tensor  # (C,)
    token_ids: list[int]


def by_hash(transcripts: Iterable[Transcript]) -> list[Transcript]:
    """Order conversations by sha1 of their ids: the same order for everybody, corpora interleaved."""
    return sorted(
        transcripts, key=lambda transcript: hashlib.sha1(transcript.id.encode()).hexdigest()
    )


def exchanges_of(
    model: ModelModule[Any], conversations: Sequence[list[batches.Utterance]], device: torch.device
) -> list[Exchange]:
    """Encode conversations turn by turn and list every turn but each one's first, with the history vector before it."""
    found: list[Exchange] = []
    order = sorted(range(len(conversations)), key=lambda index: len(conversations[index]))
    for begin in tqdm(
        range(0, len(order), BATCH_CONVERSATIONS), desc="histories", leave=False, disable=None
    ):
        going_on = [
            index
            for index in order[begin : begin + BATCH_CONVERSATIONS]
            if len(conversations[index]) > 1
        ]
        history: Tensor | None = None
        for turn in range(max((len(conversations[index]) for index in going_on), default=1) - 1):
            staying = [
                row for row, index in enumerate(going_on) if len(conversations[index]) > turn + 1
            ]
            history = None if history is None else history[staying]
            going_on = [going_on[row] for row in staying]
            said = batches.collate([[conversations[index][turn]] for index in going_on], pad_id=0)
            history = model.encode_turn(said.token_ids.to(device), said.lengths, history)
            found += [
                Exchange(index, turn + 1, vector, conversations[index][turn + 1])
                for index, vector in zip(going_on, history, strict=True)
            ]
    return found


def chosen_exchanges(
    exchanges: Sequence[Exchange], transcripts: Sequence[Transcript], *, limit: int | None
) -> list[Exchange]:
    """Choose one exchange a conversation, after at least two turns, at a place that its id's hash tells; the first `limit`."""
    at = {(exchange.conversation, exchange.turn): exchange for exchange in exchanges}
    chosen = []
    for index, transcript in enumerate(transcripts):
        later = len(transcript.turns) - 2
        if later > 0:
            place = 2 + int(hashlib.sha1(transcript.id.encode()).hexdigest(), 16) // 20 % later
            chosen.append(at[index, place])
    return chosen[:limit]
