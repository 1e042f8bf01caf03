"""What a hypothesis may not say next: functions (log_probs (R, V), written (R, t)) -> log_probs (R, V).

`written` holds the tokens of each row so far, without <s>. A constraint makes a token impossible (minus infinity) and
changes nothing else; it never touches another row, and composes with the others in any order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

Constraint = Callable[[Tensor, Tensor], Tensor]
IMPOSSIBLE = float("-inf")
NO_TOKEN = -1  # padding of references: equal to no token


def forbid(token_ids: Sequence[int], *, device: torch.device | None = None) -> Constraint:
    """Never say these tokens."""
    forbidden = torch.tensor(token_ids, dtype=torch.long, device=device)
    return lambda log_probs, written: log_probs.index_fill(1, forbidden, IMPOSSIBLE)


def at_least(length: int, *, eos_id: int) -> Constraint:
    """Do not end a reply before it has `length` tokens."""
    ending = torch.tensor([eos_id])

    def constrain(log_probs: Tensor, written: Tensor) -> Tensor:
        return log_probs.index_fill(1, ending.to(log_probs.device), IMPOSSIBLE) if written.shape[1] < length else log_probs

    return constrain


def block_repeats(n: int, *, keep: int) -> Constraint:
    """Do not say an n-gram of tokens that stands in this reply already. `keep` is never blocked: </s>."""

    def constrain(log_probs: Tensor, written: Tensor) -> Tensor:
        return _block(log_probs, written, written, n, keep)

    return constrain


def block_ngrams_of(references: Tensor, n: int, *, keep: int) -> Constraint:
    """Do not say an n-gram of tokens that stands in the row's reference: (R, L), padded with NO_TOKEN."""

    def constrain(log_probs: Tensor, written: Tensor) -> Tensor:
        return _block(log_probs, written, references, n, keep)

    return constrain


def _block(log_probs: Tensor, written: Tensor, said: Tensor, n: int, keep: int) -> Tensor:
    """Forbid each token that follows, somewhere in `said` (R, L), the last n - 1 tokens of `written` (R, t)."""
    if written.shape[1] < n - 1 or said.shape[1] < n:
        return log_probs
    windows = said.unfold(1, n, 1)  # (R, L - n + 1, n)
    last = written[:, written.shape[1] - (n - 1) :]
    repeats = (windows[:, :, :-1] == last[:, None]).all(-1) & (windows[:, :, -1] != keep) & (windows[:, :, -1] != NO_TOKEN)
    penalty = torch.zeros(repeats.shape, device=log_probs.device, dtype=log_probs.dtype).masked_fill_(repeats, IMPOSSIBLE)
    return log_probs.scatter_add(1, windows[:, :, -1].clamp_min(0), penalty)
