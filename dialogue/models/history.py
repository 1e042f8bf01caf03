"""Stack histories, take them apart, and convert them to bytes.

A tensor (N, C) is already a history, so a model whose history is a vector needs nothing from here.
A model that keeps something of a different length for each conversation returns a `RaggedHistory`,
or its own kind of `OwnHistory`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, Self, TypeVar, cast, runtime_checkable

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from dialogue.models import Batch, History, ModelModule

# Accepted types of numbers; safetensors has more, but torch cannot compute with all of them.
KINDS = (torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.int32, torch.int64)

H = TypeVar("H", bound=History)
Read = Callable[[Tensor, Tensor, H], H]  # like encode_turn: token_ids (N, T), lengths (N,), history


@runtime_checkable
class OwnHistory(History, Protocol):
    """The operations that a class of histories must offer, as torch does for tensors."""

    def stack(self, others: Sequence[Self]) -> Self:
        """Return the rows of this history and then those of the others."""
        ...

    def tensors(self) -> dict[str, Tensor]:
        """Return the tensors of the one row, for storage."""
        ...

    def from_tensors(self, tensors: Mapping[str, Tensor]) -> Self:
        """Return the row made of these tensors, on the device of this history, which is empty.

        The tensors are untrusted: raise ValueError, with what was found and expected, if they do
        not fit a history.
        """
        ...

    def largest(self) -> Self | None:
        """Return a row of the largest possible size, or None if a history grows without bound."""
        ...


@runtime_checkable
class HasEmptyHistory(Protocol):
    """A model that itself makes the history of new conversations."""

    def empty_history(self, count: int) -> Any:
        """Return the history of `count` new conversations."""
        ...


@dataclass(frozen=True)
class RaggedHistory:
    """A history of one tensor per conversation, of uneven lengths, concatenated without padding.

        values     a a a b b c c c c   (P, ...): 3 of conversation 0, 2 of 1, none of 2, 4 of 3
        lengths    3 2 0 4             (N,), on the CPU

    A model may set bounds, which are checked when a history comes from outside. longest: the most
    values of one conversation, or None if they grow with the conversation. below: integers are from
    0 to below - 1.
    """

    values: Tensor
    lengths: Tensor
    longest: int | None = None
    below: int | None = None

    @property
    def nbytes(self) -> int:
        """Return the bytes of its numbers."""
        return self.values.nbytes + self.lengths.nbytes

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, rows: Tensor | list[int]) -> RaggedHistory:
        """Copy rows (R,), in their order."""
        rows = torch.as_tensor(rows)
        return self._pieces(self.begins()[rows], self.lengths[rows])

    def begins(self) -> Tensor:
        """Return where each conversation begins among the values: (N,), on the CPU."""
        return self.lengths.cumsum(0) - self.lengths

    def to(self, device: torch.device) -> RaggedHistory:
        """Move the values; the lengths stay on the CPU."""
        return replace(self, values=self.values.to(device))

    def flatten(self) -> Tensor:
        """Return all its numbers in a row, for display."""
        return self.values.flatten()

    def last(self, counts: Tensor) -> RaggedHistory:
        """Keep the last `counts` (N,) values of each conversation."""
        counts = counts.minimum(self.lengths)
        return self._pieces(self.begins() + self.lengths - counts, counts)

    def followed_by(self, said: RaggedHistory) -> RaggedHistory:
        """Append to each conversation the matching one of another history."""
        # Rows 0 N 1 N+1 ...: each conversation is then followed by its extension, so each pair of
        # lengths adds up to one.
        both = self.stack([said])[torch.arange(2 * len(self)).view(2, -1).t().flatten()]
        return replace(both, lengths=both.lengths.view(-1, 2).sum(1))

    def padded(self) -> tuple[Tensor, Tensor]:
        """Return the values left-padded with zeros, (N, T, ...), and which are real, (N, T)."""
        longest = int(self.lengths.max())
        real = torch.arange(longest) >= longest - self.lengths[:, None]
        real = real.to(self.values.device)
        padded = self.values.new_zeros(*real.shape, *self.values.shape[1:])
        padded[real] = self.values
        return padded, real

    def stack(self, others: Sequence[RaggedHistory]) -> RaggedHistory:
        """Return the conversations of this history and then those of the others."""
        every = [self, *others]
        return replace(
            self,
            values=torch.cat([one.values for one in every]),
            lengths=torch.cat([one.lengths for one in every]),
        )

    def tensors(self) -> dict[str, Tensor]:
        """Return the values of the one conversation."""
        return {"values": self.values}

    def from_tensors(self, tensors: Mapping[str, Tensor]) -> RaggedHistory:
        """Return the history of one conversation. Raises ValueError if the values do not fit."""
        found = tensors.get("values")
        shape = ("up to " + str(self.longest) if self.longest else "any", *self.values.shape[1:])
        if (
            found is None
            or len(tensors) > 1
            or not _is_kind(found, self.values)
            or found.shape[1:] != self.values.shape[1:]
            or found.dim() != self.values.dim()
            or (self.longest is not None and len(found) > self.longest)
        ):
            raise ValueError(
                f"found a history of {_said_of(tensors)}, expected values {_shape(shape)} of "
                f"{self.values.dtype}"
            )
        if (
            self.below is not None
            and len(found)
            and not 0 <= int(found.min()) <= int(found.max()) < self.below
        ):
            raise ValueError(
                f"found a history of numbers from {int(found.min())} to {int(found.max())}, "
                f"expected 0 to {self.below - 1}"
            )
        return replace(self, values=found.to(self.values), lengths=torch.tensor([len(found)]))

    def largest(self) -> RaggedHistory | None:
        """Return a conversation of the largest size, or None if there is no bound."""
        if self.longest is None:
            return None
        values = self.values.new_zeros(self.longest, *self.values.shape[1:])
        return replace(self, values=values, lengths=torch.tensor([self.longest]))

    def _pieces(self, begins: Tensor, lengths: Tensor) -> RaggedHistory:
        """Copy stretches of the values, given their starts and lengths: (R,) each."""
        # Count on through all stretches, shifted in each to its start: no loop over rows.
        shift = (begins - lengths.cumsum(0) + lengths).repeat_interleave(lengths)
        places = torch.arange(len(shift)) + shift
        return replace(self, values=self.values[places.to(self.values.device)], lengths=lengths)


def empty_history(model: ModelModule[Any], count: int = 1) -> Any:
    """Return the history of `count` new conversations: the model's own, or zeros.

    Raises ValueError if the model's history is not a tensor and it has no `empty_history`.
    """
    if isinstance(model, HasEmptyHistory):
        return model.empty_history(count)
    device = next(model.parameters()).device
    probe = model.encode_turn(
        torch.zeros(1, 1, dtype=torch.long, device=device), torch.ones(1, dtype=torch.long), None
    )
    if not isinstance(probe, Tensor):
        raise ValueError(
            f"the history of {type(model).__name__} is of the class {type(probe).__name__}, not a "
            "tensor; such a model needs a call empty_history(count)"
        )
    return probe.new_zeros(count, *probe.shape[1:])


def stack_histories(histories: Sequence[H]) -> H:
    """Concatenate the rows of histories of one model. There must be at least one history."""
    first, *others = histories
    if isinstance(first, Tensor):
        return cast(H, torch.cat(cast(list[Tensor], list(histories))))
    return cast(H, cast(OwnHistory, first).stack(cast(Any, others)))


def history_vectors(history: History) -> Tensor | None:
    """Return a history's rows as vectors, (N, C), or None if its model keeps something else."""
    return history if isinstance(history, Tensor) else None


