"""The floor: the bare operations of a step, in the same shapes, with nothing in between.

These are the matrix products, forward and twice backward (for the inputs and for the weights), one
exp over the probabilities, and sigmoid and tanh over the gates. Their results go to memory that is
already allocated. Everything else a step needs is left out: embedding lookups, dropout, the other
arithmetic of a GRU, the sums of the softmax.

The optimiser's pass is a bare operation too: it reads and writes every parameter, gradient and both
moments once per step, whatever the batch. But it is not part of the model, and the number of tokens
per step would change its weight at will. So it is separate (`optimiser_of`), and the ratio is
reported without and with it.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from dialogue.config import ModelConfig
from dialogue.models import Batch


def floor_of(batch: Batch, config: ModelConfig, *, dtype: torch.dtype) -> Callable[[], None]:
    """Build the bare operations of our step on a batch."""
    tokens, utterances = int(batch.lengths.sum()), len(batch.lengths)
    each = config.utterance // (2 if config.bidirectional else 1)
    # Only utterances that another one follows are encoded.
    later = (batch.turns - 1).clamp_min(0)
    last = batch.turns.cumsum(0) - 1
    encoded = batch.lengths[~torch.isin(torch.arange(utterances), last)]
    readout = config.embedding * (2 if config.readout == "maxout" else 1)
    grus = [_gru(config.embedding, each, _alive(encoded), dtype)] * (config.utterance // each)
    grus += [
        _gru(config.utterance, config.context, _alive(later), dtype),
        _gru(config.embedding, config.hidden, _alive(batch.lengths), dtype),
    ]
    linears = [
        _linear(utterances, config.context, 3 * config.hidden, dtype),
        _linear(utterances, config.context, config.hidden, dtype),
        _linear(tokens, config.hidden, readout, dtype),
    ]
    output = _linear(tokens, config.embedding, config.vocab_size, dtype, activate=torch.exp_)

    @torch.no_grad()
    def step() -> None:
        for operations in (*linears, output, *grus):
            operations()

    return step


def optimiser_of(sizes: list[torch.Size]) -> Callable[[], None]:
    """Build the fused pass of Adam over float32 parameters of these sizes."""
    parameters = [torch.zeros(size, requires_grad=True) for size in sizes]
    for parameter in parameters:
        parameter.grad = torch.ones_like(parameter)
    adam = torch.optim.Adam(parameters, fused=True)
    adam.step()  # allocates its moments
    return lambda: adam.step() and None


def _alive(lengths: Tensor) -> list[int]:
    """Count the rows that are still alive at each time step."""
    if not lengths.numel():
        return []
    return (lengths[:, None] > torch.arange(int(lengths.max()))).sum(0).tolist()


def _linear(
    rows: int,
    inputs: int,
    outputs: int,
    dtype: torch.dtype,
    *,
    activate: Callable[[Tensor], Tensor] | None = None,
) -> Callable[[], None]:
    """Build a layer's three products: its result and the gradients of its input and weight."""
    x, weight, y = (
        torch.randn(*shape).to(dtype)
        for shape in ((rows, inputs), (outputs, inputs), (rows, outputs))
    )
    grad_x, grad_weight = torch.empty_like(x), torch.empty_like(weight)

    def operations() -> None:
        torch.mm(x, weight.t(), out=y)
        if activate is not None:
            activate(y)
        torch.mm(y, weight, out=grad_x)
        torch.mm(y.t(), x, out=grad_weight)

    return operations


def _gru(inputs: int, hidden: int, alive: list[int], dtype: torch.dtype) -> Callable[[], None]:
    """Build a GRU's operations: all input products at once, recurrent ones by step, both ways."""
    rows = sum(alive)
    of_inputs = _linear(rows, inputs, 3 * hidden, dtype)
    states, weight, gates = (
        torch.randn(*shape).to(dtype)
        for shape in ((rows, hidden), (3 * hidden, hidden), (rows, 3 * hidden))
    )
    candidate, grad_weight = torch.empty_like(states), torch.empty_like(weight)
    steps = [
        slice(end - count, end)
        for end, count in zip(torch.tensor(alive).cumsum(0).tolist(), alive, strict=True)
    ]

    def operations() -> None:
        of_inputs()
        # Forward: the recurrent products cannot be merged, since each needs the step before.
        for here in steps:
            torch.mm(states[here], weight.t(), out=gates[here])
            gates[here, : 2 * hidden].sigmoid_()
            candidate[here].tanh_()
        for here in reversed(steps):
            torch.mm(gates[here], weight, out=states[here])
        # The weight's gradient is one product over all steps.
        torch.mm(gates.t(), states, out=grad_weight)

    return operations
