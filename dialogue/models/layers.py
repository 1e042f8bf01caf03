"""The recurrent layer, the output layer and the dropout that the models share.

The first two work on packed tokens: the real tokens of a batch, time-major, longest row first
(torch's PackedSequence layout), so that no padding is ever computed. Their backward passes are
written by hand: autograd would need a small matrix product for the weights at every time step, and
two more passes over the (P, V) probabilities.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dialogue.models import Batch
from dialogue.models.projection import lay_out


def check_ids(token_ids: Tensor, embedding: nn.Embedding) -> None:
    """Raise ValueError if an embedding lacks any of the ids.

    A GPU would fail without naming them, and stay unusable for the rest of the process.
    """
    size = embedding.num_embeddings
    lowest, highest = torch.stack(token_ids.aminmax()).tolist()  # waits for a device once
    if lowest < 0 or highest >= size:
        raise ValueError(
            f"token ids from {lowest} to {highest}: this model has {size}, 0 to {size - 1}; "
            "is it another vocabulary's text?"
        )


def check_batch(batch: Batch, embedding: nn.Embedding) -> Batch:
    """Return a batch on the CPU, where it is laid out. Raise ValueError as check_ids does."""
    batch = batch.on_cpu()
    check_ids(batch.token_ids, embedding)
    if batch.encoder_input is not None:
        check_ids(batch.encoder_input[0], embedding)
    return batch


class GRU(nn.Module):
    """One direction of a GRU (Cho et al. 2014), with torch.nn.GRU's gates in its order r, z, n.

    The input's part of the gates is computed separately (`gates`), for all tokens at once. A caller
    may add to it whatever is the same at every step, such as a decoder's context.
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
        """Return the input's part of the gates: (..., input) -> (..., 3H)."""
        return F.linear(inputs, self.weight_input, self.bias_input)

    def step(self, gates: Tensor, state: Tensor) -> Tensor:
        """Take one step: gates (R, 3H), state (R, H) -> state (R, H)."""
        both = 2 * self.hidden_size
        from_state = F.linear(state, self.weight_hidden, self.bias_hidden)
        reset, update = torch.sigmoid(gates[..., :both] + from_state[..., :both]).chunk(2, dim=-1)
        # torch.nn.GRU's variant: the reset gate scales the product, not the state before it.
        candidate = torch.tanh(gates[..., both:] + reset * from_state[..., both:])
        return candidate + update * (state - candidate)

    def forward(self, gates: Tensor, batch_sizes: Sequence[int], start: Tensor) -> Tensor:
        """Run over packed rows: gates (P, 3H), start (batch_sizes[0], H) -> states (P, H).

        batch_sizes: how many rows have a token at each step.
        """
        # Under autocast the gates come in bfloat16, and `out=` needs one dtype throughout.
        weight, bias, start = (
            tensor.to(gates.dtype) for tensor in (self.weight_hidden, self.bias_hidden, start)
        )
        if gates.is_cuda:
            return _cudnn_states(gates, weight, bias, start, batch_sizes)
        run: Any = _GRUSequence.apply  # untyped in torch
        states: Tensor = run(gates, weight, bias, start, batch_sizes)
        return states


class PreparedGRU:
    """A GRU laid out for a few rows at a time, without gradients, with the same calls.

    They overwrite the gates that they are given. Later changes of the weights have no effect.
    """

    def __init__(self, gru: GRU) -> None:
        self.hidden_size = gru.hidden_size
        self.gates = lay_out(gru.weight_input, gru.bias_input, precision="fp32")
        self._from_state = lay_out(gru.weight_hidden, gru.bias_hidden, precision="fp32")

    def step(self, gates: Tensor, state: Tensor) -> Tensor:
        """Take one step: gates (R, 3H), state (R, H) -> state (R, H)."""
        hidden, both = self.hidden_size, 2 * self.hidden_size
        from_state = self._from_state(state)  # (R, 3H)
        reset_update = from_state[:, :both].add_(gates[:, :both]).sigmoid_()
        candidate = gates[:, both:].addcmul_(reset_update[:, :hidden], from_state[:, both:]).tanh_()
        return torch.lerp(candidate, state, reset_update[:, hidden:])

    def __call__(self, gates: Tensor, batch_sizes: Sequence[int], start: Tensor) -> Tensor:
        """Run over packed rows: gates (P, 3H), start (batch_sizes[0], H) -> states (P, H)."""
        states, state = [], start
        for here in _steps(batch_sizes):
            # The longest rows come first, so those that have ended are the last ones.
            state = self.step(gates[here], state[: here.stop - here.start])
            states.append(state)
        return torch.cat(states)


def _cudnn_states(
    gates: Tensor, weight: Tensor, bias: Tensor, start: Tensor, batch_sizes: Sequence[int]
) -> Tensor:
    """Run a GRU over packed rows in cuDNN: all steps in a few kernels, where ours take ten each.

    cuDNN insists on computing the input's part of the gates itself, so it is given that part as
    inputs, with the identity as weights: one more product, but exact.
    """
    identity = torch.eye(gates.shape[1], dtype=gates.dtype, device=gates.device)
    weights = [identity, weight, torch.zeros_like(bias), bias]
    sizes = torch.tensor(batch_sizes)  # on the CPU, as cuDNN wants them
    start = start[None].contiguous()
    training = torch.is_grad_enabled()
    with warnings.catch_warnings():  # about scattered weights: these have only just been made
        warnings.filterwarnings("ignore", "RNN module weights are not part of single contiguous")
        states: Tensor = torch.gru(gates, sizes, start, weights, True, 1, 0.0, training, False)[0]
    return states