def rows_apart(history: H) -> list[H]:
    """Return a copy of each row of a history: a view would keep all of them alive."""
    if isinstance(history, Tensor):
        return [cast(H, row.clone()) for row in torch.split(history, 1)]
    return [history[[row]] for row in range(len(history))]


def history_to_bytes(history: History, *, half: bool = False) -> bytes:
    """Write the history of one conversation in the safetensors format.

    half: store floating-point numbers in half precision, if they fit.
    """
    assert len(history) == 1, f"{len(history)} conversations; a history is written for each"
    tensors = _tensors(history)
    return save({name: _written(tensor, half=half) for name, tensor in tensors.items()})


def history_from_bytes(data: bytes, empty: H) -> H:
    """Return the history that `history_to_bytes` wrote.

    empty: the model's empty history, which shows what is expected. Raises ValueError, with what was
    found and expected, if the bytes do not hold a history of that model.
    """
    try:
        tensors = load(bytes(data))
    except (SafetensorError, KeyError, ValueError, RuntimeError) as error:
        raise ValueError(
            f"found {len(data)} bytes that hold no history ({error}), expected one of "
            f"{_said_of(_tensors(empty))}"
        ) from None
    for name, tensor in tensors.items():
        if tensor.dtype not in KINDS:
            raise ValueError(f"found a history of {_said_of(tensors)}, expected one of {KINDS}")
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            raise ValueError(f"found a history whose {name} hold NaN or infinity, expected numbers")
    if not isinstance(empty, Tensor):
        return cast(H, cast(OwnHistory, empty).from_tensors(tensors))
    found = tensors.get("values")
    if (
        found is None
        or len(tensors) > 1
        or found.shape != empty[[0]].shape
        or not _is_kind(found, empty)
    ):
        raise ValueError(
            f"found a history of {_said_of(tensors)}, expected {_said_of(_tensors(empty))}"
        )
    return cast(H, found.to(empty))


