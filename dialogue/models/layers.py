"""The recurrent layer and the output layer that the models share.

Both work on packed tokens: the real tokens of a batch, time-major, longest row first (torch's PackedSequence layout), so
that no padding is ever computed. Their backward passes are written out: autograd would take one small matrix product for
the weights at every time step, and two more passes over the (P, V) probabilities.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dialogue.models.projection import lay_out


class GRU(nn.Module):
    """One direction of a GRU (Cho et al. 2014) with the weights, gates and order (r, z, n) of torch.nn.GRU.

    The input's share of the gates is computed apart (`gates`), for all tokens at once; whoever calls may add to it what
    is the same at every step, such as the context of a decoder.
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
        """Lay `step` out for decoding: half its passes over memory. It overwrites the gates that it is given."""
        gates_of, hidden = lay_out(self.weight_hidden, self.bias_hidden, precision="fp32"), self.hidden_size
        both = 2 * hidden

        def step(gates: Tensor, state: Tensor) -> Tensor:
            from_state = gates_of(state)  # (R, 3H)
            reset_update = from_state[:, :both].add_(gates[:, :both]).sigmoid_()
            candidate = gates[:, both:].addcmul_(reset_update[:, :hidden], from_state[:, both:]).tanh_()
            return torch.lerp(candidate, state, reset_update[:, hidden:])

        return step

    def forward(self, gates: Tensor, batch_sizes: Sequence[int], start: Tensor) -> Tensor:
        """Run over packed rows: gates (P, 3H), rows alive at each step, start (batch_sizes[0], H) -> states (P, H)."""
        weight, bias, start = (tensor.to(gates.dtype) for tensor in (self.weight_hidden, self.bias_hidden, start))  # autocast
        states: Tensor = _GRUSequence.apply(gates, weight, bias, start, batch_sizes)  # type: ignore[no-untyped-call]
        return states


class _GRUSequence(torch.autograd.Function):
    """The steps of a GRU over packed rows; `GRU.step` in a loop is its slow, obvious twin (in the tests)."""

    @staticmethod
    def forward(ctx: Any, gates: Tensor, weight: Tensor, bias: Tensor, start: Tensor, batch_sizes: Sequence[int]) -> Tensor:
        hidden = weight.shape[1]
        states = gates.new_empty(gates.shape[0], hidden)
        saved = gates.new_empty(gates.shape[0], 4 * hidden)  # reset, update, candidate, and the state's share of it
        state, offset = start, 0
        for rows in batch_sizes:
            here = slice(offset, offset + rows)
            state = state[:rows]
            from_state = F.linear(state, weight, bias)
            kept = saved[here]
            torch.add(gates[here, : 2 * hidden], from_state[:, : 2 * hidden], out=kept[:, : 2 * hidden])
            reset_update = kept[:, : 2 * hidden].sigmoid_()
            kept[:, 3 * hidden :] = from_state[:, 2 * hidden :]
            candidate = kept[:, 2 * hidden : 3 * hidden]
            torch.addcmul(gates[here, 2 * hidden :], reset_update[:, :hidden], kept[:, 3 * hidden :], out=candidate)
            candidate.tanh_()
            state = torch.lerp(candidate, state, reset_update[:, hidden:])
            states[here] = state
            offset += rows
        ctx.save_for_backward(saved, states, weight, start)
        ctx.batch_sizes = batch_sizes
        return states

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        (grad_states,) = grad_outputs
        saved, states, weight, start = ctx.saved_tensors
        batch_sizes, hidden = ctx.batch_sizes, weight.shape[1]
        grad_gates = saved.new_empty(saved.shape[0], 3 * hidden)
        grad_from_state = saved.new_empty(saved.shape[0], 3 * hidden)
        before = torch.empty_like(states)  # the state that each step began from
        grad_state, end = states.new_zeros(0, hidden), saved.shape[0]
        for time in range(len(batch_sizes) - 1, -1, -1):
            rows = batch_sizes[time]
            here = slice(end - rows, end)
            end -= rows
            previous = start if time == 0 else states[end - batch_sizes[time - 1] : end]
            before[here] = previous[:rows]
            grad = grad_states[here].clone()
            grad[: grad_state.shape[0]] += grad_state
            reset, update, candidate, from_candidate = saved[here].chunk(4, dim=1)
            pre = grad * (1 - update) * (1 - candidate * candidate)
            out, out_state = grad_gates[here], grad_from_state[here]
            torch.mul(pre * from_candidate, reset * (1 - reset), out=out[:, :hidden])
            torch.mul(grad * (before[here] - candidate), update * (1 - update), out=out[:, hidden : 2 * hidden])
            out[:, 2 * hidden :] = pre
            out_state[:, : 2 * hidden] = out[:, : 2 * hidden]
            torch.mul(pre, reset, out=out_state[:, 2 * hidden :])
            grad_state = torch.addmm(grad.mul_(update), out_state, weight)
        return grad_gates, grad_from_state.t() @ before, grad_from_state.sum(0), grad_state, None


def token_log_probs(inputs: Tensor, weight: Tensor, bias: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Give the log-probability of each target under softmax(weight @ input + bias), and whether it is the likeliest.

    inputs (P, E), weight (V, E), bias (V,), targets (P,) -> log_probs (P,) in float32, correct (P,) bool.
    """
    weight, bias = weight.to(inputs.dtype), bias.to(inputs.dtype)  # autocast
    log_probs, correct = _TokenLogProbs.apply(inputs, weight, bias, targets)  # type: ignore[no-untyped-call]
    return log_probs, correct


class _TokenLogProbs(torch.autograd.Function):
    """log_softmax and gather; the (P, V) table of logits turns into probabilities, then into its gradient, in place."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, weight: Tensor, bias: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
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
        table.view(-1)[flat] -= total.squeeze(1)  # now (p - one_hot(target)) * total = -total * d log p(target) / d logits
        scale = -grad_outputs[0].to(inputs.dtype)[:, None] / total
        return (table @ weight) * scale, table.t() @ (inputs * scale), table.t() @ scale.squeeze(1), None