class _GRUSequence(torch.autograd.Function):
    """The steps of a GRU over packed rows. The tests compare it with `GRU.step` in a loop."""

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
            # The longest rows come first, so those that have ended are the last ones.
            state = state[: here.stop - here.start]
            given, found = (
                gates[here].chunk(3, dim=1),
                F.linear(state, weight, bias).chunk(3, dim=1),
            )
            torch.add(given[0], found[0], out=reset[here]).sigmoid_()
            torch.add(given[1], found[1], out=update[here]).sigmoid_()
            share[here] = found[2]  # the state's part of the candidate
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
        # Within a step, every gradient is the state's gradient times a factor that does not depend
        # on it. So the factors of all steps are computed at once, outside the loop. They are the
        # derivatives of  state = candidate + update * (before - candidate)  with respect to the
        # inputs of the sigmoids and the tanh: s' = s * (1 - s), tanh' = 1 - tanh ** 2.
        by_candidate = (1 - update).mul_(1 - candidate * candidate)
        by_reset = (by_candidate * share).mul_(reset).mul_(1 - reset)
        by_update = (before - candidate).mul_(update).mul_(1 - update)
        factors = torch.stack([by_reset, by_update, by_candidate * reset], dim=1)  # (P, 3, H)
        grad_found = torch.empty_like(factors)
        grad_states, grad_start = grad_outputs[0].clone(), torch.zeros_like(start)
        for time in range(len(steps) - 1, -1, -1):
            here = steps[time]
            grad = grad_states[here]  # complete: the later steps have added to it
            torch.mul(factors[here], grad[:, None], out=grad_found[here])
            earlier = (grad_states[steps[time - 1]] if time else grad_start)[: len(grad)]
            earlier.addcmul_(grad, update[here]).addmm_(grad_found[here].flatten(1), weight)
        # Unlike the state's part of the candidate, the input's is not scaled by the reset gate.
        grad_gates = grad_found.clone()
        torch.mul(grad_states, by_candidate, out=grad_gates[:, 2])
        # One product over all tokens gives the weights' gradient.
        grad_found = grad_found.flatten(1)  # (P, 3H)
        return grad_gates.flatten(1), grad_found.t() @ before, grad_found.sum(0), grad_start, None


def _steps(batch_sizes: Sequence[int]) -> list[slice]:
    """Return the slice of packed rows that each time step takes."""
    ends = list(accumulate(batch_sizes))
    return [slice(end - rows, end) for end, rows in zip(ends, batch_sizes, strict=True)]


class Dropout(nn.Module):
    """Zero a fraction of the inputs and scale the others up, in training only.

    On a CPU the mask takes 16 random bits per element, cut from 64-bit words: torch's own dropout
    draws each element separately and takes three times as long. The fraction is exact to 1/65,536.
    """

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share

    def forward(self, inputs: Tensor) -> Tensor:
        """Drop from inputs of any shape, drawing from torch's global generator."""
        if inputs.device.type != "cpu" or not (self.training and self.share):
            return F.dropout(inputs, self.share, self.training)
        words = torch.empty(-(-inputs.numel() // 4), dtype=torch.int64).random_(-(2**63), None)
        bits = words.view(torch.int16)[: inputs.numel()].view(inputs.shape)
        # As signed 16-bit numbers, the bits are uniform on [-2**15, 2**15).
        kept = bits >= round(2**16 * self.share) - 2**15
        return inputs * kept.to(inputs.dtype).mul_(1 / (1 - self.share))


def token_log_probs(
    inputs: Tensor, weight: Tensor, bias: Tensor, targets: Tensor
) -> tuple[Tensor, Tensor]:
    """Return each target's log-probability under softmax(weight @ input + bias).

    Also returns whether each target is the likeliest token. inputs (P, E), weight (V, E), bias
    (V,), targets (P,) -> log_probs (P,) in float32, correct (P,) bool.
    """
    if torch.is_autocast_enabled(inputs.device.type):  # which does not cast the output of a norm
        inputs = inputs.to(torch.get_autocast_dtype(inputs.device.type))
    weight, bias = weight.to(inputs.dtype), bias.to(inputs.dtype)  # as autocast would
    run: Any = _TokenLogProbs.apply  # untyped in torch
    log_probs, correct = run(inputs, weight, bias, targets)
    return log_probs, correct


class _TokenLogProbs(torch.autograd.Function):
    """log_softmax and gather in one (P, V) table.

    Logits become probabilities, and these become the gradient, in place: the table is the largest
    tensor of a step.
    """

    @staticmethod
    def forward(
        ctx: Any, inputs: Tensor, weight: Tensor, bias: Tensor, targets: Tensor
    ) -> tuple[Tensor, Tensor]:
        table = F.linear(inputs, weight, bias)  # (P, V) logits
        flat = torch.arange(len(targets), device=targets.device) * table.shape[1] + targets
        highest = table.amax(-1, keepdim=True)
        target = table.view(-1)[flat]  # read before the table is overwritten
        correct = target >= highest.squeeze(1)
        total = table.sub_(highest).exp_().sum(-1, keepdim=True)
        log_probs = target.float() - highest.squeeze(1).float() - total.squeeze(1).float().log()
        # The probabilities stay undivided by their total: backward divides (P,) numbers instead.
        ctx.save_for_backward(table, total.to(table.dtype), inputs, weight, flat)
        ctx.mark_non_differentiable(correct)
        ctx.set_materialize_grads(False)
        return log_probs, correct

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        table, total, inputs, weight, flat = ctx.saved_tensors
        # The table becomes (p - one_hot(target)) * total = -total * d log p(target) / d logits.
        table.view(-1)[flat] -= total.squeeze(1)
        scale = -grad_outputs[0].to(inputs.dtype)[:, None] / total
        return (
            (table @ weight) * scale,
            table.t() @ (inputs * scale),
            table.t() @ scale.squeeze(1),
            None,
        )
