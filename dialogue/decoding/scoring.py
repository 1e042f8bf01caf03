"""The likelihood of replies that are known, by a step function: a shared beginning is read once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from torch import Tensor

from dialogue.models import DecoderState

State = TypeVar("State", bound=DecoderState)


@torch.no_grad()
def log_probs_of(
    step: Callable[[Tensor, State], tuple[Tensor, State]],
    state: State,
    owners: Sequence[int],
    replies: Sequence[Sequence[int]],
    *,
    bos_id: int,
    eos_id: int,
    device: torch.device | None = None,
) -> Tensor:
    """Return the log-probability of each of M replies, </s> included: (M,).

    state: a row for each history. owners (M,): the row that each reply follows. replies: their
    token ids, without </s>.
    The replies to a history make a tree. Each step reads one level of it, a row for each different
    beginning.
    """
    totals = torch.zeros(len(replies), device=device)
    going = [(owner, bos_id, reply) for reply, owner in enumerate(owners)]  # row, token, reply
    length = 0
    while going:
        nodes: dict[tuple[int, int], int] = {}  # of this level: the row before, and the token read
        rows = [nodes.setdefault((before, token), len(nodes)) for before, token, _ in going]
        before, tokens = torch.tensor(list(nodes), device=device).T
        log_probs, state = step(tokens, state.select(before))  # (R, V)
        here = [replies[reply] for _, _, reply in going]
        said = [ids[length] if length < len(ids) else eos_id for ids in here]
        alive = torch.tensor([reply for _, _, reply in going], device=device)
        totals[alive] += log_probs[
            torch.tensor(rows, device=device), torch.tensor(said, device=device)
        ]
        going = [
            (row, token, reply)
            for row, token, (_, _, reply) in zip(rows, said, going, strict=True)
            if length < len(replies[reply])
        ]
        length += 1
    return totals
