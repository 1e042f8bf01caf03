"""The likelihood of replies that are known: a shared beginning is read once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor

from dialogue.device import sent
from dialogue.models import DecoderState

State = TypeVar("State", bound=DecoderState)
OUTPUT_ROWS = 160  # that the output layer takes at once: 5 MB of log-probabilities of 8,000 tokens


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
    most: how many tokens of each are read; None: all.
    The replies to a history make a tree. Each step reads one level of it, a row for each different
    beginning. The output layer, the largest product, then takes many levels at once.
    """
    if not replies:
        return torch.zeros(0, device=device)
    levels = list(islice(_levels(owners, replies, bos_id=bos_id, eos_id=eos_id), most))
    totals = torch.zeros(len(replies), device=device)
    # Sent at once: a copy a level would have the device wait for the next one.
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
    """Add to the totals (M,) what each reply's token has at some levels: (output, rows, said,
    alive) of each, see Level.
    """
    outputs = [output for output, *_ in levels]
    sizes, tables = [len(output) for output in outputs], log_probs(torch.cat(outputs))
    for table, (_, rows, said, alive) in zip(torch.split(tables, sizes), levels, strict=True):
        totals[alive] += table[rows, said]


class Level(NamedTuple):
    """One level of the tree: R nodes, and Q replies that go through one of them each."""

    before: Sequence[int]  # (R,): the row of the level before
    read: Sequence[int]  # (R,): the token
    rows: Sequence[int]  # (Q,): the node of each reply
    said: Sequence[int]  # (Q,): the token that the reply says there
    alive: Sequence[int]  # (Q,): the replies


def _levels(
    owners: Sequence[int], replies: Sequence[Sequence[int]], *, bos_id: int, eos_id: int
) -> Iterator[Level]:
    """Yield the levels of the tree, as long as a reply goes on."""
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
