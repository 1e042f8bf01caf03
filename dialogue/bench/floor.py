"""The bare operations of a reply, by size and precision, as a yardstick for decoders.

floor   a step made of PyTorch's own operations: a GRU cell, the output layer by the fastest engine
        that PyTorch offers for the precision, log_softmax, and one flat top-k over (batch,
        beam * vocabulary). A decoder with faster operations of its own can be below the floor.
bound   the same four in the cheapest form that this project knows: weights in a packed layout,
        input gates from a table, log_softmax in place, and top-k in two stages. No decoder made of
        these operations can be below the bound.

Neither includes an embedding lookup, bookkeeping, or an encoder. Every operation is timed alone and
repeatedly, so that its weights are cached as far as possible.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import NamedTuple

import torch
import torch.nn.functional as F

from dialogue.bench.timing import Call
from dialogue.config import ModelConfig
from dialogue.models.projection import adds_int8_exactly, engines, lay_out, prepack_int8

BLOCKS = 24  # blocks of the two-stage top-k; must divide the reference's vocabulary


class Part(NamedTuple):
    """One way to do one operation of a step."""

    size: tuple[int, int]  # batch, beam
    kind: str  # floor or bound
    operation: str  # recurrent, softmax, top, or the precision of the output layer
    way: str


def parts(
    size: tuple[int, int], config: ModelConfig, *, precisions: list[str], device: torch.device
) -> dict[Part, Call]:
    """Return the operations of a step of batch * beam rows, each done in every way."""
    batch, beam = size
    rows, hidden, vocabulary = batch * beam, config.hidden, config.vocab_size
    generator = torch.Generator(device).manual_seed(0)

    def table(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator, device=device)

    inputs, state, logits = (
        table(rows, config.embedding),
        table(rows, hidden).tanh(),
        table(rows, vocabulary),
    )
    weight, bias = table(vocabulary, hidden) / hidden**0.5, table(vocabulary)
    cell = torch.nn.GRUCell(config.embedding, hidden, device=device)
    gates = lay_out(cell.weight_hh.detach(), cell.bias_hh.detach(), precision="fp32")
    blocks, inside = logits.view(rows, BLOCKS, -1), table(batch, beam * BLOCKS)
    found: dict[Part, Call] = {
        Part(size, "floor", "recurrent", "cell"): lambda: cell(inputs, state),
        Part(size, "floor", "softmax", "new"): lambda: F.log_softmax(logits, dim=-1),
        Part(size, "floor", "top", "flat"): lambda: logits.view(batch, -1).topk(beam, dim=-1),
        Part(size, "bound", "recurrent", "gates"): lambda: gates(state),
        Part(size, "bound", "softmax", "in place"): lambda: torch.log_softmax(
            logits, dim=-1, out=logits
        ),
        Part(size, "bound", "top", "two stages"): lambda: (
            blocks.amax(1).view(batch, -1).topk(beam, dim=-1),
            inside.topk(beam, dim=-1),
        ),
    }
    for precision in precisions:
        for engine in engines(precision, device):
            found[Part(size, "bound", precision, engine.__name__)] = partial(
                engine(weight, bias), state
            )
    return found | {
        Part(size, "floor", *name): call
        for name, call in _offered(weight, bias, state, device=device).items()
    }


def _offered(
    weight: torch.Tensor, bias: torch.Tensor, rows: torch.Tensor, *, device: torch.device
) -> dict[tuple[str, str], Call]:
    """Return PyTorch's own engines for the output layer, by precision and name."""
    transposed, half, half_bias = weight.t().contiguous(), weight.bfloat16(), bias.bfloat16()
    found: dict[tuple[str, str], Call] = {
        ("fp32", "linear"): lambda: F.linear(rows, weight, bias),
        ("fp32", "addmm"): lambda: torch.addmm(bias, rows, transposed),
        ("bf16", "linear"): lambda: F.linear(rows.bfloat16(), half, half_bias),
    }
    if device.type == "cuda":
        half16, bias16 = weight.half(), bias.half()
        found["fp16", "linear"] = lambda: F.linear(rows.half(), half16, bias16)
    for engine in torch.backends.quantized.supported_engines if device.type == "cpu" else ():
        if engine not in ("none", "qnnpack"):
            found["int8", engine] = partial(
                torch.ops.quantized.linear_dynamic,
                rows,
                prepack_int8(weight, engine=engine),
                not adds_int8_exactly(),
            )
    return found


def reply_ms(
    kind: str, size: tuple[int, int], precision: str, *, times: Mapping[Part, float], tokens: int
) -> float | None:
    """Return the time of a reply with each operation done in its fastest way.

    The result is None if one of the operations was not timed.
    """
    total = 0.0
    for operation in ("recurrent", precision, "softmax", "top"):
        ways = [ms for part, ms in times.items() if part[:3] == (size, kind, operation)]
        if not ways:
            return None
        total += min(ways)
    return tokens * total
