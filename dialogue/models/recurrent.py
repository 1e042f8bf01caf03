"""Stacked recurrent layers, by name, with all their states in one vector.

A layer has the methods of layers.GRU: `gates` for all tokens at once, `step` for one token,
`forward` over packed rows. It carries a state (R, S) from token to token: its output, (R, H), then
the cell if it has one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dialogue.models.layers import GRU, Dropout


class LSTM(nn.Module):
    """One direction of an LSTM (Hochreiter and Schmidhuber 1997), its gates as in torch.nn.LSTM.

    Their order is i, f, g, o. There is one bias instead of torch's two, and that of the forget gate
    is initialised to one (Jozefowicz et al. 2015). A state is (output, cell).
    """

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.hidden_size = hidden_size
        self.weight_input, self.weight_hidden, self.bias = _weights(
            input_size, hidden_size, gates=4
        )
        self.bias.data[hidden_size : 2 * hidden_size] = 1

    def gates(self, inputs: Tensor) -> Tensor:
        """Return the input's part of the gates: (..., input) -> (..., 4H)."""
        return F.linear(inputs, self.weight_input, self.bias)

    def step(self, gates: Tensor, state: Tensor) -> Tensor:
        """Take one step: gates (R, 4H), state (R, 2H) -> state (R, 2H)."""
        output, cell = state.chunk(2, dim=-1)
        enter, forget, candidate, leave = (gates + F.linear(output, self.weight_hidden)).chunk(
            4, dim=-1
        )
        cell = torch.sigmoid(forget) * cell + torch.sigmoid(enter) * torch.tanh(candidate)
        return torch.cat([torch.sigmoid(leave) * torch.tanh(cell), cell], dim=-1)

    def forward(self, gates: Tensor, batch_sizes: Sequence[int], start: Tensor) -> Tensor:
        """Run over packed rows: gates (P, 4H), start (batch_sizes[0], 2H) -> states (P, 2H)."""
        weight, start = self.weight_hidden.to(gates.dtype), start.to(gates.dtype)  # autocast
        run: Any = _LSTMSequence.apply  # untyped in torch
        states: Tensor = run(gates, weight, start, batch_sizes)
        return states


class RNN(nn.Module):
    """Elman's network (1990), a tanh of input and state; its state is its output."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.hidden_size = hidden_size
        self.weight_input, self.weight_hidden, self.bias = _weights(
            input_size, hidden_size, gates=1
        )

    def gates(self, inputs: Tensor) -> Tensor:
        """Return the input's part: (..., input) -> (..., H)."""
        return F.linear(inputs, self.weight_input, self.bias)

    def step(self, gates: Tensor, state: Tensor) -> Tensor:
        """Take one step: gates (R, H), state (R, H) -> state (R, H)."""
        return torch.tanh(gates + F.linear(state, self.weight_hidden))

    def forward(self, gates: Tensor, batch_sizes: Sequence[int], start: Tensor) -> Tensor:
        """Run over packed rows: gates (P, H), start (batch_sizes[0], H) -> states (P, H)."""
        weight, start = self.weight_hidden.to(gates.dtype), start.to(gates.dtype)  # autocast
        run: Any = _RNNSequence.apply  # untyped in torch
        states: Tensor = run(gates, weight, start, batch_sizes)
        return states


CELLS: dict[str, type[GRU] | type[LSTM] | type[RNN]] = {"gru": GRU, "lstm": LSTM, "rnn": RNN}


class Stack(nn.Module):
    """Layers of one kind of cell, each reading the one below.

    A state (R, C) holds the states of all layers, the lowest first. dropout: between layers.
    """

    def __init__(
        self, cell: str, input_size: int, hidden_size: int, *, layers: int, dropout: float
    ) -> None:
        super().__init__()
        kind = CELLS[cell]
        self.layers = nn.ModuleList(
            kind(hidden_size if number else input_size, hidden_size) for number in range(layers)
        )
        self.dropout = Dropout(dropout)
        self.hidden_size = hidden_size
        self.each = hidden_size * (2 if cell == "lstm" else 1)
        self.state_size = layers * self.each  # C

    def output(self, state: Tensor) -> Tensor:
        """Return the output of the highest layer in a state: (..., C) -> (..., H)."""
        begin = self.state_size - self.each
        return state[..., begin : begin + self.hidden_size]

    def step(self, inputs: Tensor, state: Tensor) -> Tensor:
        """Take one step: inputs (R, input), state (R, C) -> state (R, C)."""
        return self._through(inputs, state, lambda layer, gates, before: layer.step(gates, before))

    def forward(self, inputs: Tensor, batch_sizes: Sequence[int], start: Tensor) -> Tensor:
        """Run over packed rows: inputs (P, input), start (batch_sizes[0], C) -> states (P, C)."""
        return self._through(
            inputs, start, lambda layer, gates, before: layer(gates, batch_sizes, before)
        )

    def _through(
        self, inputs: Tensor, state: Tensor, run: Callable[[Any, Tensor, Tensor], Tensor]
    ) -> Tensor:
        states: list[Tensor] = []
        for layer, before in zip(self.layers, torch.split(state, self.each, dim=-1), strict=True):
            assert isinstance(layer, GRU | LSTM | RNN)
            below = self.dropout(states[-1][..., : self.hidden_size]) if states else inputs
            states.append(run(layer, layer.gates(below), before))
        return torch.cat(states, dim=-1)