def max_history_bytes(empty: History, *, half: bool = False) -> int | None:
    """Return the most bytes that `history_to_bytes` can return, or None if there is no bound.

    empty: the model's empty history. half: for half precision.
    """
    largest = empty[[0]] if isinstance(empty, Tensor) else cast(OwnHistory, empty).largest()
    return None if largest is None else len(history_to_bytes(largest, half=half))


def histories_before(read: Read[H], batch: Batch, empty: H) -> H:
    """Return the history before each utterance of a batch: M rows, built turn by turn.

    read: encode_turn, or a version of it with gradients. empty: the history of one new
    conversation, used for turns without history.
    """
    token_ids, lengths = batch.encoder_input or (batch.token_ids, batch.lengths)
    first = batch.turns.cumsum(0) - batch.turns  # (N,): where each conversation begins among the M
    nothing = torch.zeros_like(first)
    history: H = empty[nothing] if batch.history is None else batch.history
    going_on, heard, found = torch.arange(len(first)), [first[:0]], [history]
    for turn in range(int(batch.turns.max()) - 1):
        staying = (batch.turns[going_on] > turn + 1).nonzero().squeeze(1)
        going_on = going_on[staying]
        said = first[going_on] + turn
        history = read(token_ids[said.to(token_ids.device)], lengths[said], history[staying])
        heard.append(said)
        found.append(history)
    rows = rows_before(batch.turns, torch.cat(heard))
    if batch.without_history is None:
        return stack_histories(found)[rows]
    return stack_histories([empty, *found])[(rows + 1).masked_fill(batch.without_history.cpu(), 0)]


def rows_before(turns: Tensor, heard: Tensor) -> Tensor:
    """Return the row of the history before each utterance, (M,), on the CPU.

    The rows are: N with which the conversations of `turns` (N,) utterances begin, then one after
    each of the utterances `heard` (Q,), which are all that another one follows, in any order.
    """
    rows = torch.empty(int(turns.sum()), dtype=torch.long)
    rows[turns.cumsum(0) - turns] = torch.arange(len(turns))
    rows[heard + 1] = len(turns) + torch.arange(len(heard))
    return rows


def _tensors(history: History) -> Mapping[str, Tensor]:
    if isinstance(history, Tensor):
        return {"values": history}
    return cast(OwnHistory, history).tensors()


def _written(tensor: Tensor, *, half: bool) -> Tensor:
    tensor = tensor.detach().cpu().contiguous()
    if half and tensor.is_floating_point():
        halved = tensor.half()
        return halved if bool(halved.isfinite().all()) else tensor
    return tensor


def _is_kind(found: Tensor, expected: Tensor) -> bool:
    """Return whether a tensor has the expected type; floating point may have any precision."""
    both_real = found.is_floating_point() and expected.is_floating_point()
    return both_real or found.dtype == expected.dtype


def _said_of(tensors: Mapping[str, Tensor]) -> str:
    """Return the shapes and types of tensors, for errors."""
    parts = [f"{name} {_shape(tensor.shape)} of {tensor.dtype}" for name, tensor in tensors.items()]
    return ", ".join(parts) or "nothing"


def _shape(sizes: Sequence[object]) -> str:
    return f"({', '.join(map(str, sizes))})"
