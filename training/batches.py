"""Conversations -> tensors: encoded once, cut into windows, gathered into batches of about as many tokens each."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dialogue.models import Batch
from dialogue.vocabulary import Vocabulary
from training.corpora.transcript import Transcript

Utterance = list[int]  # token ids, closed by </s>
WINDOW_TURNS = 20  # the longest stretch of a conversation that is trained on at once
POOL_BATCHES = 32  # windows of like length are gathered within pools of this many batches


@dataclass(frozen=True)
class Encoded:
    """Conversations as token ids, and how many of their utterances were cut at the limit."""

    conversations: list[list[Utterance]]
    truncated: int
    utterances: int


def encode(transcripts: Sequence[Transcript], vocabulary: Vocabulary, *, truncate: int | None) -> Encoded:
    """Encode every turn and close it with </s>; a turn of more than `truncate` tokens loses its end."""
    conversations, cut, count = [], 0, 0
    for transcript in transcripts:
        turns = []
        for ids in vocabulary.encode_all(transcript.turns):
            if truncate is not None and len(ids) >= truncate:
                ids = ids[: truncate - 1]
                cut += 1
            turns.append([*ids, vocabulary.eos_id])
        count += len(turns)
        conversations.append(turns)
    return Encoded(conversations, cut, count)


def windows(conversation: list[Utterance], *, turns: int = WINDOW_TURNS) -> Iterator[list[Utterance]]:
    """Cut a conversation into stretches; each begins with the last turn of the one before, so that no answer is lost."""
    start = 0
    while True:
        yield conversation[start : start + turns]
        start += turns - 1
        if start + 1 >= len(conversation):
            return


def collate(conversations: Sequence[list[Utterance]], *, pad_id: int, without_history: Tensor | None = None) -> Batch:
    """Lay conversations out as a batch: utterances one below the other, padded to the longest."""
    utterances = [utterance for conversation in conversations for utterance in conversation]
    lengths = torch.tensor([len(utterance) for utterance in utterances])
    token_ids = torch.full((len(utterances), int(lengths.max())), pad_id)
    for row, utterance in enumerate(utterances):
        token_ids[row, : len(utterance)] = torch.tensor(utterance)
    turns = torch.tensor([len(conversation) for conversation in conversations])
    return Batch(token_ids, lengths, turns, without_history=without_history)


def plan(conversations: Sequence[list[Utterance]], *, batch_tokens: int, rng: random.Random) -> list[list[list[Utterance]]]:
    """Gather all windows into batches of about `batch_tokens` tokens, in random order.

    Within a pool, windows whose longest utterances are alike go together: a recurrent layer takes as many steps as the
    longest utterance has tokens, so that one long utterance makes a whole batch slow.
    """
    stretches = [window for conversation in conversations for window in windows(conversation)]
    rng.shuffle(stretches)
    batches: list[list[list[Utterance]]] = []
    for pool in fill(stretches, POOL_BATCHES * batch_tokens):
        pool.sort(key=lambda window: max(map(len, window)))
        batches.extend(fill(pool, batch_tokens))
    rng.shuffle(batches)
    return batches


def fill(stretches: list[list[Utterance]], tokens: int) -> Iterator[list[list[Utterance]]]:
    """Gather stretches, in their order, into groups of at most `tokens` tokens; a longer one stands alone."""
    taken: list[list[Utterance]] = []
    room = tokens
    for window in stretches:
        size = sum(map(len, window))
        if taken and size > room:
            yield taken
            taken, room = [], tokens
        taken.append(window)
        room -= size
    if taken:
        yield taken
