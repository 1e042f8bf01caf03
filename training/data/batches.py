"""Conversations -> batches of tensors.

Conversations are encoded once, cut into windows (or joined into one running text) and grouped into
batches of roughly equal numbers of tokens.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, groupby

import torch
from torch import Tensor

from dialogue.models import Batch
from dialogue.recognised import as_recognised, as_written
from dialogue.vocabulary import CONTINUED, Vocabulary
from training.corpora.transcript import Transcript

WINDOW_TURNS = 20  # the longest part of a conversation in one training example
POOL_BATCHES = 32  # windows are sorted by length within pools of this many batches


class Utterance(list[int]):
    """The token ids of a turn, ending with </s>.

    heard: the ids a speech recogniser would have produced, if known. taught: whether the turn
    counts in the loss.
    """

    __slots__ = ("heard", "taught")

    def __init__(
        self, token_ids: Iterable[int], *, heard: list[int] | None = None, taught: bool = True
    ) -> None:
        super().__init__(token_ids)
        self.heard, self.taught = heard, taught


@dataclass(frozen=True)
class Encoded:
    """Conversations as token ids, and how many of their utterances were truncated.

    times: how many times one pass reads each conversation.
    """

    conversations: list[list[Utterance]]
    truncated: int
    utterances: int
    times: list[int]

    @property
    def as_read(self) -> list[list[Utterance]]:
        """Return the conversations of one pass, each as many times as it is read."""
        return [
            conversation
            for conversation, times in zip(self.conversations, self.times, strict=True)
            for _ in range(times)
        ]


def encode(
    transcripts: Sequence[Transcript],
    vocabulary: Vocabulary,
    *,
    truncate: int | None,
    heard: bool = False,
) -> Encoded:
    """Encode every turn and append </s>; truncate turns to `truncate` tokens.

    heard: also encode each turn as a speech recogniser would write it, passed through `as_written`.
    `collate` then chooses between the two.
    """

    def closed(ids: list[int]) -> list[int]:
        if truncate is not None:
            ids = ids[: truncate - 1]
        return [*ids, vocabulary.eos_id]

    # One call for all turns: sentencepiece starts its threads anew for every call.
    written = _encoded(vocabulary, transcripts)
    spoken = iter(_as_spoken(vocabulary, transcripts) if heard else [])
    cut, conversations = 0, []
    for transcript in transcripts:
        conversation = []
        for number in range(len(transcript.turns)):
            ids, other = next(written), closed(next(spoken)) if heard else None
            cut += truncate is not None and len(ids) >= truncate  # </s> needs one place, too
            conversation.append(
                Utterance(closed(ids), heard=other, taught=number not in transcript.untaught)
            )
        conversations.append(conversation)
    return Encoded(
        conversations,
        cut,
        sum(map(len, conversations)),
        [transcript.times for transcript in transcripts],
    )


def _encoded(vocabulary: Vocabulary, transcripts: Sequence[Transcript]) -> Iterator[list[int]]:
    for spaced, some in groupby(transcripts, key=lambda transcript: transcript.spaced):
        yield from vocabulary.encode_all(
            [turn for transcript in some for turn in transcript.turns], spaced=spaced
        )


def _as_spoken(vocabulary: Vocabulary, transcripts: Sequence[Transcript]) -> list[list[int]]:
    turns = (
        turn.replace(CONTINUED, " ") for transcript in transcripts for turn in transcript.turns
    )
    return vocabulary.encode_all([as_written(as_recognised(turn)) for turn in turns])


def windows(
    conversation: list[Utterance], *, turns: int = WINDOW_TURNS
) -> Iterator[list[Utterance]]:
    """Cut a conversation into overlapping windows.

    Each begins with the last turn of the one before, so that every answer has a turn to answer.
    """
    start = 0
    while True:
        yield conversation[start : start + turns]
        start += turns - 1  # overlap by one turn
        if start + 1 >= len(conversation):
            return


def collate(
    conversations: Sequence[Sequence[list[int]]],
    *,
    pad_id: int,
    without_history: Tensor | None = None,
    recognised: Tensor | None = None,
) -> Batch:
    """Collate conversations into a batch: all utterances as rows, padded to the longest.

    recognised: (M,) bool, which utterances the encoder reads as a recogniser would have written
    them.
    """
    utterances = [utterance for conversation in conversations for utterance in conversation]
    token_ids, lengths = _padded(utterances, pad_id)
    encoder_input = None
    if recognised is not None:
        encoder_input = _padded(
            [
                (utterance.heard or utterance)
                if here and isinstance(utterance, Utterance)
                else utterance
                for utterance, here in zip(utterances, recognised.tolist(), strict=True)
            ],
            pad_id,
        )
    loss_mask = torch.tensor(
        [not isinstance(utterance, Utterance) or utterance.taught for utterance in utterances]
    )
    turns = torch.tensor([len(conversation) for conversation in conversations])
    return Batch(
        token_ids,
        lengths,
        turns,
        without_history=without_history,
        encoder_input=encoder_input,
        loss_mask=None if bool(loss_mask.all()) else loss_mask,
    )


def recognised_turns(turns: Sequence[int], share: float, rng: torch.Generator) -> Tensor:
    """Choose the utterances to read as recognised, and return them as (M,) bool.

    In a fraction `share` of the conversations it is every other utterance, because only one of the
    two speakers talks through a recogniser. turns: the number of utterances of each conversation.
    """
    user = torch.randint(2, (len(turns),), generator=rng)
    chosen = torch.rand(len(turns), generator=rng) < share
    # user[i] is the parity of the turns of the speaker who is heard through a recogniser.
    return torch.cat(
        [chosen[i] & (torch.arange(count) % 2 == user[i]) for i, count in enumerate(turns)]
    )


def _padded(utterances: Sequence[Sequence[int]], pad_id: int) -> tuple[Tensor, Tensor]:
    lengths = torch.tensor([len(utterance) for utterance in utterances])
    token_ids = torch.full((len(utterances), int(lengths.max())), pad_id)
    # One tensor of all tokens: one per utterance would take ten times as long.
    real = torch.arange(token_ids.shape[1]) < lengths[:, None]
    token_ids[real] = torch.tensor(list(chain.from_iterable(utterances)))
    return token_ids, lengths


def plan(
    conversations: Sequence[list[Utterance]], *, batch_tokens: int, rng: random.Random
) -> list[list[list[Utterance]]]:
    """Group all windows into batches of about `batch_tokens` tokens, in random order.

    A recurrent layer takes as many steps as the longest utterance has tokens, so one long utterance
    slows a whole batch down. Within a pool, windows are therefore sorted by their longest
    utterance.
    """
    stretches = [window for conversation in conversations for window in windows(conversation)]
    # Sorting within a pool, not overall, keeps the batches of an epoch different from the last.
    rng.shuffle(stretches)
    batches: list[list[list[Utterance]]] = []
    for pool in fill(stretches, POOL_BATCHES * batch_tokens):
        # The longest utterance decides the number of steps; see the docstring.
        pool.sort(key=lambda window: max(map(len, window)))
        batches.extend(fill(pool, batch_tokens))
    rng.shuffle(batches)
    return batches


def contiguous(
    conversations: Sequence[list[Utterance]], *, batch_tokens: int, length: int
) -> list[list[list[Utterance]]]:
    """Cut all turns that are learnt, as one text, into rows that continue from batch to batch.

    Each batch has the next `length` tokens of every row as one utterance; the last batch may be
    shorter. batch_tokens sets the number of rows. The text's last tokens, fewer than there are
    rows, are dropped. Raises ValueError if the text is shorter than the number of rows.
    """
    text = [
        token
        for conversation in conversations
        for turn in conversation
        if turn.taught
        for token in turn
    ]
    # Row r of every batch continues row r of the batch before, as the carried state requires.
    rows = batch_tokens // length
    each = len(text) // rows
    if not each:
        raise ValueError(
            f"{len(text)} tokens cannot be cut into {rows} rows; "
            "lower --batch-tokens, or raise --bptt"
        )
    streams = [text[begin : begin + each] for begin in range(0, rows * each, each)]
    return [
        [[Utterance(stream[place : place + length])] for stream in streams]
        for place in range(0, each, length)
    ]


def shares(windows: Sequence[Sequence[list[int]]], count: int) -> list[list[int]]:
    """Split a batch among `count` processes: return the window indices of each, in order.

    The longest window goes first, always to the process with the fewest tokens so far. A process
    may get none.
    """
    sizes = [sum(map(len, window)) for window in windows]
    taken: list[list[int]] = [[] for _ in range(count)]
    loads = [0] * count
    # Greedy scheduling, longest first. Ties are broken by place: all processes must agree.
    for place in sorted(range(len(sizes)), key=lambda place: (-sizes[place], place)):
        least = loads.index(min(loads))
        taken[least].append(place)
        loads[least] += sizes[place]
    return [sorted(places) for places in taken]


def fill(stretches: list[list[Utterance]], tokens: int) -> Iterator[list[list[Utterance]]]:
    """Group windows, in order, into batches of at most `tokens` tokens.

    A window longer than that gets a batch of its own.
    """
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
