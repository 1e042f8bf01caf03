"""The recurrent layer, the output layer and the dropout that the models share.

The first two work on packed tokens: the real tokens of a batch, time-major, longest row first
(torch's PackedSequence layout), so that no padding is ever computed. Their backward passes are
written out: autograd would take one small matrix product for the weights at every time step, and
two more passes over the (P, V) probabilities.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dialogue.models.projection import lay_out


def check_ids(token_ids: Tensor, embedding: nn.Embedding) -> None:
    """Refuse ids that an embedding lacks: a GPU would not name them, and stay broken for the
    process. Raises ValueError.
    """
    size = embedding.num_embeddings
    lowest, highest = int(token_ids.min()), int(token_ids.max())
    if lowest < 0 or highest >= size:
        raise ValueError(
            f"token ids from {lowest} to {highest}: this model has {size}, 0 to {size - 1}; "
            "is it another vocabulary's text?"
        )


class GRU(nn.Module):
    """One direction of a GRU (Cho et al. 2014) with the weights, gates and order (r, z, n) of
    torch.nn.GRU.

    The input's share of the gates is computed apart (`gates`), for all tokens at once; whoever
    calls may add to it what is the same at every step, such as the context of a decoder.
    """

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.hidden_size = hidden_size
        self.weight_input = nn.Parameter(torch.empty(3 * hidden_size, input_size))
        self.weight_hidden = nn.Parameter(torch.empty(3 * hidden_size, hidden_size))
        self.bias_input = nn.Parameter(torch.zeros(3 * hidden_size))
        self.bias_hidden = nn.Parameter(torch.zeros(3 * hidden_size))
        nn.init.uniform_(self.weight_input, -1 / math.sqrt(input_size), 1 / math.sqrt(input_size))
        for gate in self.weight_hidden.data.chunk(3):
            nn.init.orthogonal_(gate)

    def gates(self, inputs: Tensor) -> Tensor:
        """Compute the input's share of the gates: (..., input) -> (..., 3H)."""
        return F.linear(inputs, self.weight_input, self.bias_input)

    def step(self, gates: Tensor, state: Tensor) -> Tensor:
        """Take one step: gates (R, 3H), state (R, H) -> state (R, H)."""
        both = 2 * self.hidden_size
        from_state = F.linear(state, self.weight_hidden, self.bias_hidden)
        reset, update = torch.sigmoid(gates[..., :both] + from_state[..., :both]).chunk(2, dim=-1)
        candidate = torch.tanh(gates[..., both:] + reset * from_state[..., both:])
        return candidate + update * (state - candidate)

    def prepare_step(self) -> Callable[[Tensor, Tensor], Tensor]:
        """Lay `step` out for decoding: half its passes over memory.

        It overwrites the gates that it is given.
        """
        gates_of, hidden = (
            lay_out(self.weight_hidden, self.bias_hidden, precision="fp32"),
            self.hidden_size,
        )
        both = 2 * hidden

        def step(gates: Tensor, state: Tensor) -> Tensor:
            from_state = gates_of(state)  # (R, 3H)
            reset_update = from_state[:, :both].add_(gates[:, :both]).sigmoid_()
            candidate = (
                gates[:, both:].addcmul_(reset_update[:, :hidden], from_state[:, both:]).tanh_()
            )
            return torch.lerp(candidate, state, reset_update[:, hidden:])

        return step

    def forward(self, gates: Tensor, batch_sizes: Sequence[int], start: Tensor) -> Tensor:
        """Run over packed rows: gates (P, 3H), rows alive at each step, start (batch_sizes[0], H)
        -> states (P, H).
        """
        weight, bias, start = (
            tensor.to(gates.dtype) for tensor in (self.weight_hidden, self.bias_hidden, start)
        )  # autocast
        states: Tensor = _GRUSequence.apply(gates, weight, bias, start, batch_sizes)  # type: ignore[no-untyped-call]
        return states


