"""Rows of uneven lengths without their padding: torch's PackedSequence.

It is time-major, the longest row first. The rows "a b", "c d e" and "f" are packed so:

    time          0       1     2
    tokens        c a f   d b   e
    batch_sizes   3       2     1      how many rows have a token then
    rows          1 0 2   1 0   1      the row of each token
    positions     0 1 2   3 4   5      those of row 0 are 1 and 4; its last one is at 4
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence


def pack(padded: Tensor, lengths: Tensor) -> PackedSequence:
    """Pack (M, T, ...) without its padding; lengths (M,), on the CPU."""
    return pack_padded_sequence(padded, lengths, batch_first=True, enforce_sorted=False)


def rows(packed: PackedSequence, device: torch.device) -> Tensor:
    """Map each packed token to its row: (P,)."""
    order = _sorted(packed)
    return torch.cat([order[:alive] for alive in packed.batch_sizes.tolist()]).to(device)


def last_positions(packed: PackedSequence, lengths: Tensor) -> Tensor:
    """Return the packed position of each row's last token: (M,)."""
    return positions(packed, torch.arange(len(lengths)), lengths - 1)


def positions(packed: PackedSequence, rows: Tensor, times: Tensor) -> Tensor:
    """Return the packed positions of tokens, given their rows and times: (Q,), (Q,) -> (Q,).

    All are on the CPU.
    """
    # A step's tokens come after those of all earlier steps, in the order of the sorted rows.
    offsets = packed.batch_sizes.cumsum(0) - packed.batch_sizes
    return offsets[times] + _sorted(packed).argsort()[rows]


def _sorted(packed: PackedSequence) -> Tensor:
    assert packed.sorted_indices is not None, "rows are packed by `pack`, which sorts them"
    return packed.sorted_indices.cpu()
