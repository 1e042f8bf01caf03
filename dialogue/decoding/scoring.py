"""Compute the likelihood of given replies, reading shared prefixes only once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor

from dialogue.device import sent
from dialogue.models import DecoderState

State = TypeVar("State", bound=DecoderState)
OUTPUT_ROWS = 160  # rows of the output layer at once: 5 MB of log-probabilities for 8,000 tokens


@torch.no_grad()
def log_probs_of(
    read: Callable[[Tensor, State], tuple[Tensor, State]],
    log_probs: Callable[[Tensor], Tensor],
    state: State,
    owners: Sequence[int],
    replies: Sequence[Sequence[int]],
    *,
    bos_id: int,
    eos_id: int,
    most: int | None = None,
    device: torch.device | None = None,
) -> Tensor:
    """Return the log-probability of each of M replies, </s> included: (M,).

    read, log_probs: the halves of a step, see PreparedModel. state: a row for each history.
    owners (M,): the row that each reply follows. replies: their token ids, without </s>.
    most: how many tokens of each to read; None means all.

    The replies to a history form a tree of prefixes. Each step reads one level of it, with a row
    for each distinct prefix. The output layer, the largest product, then takes many levels at once.
    """
    if not replies:
        return torch.zeros(0, device=device)
    levels = list(islice(_levels(owners, replies, bos_id=bos_id, eos_id=eos_id), most))
    totals = torch.zeros(len(replies), device=device)
    # Sent all at once: with a copy per level, the device would wait for each of them.
    everything = [number for level in levels for part in level for number in part]
    sizes = [len(part) for level in levels for part in level]
    parts = iter(torch.split(sent(everything, device, dtype=torch.long), sizes))
    waiting: list[tuple[Tensor, Tensor, Tensor, Tensor]] = []
    for before, tokens, rows, said, alive in zip(*[parts] * len(Level._fields), strict=True):
        output, state = read(tokens, state.select(before))  # (R, ...)
        if waiting and len(output) + sum(len(one) for one, *_ in waiting) > OUTPUT_ROWS:
            _add(log_probs, waiting, totals)
            waiting = []
        waiting.append((output, rows, said, alive))
    _add(log_probs, waiting, totals)
    return totals


def _add(
    log_probs: Callable[[Tensor], Tensor],
    levels: Sequence[tuple[Tensor, Tensor, Tensor, Tensor]],
    totals: Tensor,
) -> None:
    """Add the log-probabilities of the replies' tokens at some levels to the totals, (M,).

    levels: (output, rows, said, alive) of each, see Level.
    """
    outputs = [output for output, *_ in levels]
    sizes, tables = [len(output) for output in outputs], log_probs(torch.cat(outputs))
    for table, (_, rows, said, alive) in zip(torch.split(tables, sizes), levels, strict=True):
        totals[alive] += table[rows, said]


class Level(NamedTuple):
    """One level of the tree: R nodes, and Q replies, each of which passes through one of them."""

    before: Sequence[int]  # (R,): the parent's row in the previous level
    read: Sequence[int]  # (R,): the token read
    rows: Sequence[int]  # (Q,): the node of each reply
    said: Sequence[int]  # (Q,): the reply's next token
    alive: Sequence[int]  # (Q,): the index of each reply


def _levels(
    owners: Sequence[int], replies: Sequence[Sequence[int]], *, bos_id: int, eos_id: int
) -> Iterator[Level]:
    """Yield the levels of the tree until all replies have ended."""
    going = [(owner, bos_id, reply) for reply, owner in enumerate(owners)]  # row, token, reply
    length = 0
    while going:
        nodes: dict[tuple[int, int], int] = {}  # the row before, and the token read
        rows = [nodes.setdefault((before, token), len(nodes)) for before, token, _ in going]
        alive = [reply for _, _, reply in going]
        said = [
            replies[reply][length] if length < len(replies[reply]) else eos_id for reply in alive
        ]
        before, read = zip(*nodes, strict=True)
        yield Level(before, read, rows, said, alive)
        going = [
            (row, token, reply)
            for row, token, reply in zip(rows, said, alive, strict=True)
            if length < len(replies[reply])
        ]
        length += 1