def _weights(
    input_size: int, hidden_size: int, *, gates: int
) -> tuple[nn.Parameter, nn.Parameter, nn.Parameter]:
    weight_input = nn.Parameter(torch.empty(gates * hidden_size, input_size))
    weight_hidden = nn.Parameter(torch.empty(gates * hidden_size, hidden_size))
    nn.init.uniform_(weight_input, -1 / math.sqrt(input_size), 1 / math.sqrt(input_size))
    for gate in weight_hidden.data.chunk(gates):
        nn.init.orthogonal_(gate)
    return weight_input, weight_hidden, nn.Parameter(torch.zeros(gates * hidden_size))


class _LSTMSequence(torch.autograd.Function):
    """The steps of an LSTM over packed rows. The tests compare it with `LSTM.step` in a loop."""

    @staticmethod
    def forward(
        ctx: Any, gates: Tensor, weight: Tensor, start: Tensor, batch_sizes: Sequence[int]
    ) -> Tensor:
        hidden = weight.shape[1]
        states = gates.new_empty(gates.shape[0], 2 * hidden)
        active = gates.new_empty(
            gates.shape[0], 5 * hidden
        )  # enter, forget, candidate, leave, tanh of the cell
        state, offset = start, 0
        for alive in batch_sizes:
            here = slice(offset, offset + alive)
            state, now, out = state[:alive], active[here], states[here]
            torch.addmm(gates[here], state[:, :hidden], weight.t(), out=now[:, : 4 * hidden])
            now[:, : 2 * hidden].sigmoid_()
            now[:, 2 * hidden : 3 * hidden].tanh_()
            now[:, 3 * hidden : 4 * hidden].sigmoid_()
            enter, forget, candidate, leave, squashed = now.chunk(5, dim=1)
            cell = torch.mul(forget, state[:, hidden:], out=out[:, hidden:]).addcmul_(
                enter, candidate
            )
            torch.tanh(cell, out=squashed)
            torch.mul(leave, squashed, out=out[:, :hidden])
            state = out
            offset += alive
        ctx.save_for_backward(active, states, weight, start)
        ctx.batch_sizes = batch_sizes
        return states

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        active, states, weight, start = ctx.saved_tensors
        hidden = weight.shape[1]
        grad_gates = active.new_empty(active.shape[0], 4 * hidden)
        before = _before(states, start, ctx.batch_sizes)  # (P, 2H)
        carried, end = states.new_zeros(0, 2 * hidden), states.shape[0]
        for alive in reversed(ctx.batch_sizes):
            here = slice(end - alive, end)
            end -= alive
            grad = grad_outputs[0][here].clone()
            grad[: carried.shape[0]] += carried
            enter, forget, candidate, leave, squashed = active[here].chunk(5, dim=1)
            to_enter, to_forget, to_candidate, to_leave = grad_gates[here].chunk(4, dim=1)
            output, cell = grad[:, :hidden], grad[:, hidden:]
            cell = torch.addcmul(cell, output * leave, 1 - squashed * squashed)
            torch.mul(output * squashed, leave * (1 - leave), out=to_leave)
            torch.mul(cell * candidate, enter * (1 - enter), out=to_enter)
            torch.mul(cell * before[here, hidden:], forget * (1 - forget), out=to_forget)
            torch.mul(cell * enter, 1 - candidate * candidate, out=to_candidate)
            carried = torch.cat([grad_gates[here] @ weight, cell * forget], dim=1)
        return grad_gates, grad_gates.t() @ before[:, :hidden], carried, None


class _RNNSequence(torch.autograd.Function):
    """The steps of an RNN over packed rows, as above."""

    @staticmethod
    def forward(
        ctx: Any, gates: Tensor, weight: Tensor, start: Tensor, batch_sizes: Sequence[int]
    ) -> Tensor:
        states = torch.empty_like(gates)
        state, offset = start, 0
        for alive in batch_sizes:
            here = slice(offset, offset + alive)
            state = torch.addmm(gates[here], state[:alive], weight.t(), out=states[here]).tanh_()
            offset += alive
        ctx.save_for_backward(states, weight, start)
        ctx.batch_sizes = batch_sizes
        return states

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        states, weight, start = ctx.saved_tensors
        grad_gates = torch.empty_like(states)
        carried, end = states[:0], states.shape[0]
        for alive in reversed(ctx.batch_sizes):
            here = slice(end - alive, end)
            end -= alive
            grad = grad_outputs[0][here].clone()
            grad[: carried.shape[0]] += carried
            torch.mul(grad, 1 - states[here] * states[here], out=grad_gates[here])
            carried = grad_gates[here] @ weight
        return grad_gates, grad_gates.t() @ _before(states, start, ctx.batch_sizes), carried, None


def _before(states: Tensor, start: Tensor, batch_sizes: Sequence[int]) -> Tensor:
    """Return the state before each step over packed rows: (P, S)."""
    offset, before = 0, [start]
    for alive, following in pairwise(batch_sizes):
        before.append(states[offset : offset + following])
        offset += alive
    return torch.cat(before)