class _GRUSequence(torch.autograd.Function):
    """The steps of a GRU over packed rows; `GRU.step` in a loop is its slow, obvious twin (in the
    tests).
    """

    @staticmethod
    def forward(
        ctx: Any,
        gates: Tensor,
        weight: Tensor,
        bias: Tensor,
        start: Tensor,
        batch_sizes: Sequence[int],
    ) -> Tensor:
        of_state = (gates.shape[0], weight.shape[1])
        reset, update, share, candidate, states = (gates.new_empty(of_state) for _ in range(5))
        state = start
        for here in _steps(batch_sizes):
            state = state[: here.stop - here.start]
            given, found = (
                gates[here].chunk(3, dim=1),
                F.linear(state, weight, bias).chunk(3, dim=1),
            )
            torch.add(given[0], found[0], out=reset[here]).sigmoid_()
            torch.add(given[1], found[1], out=update[here]).sigmoid_()
            share[here] = found[2]  # what the state has in the candidate
            torch.addcmul(given[2], reset[here], found[2], out=candidate[here]).tanh_()
            state = torch.lerp(candidate[here], state, update[here], out=states[here])
        ctx.save_for_backward(reset, update, share, candidate, states, weight, start)
        ctx.batch_sizes = batch_sizes
        return states

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        reset, update, share, candidate, states, weight, start = ctx.saved_tensors
        steps = _steps(ctx.batch_sizes)
        before = torch.cat(
            [
                start,
                *(
                    states[here][:rows]
                    for here, rows in zip(steps, ctx.batch_sizes[1:], strict=False)
                ),
            ]
        )
        # Every gradient within a step is a multiple of its state's; the factors are found for all
        # steps at once.
        by_candidate = (1 - update).mul_(1 - candidate * candidate)
        by_reset = (by_candidate * share).mul_(reset).mul_(1 - reset)
        by_update = (before - candidate).mul_(update).mul_(1 - update)
        factors = torch.stack([by_reset, by_update, by_candidate * reset], dim=1)  # (P, 3, H)
        grad_found = torch.empty_like(factors)
        grad_states, grad_start = grad_outputs[0].clone(), torch.zeros_like(start)
        for time in range(len(steps) - 1, -1, -1):
            here = steps[time]
            grad = grad_states[here]  # whole: the later steps have added their shares
            torch.mul(factors[here], grad[:, None], out=grad_found[here])
            earlier = (grad_states[steps[time - 1]] if time else grad_start)[: len(grad)]
            earlier.addcmul_(grad, update[here]).addmm_(grad_found[here].flatten(1), weight)
        grad_gates = grad_found.clone()
        torch.mul(grad_states, by_candidate, out=grad_gates[:, 2])
        grad_found = grad_found.flatten(1)  # (P, 3H)
        return grad_gates.flatten(1), grad_found.t() @ before, grad_found.sum(0), grad_start, None


def _steps(batch_sizes: Sequence[int]) -> list[slice]:
    """Return where each time step stands among packed rows."""
    ends = list(accumulate(batch_sizes))
    return [slice(end - rows, end) for end, rows in zip(ends, batch_sizes, strict=True)]


class Dropout(nn.Module):
    """Put noughts in place of a share of the inputs, and scale the others up; in training alone.

    On a CPU a mask takes 16 random bits an element, cut from whole words: torch's own dropout draws
    every element apart and takes three times as long. The share is off by 1/65,536 at most.
    """

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share

    def forward(self, inputs: Tensor) -> Tensor:
        """Drop from inputs of any shape; random by torch's global generator."""
        if inputs.device.type != "cpu" or not (self.training and self.share):
            return F.dropout(inputs, self.share, self.training)
        words = torch.empty(-(-inputs.numel() // 4), dtype=torch.int64).random_(-(2**63), None)
        bits = words.view(torch.int16)[: inputs.numel()].view(inputs.shape)
        kept = bits >= round(2**16 * self.share) - 2**15
        return inputs * kept.to(inputs.dtype).mul_(1 / (1 - self.share))


def token_log_probs(
    inputs: Tensor, weight: Tensor, bias: Tensor, targets: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the log-probability of each target under softmax(weight @ input + bias), and whether
    it is the likeliest.

    inputs (P, E), weight (V, E), bias (V,), targets (P,) -> log_probs (P,) in float32, correct (P,)
    bool.
    """
    weight, bias = weight.to(inputs.dtype), bias.to(inputs.dtype)  # autocast
    log_probs, correct = _TokenLogProbs.apply(inputs, weight, bias, targets)  # type: ignore[no-untyped-call]
    return log_probs, correct


class _TokenLogProbs(torch.autograd.Function):
    """log_softmax and gather; the (P, V) table of logits turns into probabilities, then into its
    gradient, in place.
    """

    @staticmethod
    def forward(
        ctx: Any, inputs: Tensor, weight: Tensor, bias: Tensor, targets: Tensor
    ) -> tuple[Tensor, Tensor]:
        table = F.linear(inputs, weight, bias)  # (P, V) logits
        flat = torch.arange(len(targets), device=targets.device) * table.shape[1] + targets
        highest = table.amax(-1, keepdim=True)
        target = table.view(-1)[flat]
        correct = target >= highest.squeeze(1)
        total = table.sub_(highest).exp_().sum(-1, keepdim=True)
        log_probs = target.float() - highest.squeeze(1).float() - total.squeeze(1).float().log()
        ctx.save_for_backward(table, total.to(table.dtype), inputs, weight, flat)
        ctx.mark_non_differentiable(correct)
        ctx.set_materialize_grads(False)
        return log_probs, correct

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        table, total, inputs, weight, flat = ctx.saved_tensors
        table.view(-1)[flat] -= total.squeeze(
            1
        )  # now (p - one_hot(target)) * total = -total * d log p(target) / d logits
        scale = -grad_outputs[0].to(inputs.dtype)[:, None] / total
        return (
            (table @ weight) * scale,
            table.t() @ (inputs * scale),
            table.t() @ scale.squeeze(1),
            None,
        )
