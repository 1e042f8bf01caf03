"""Lay conversations out as rows of tokens, for a model that reads a whole text in one pass.

A row holds a conversation's history until that is cut; the next row begins with what is left of it.
A turn that is predicted in a form other than the remembered one (heard differently, without
history, or with other decoder inputs) branches off the history:

    history     <s> w w w <s> w w <s> w ...    each token sees what is before it
    branch                <s> x x              sees what is before its turn, or nothing, and itself
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from dialogue.device import moved
from dialogue.models import Batch
from dialogue.models.history import RaggedHistory

MAIN = 0  # the branch of the history itself


@dataclass(frozen=True)
class ConversationRows:
    """P tokens, row by row.

    source (P,): the token's index into the concatenation of three flattened tensors: the texts as
    remembered (M, T'), the texts as the decoder reads them (M, T), and the values of the given
    histories. branch (P,): MAIN, or a number for each turn that branches off. position (P,): in the
    row. start (P,): a branch's tokens see those of MAIN at smaller positions than this; 0 for MAIN,
    whose tokens see all before them.
    sizes (B,): tokens of each row, on the CPU. scored: the places of the tokens that predict,
    utterance by utterance.
    """

    source: Tensor
    branch: Tensor
    position: Tensor
    start: Tensor
    sizes: Tensor
    scored: Tensor

    def to(self, device: torch.device) -> ConversationRows:
        """Move the tensors that a model computes with; sizes stay on the CPU."""
        names = ("source", "branch", "position", "start", "scored")
        return replace(self, **{name: moved(getattr(self, name), device) for name in names})

    def cells(self) -> Tensor:
        """Return each token's index into the flattened padded rows, (B, L), L the longest: (P,)."""
        real = torch.arange(int(self.sizes.max())) < self.sizes[:, None]
        return moved(real.view(-1).nonzero().squeeze(1), self.branch.device)

    def visible(self, cells: Tensor) -> Tensor:
        """Return which tokens each token sees, including itself: (B, L, L).

        Padding sees only padding.
        """
        shape = (len(self.sizes), int(self.sizes.max()))

        def padded(packed: Tensor, value: int) -> Tensor:
            return (
                packed.new_full((shape[0] * shape[1],), value)
                .index_copy_(0, cells, packed)
                .view(shape)
            )

        branch, position, start = (
            padded(self.branch, -1),
            padded(self.position, 0),
            padded(self.start, 0),
        )
        own = (branch[:, :, None] == branch[:, None]) & (position[:, :, None] >= position[:, None])
        return own | (branch[:, None] == MAIN) & (position[:, None] < start[:, :, None])


def rows_of(batch: Batch, *, window: int) -> ConversationRows:
    """Lay out a batch, on the CPU.

    window: the most tokens of a history; one that would exceed it is cut to its last window // 2.
    """
    heard_ids, heard_lengths = batch.encoder_input or (batch.token_ids, batch.lengths)
    remembered = _places(heard_ids, heard_lengths, 0)
    read = _places(batch.token_ids, batch.lengths, heard_ids.numel())
    given = _given(batch, heard_ids.numel() + batch.token_ids.numel())
    alone = [False] * len(read) if batch.without_history is None else batch.without_history.tolist()
    differs = _differs(batch)
    pieces: list[tuple[int, int, int, int, int]] = []  # source, tokens, branch, position, start
    sizes = [0]  # tokens of the rows; the last one is being written
    scored: list[int] = []  # indices into the pieces

    def add(
        places: Sequence[range], *, branch: int = MAIN, position: int = 0, start: int = 0
    ) -> None:
        for piece in places:
            pieces.append((piece.start, len(piece), branch, position, start))
            position += len(piece)
            sizes[-1] += len(piece)

    first = 0
    for history, turns in zip(given, batch.turns.tolist(), strict=True):
        last, length = first + turns - 1, sum(map(len, history))
        add(history)
        for utterance in range(first, last + 1):
            # 1. The turn is predicted in the row itself, or on a branch off it.
            said = remembered[utterance]
            branches = alone[utterance] or differs[utterance]
            scored.append(len(pieces))
            if branches:
                start = 0 if alone[utterance] else length
                add([read[utterance]], branch=utterance + 1, position=start, start=start)
            else:
                add([said], position=length)
            if utterance == last:  # nothing after it needs to see it
                break
            # 2. The turn is remembered. A history that is cut begins a new row, to be read again
            # without what was cut off. Otherwise the row goes on; a turn predicted on a branch must
            # still be added to it.
            history, length = [*history, said], length + len(said)
            if length > window:
                history, length = _last(history, window // 2), window // 2
                sizes.append(0)
                add(history)
            elif branches:
                add([said], position=length - len(said))
        first += turns
        sizes.append(0)
    return _expanded(pieces, scored, sizes[:-1])


def _expanded(
    pieces: Sequence[tuple[int, int, int, int, int]],
    scored: Sequence[int],
    sizes: Sequence[int],
) -> ConversationRows:
    """Expand pieces of text to tokens: thousands at once, as a loop would be slow."""
    source, tokens, branch, position, start = torch.tensor(pieces).t()

    def every(values: Tensor, counts: Tensor, *, counting: bool) -> Tensor:
        """Repeat each value `counts` times, or count up from it."""
        repeated = values.repeat_interleave(counts)
        if counting:
            begins = (counts.cumsum(0) - counts).repeat_interleave(counts)
            repeated += torch.arange(len(repeated)) - begins
        return repeated

    begins = tokens.cumsum(0) - tokens
    chosen = torch.tensor(scored)
    return ConversationRows(
        every(source, tokens, counting=True),
        every(branch, tokens, counting=False),
        every(position, tokens, counting=True),
        every(start, tokens, counting=False),
        torch.tensor(sizes),
        every(begins[chosen], tokens[chosen], counting=True),
    )


def _last(history: Sequence[range], tokens: int) -> list[range]:
    """Cut a history to so many tokens at its end."""
    kept: list[range] = []
    for piece in reversed(history):
        if not tokens:
            break
        kept.append(piece[max(0, len(piece) - tokens) :])
        tokens -= len(kept[-1])
    return kept[::-1]


def _places(token_ids: Tensor, lengths: Tensor, offset: int) -> list[range]:
    """List the places of each utterance's tokens, with (M, T) flattened from an offset on."""
    begins = range(offset, offset + token_ids.numel(), token_ids.shape[1])
    return [
        range(begin, begin + length) for begin, length in zip(begins, lengths.tolist(), strict=True)
    ]


def _given(batch: Batch, offset: int) -> list[list[range]]:
    """List the places of the history that each conversation continues.

    offset: where the values of the histories begin.
    """
    if batch.history is None:
        return [[] for _ in batch.turns]
    history: RaggedHistory = batch.history
    begins, lengths = (history.begins() + offset).tolist(), history.lengths.tolist()
    return [[range(begin, begin + length)] for begin, length in zip(begins, lengths, strict=True)]


def _differs(batch: Batch) -> list[bool]:
    """Return which utterances the decoder reads in a form other than the remembered one: (M,)."""
    if batch.decoder_input is not None:
        return [True] * len(batch.lengths)
    if batch.encoder_input is None:
        return [False] * len(batch.lengths)
    token_ids, lengths = batch.encoder_input
    width = min(token_ids.shape[1], batch.token_ids.shape[1])
    real = (torch.arange(width) < batch.lengths[:, None]).to(token_ids.device)
    other = ((token_ids[:, :width] != batch.token_ids[:, :width]) & real).any(1).cpu()
    found: list[bool] = (other | (lengths != batch.lengths)).tolist()
    return found
