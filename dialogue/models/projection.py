"""A linear layer, prepared once at load time for a decoder that calls it thousands of times.

Each call has few rows. Precision is chosen for the whole process, never for the rows of a batch:

    fp32   what the model was trained to compute
    bf16   weights, activations and result rounded to 8 bits of mantissa
    fp16   rounded to 11 bits, on GPUs only: as fast as bf16 there, and finer
    int8   weights scaled by output channel, activations by row: no row depends on its neighbours
    auto   the fastest of these on this device (`choose_precision`)

Several engines compute the same precision to within rounding; which one is fastest depends on the
machine, so a probe of a few milliseconds times them. Nothing here is differentiable, and later
changes of the weights have no effect.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from dialogue.device import computes_in_bf16

Linear = Callable[
    [Tensor], Tensor
]  # (R, in) float32 -> (R, out) float32, a tensor that the caller may overwrite
Engine = Callable[[Tensor, Tensor], Linear]  # weight (out, in), bias (out,)

TINY = torch.finfo(torch.float32).tiny
PRECISIONS = ("auto", "fp32", "bf16", "fp16", "int8")
PROBE_ROWS = 10  # one talker with a small beam, who feels the latency
PROBE_CALLS = 5
MANY_ROWS = 32  # from so many rows on, oneDNN's int8 is faster than FBGEMM's
TILES: tuple[int, ...] = (*range(4, 20, 4), *range(20, 161, 20))  # row counts that oneDNN gets
FP32_MARGIN = 1.25  # how many times faster a rounded precision must be for auto to leave fp32


@torch.no_grad()
def lay_out(weight: Tensor, bias: Tensor, *, precision: str) -> Linear:
    """Return x -> x @ weight.T + bias in a precision, on the fastest engine.

    weight (out, in), bias (out,), float32. Raises ValueError if the precision is unknown or this
    device has no engine for it.
    """
    weight, bias = weight.detach(), bias.detach()
    if precision == "auto":
        precision = choose_precision(weight, bias)
    laid_out = [engine(weight, bias) for engine in engines(precision, weight.device)]
    return (
        laid_out[0]
        if len(laid_out) == 1
        else min(_times(laid_out, weight), key=lambda pair: pair[0])[1]
    )


@torch.no_grad()
def choose_precision(weight: Tensor, bias: Tensor) -> str:
    """Return the fastest precision on this device: fp32 unless another one is well ahead."""
    best: dict[str, float] = {}
    for precision in precisions(weight.device):
        laid_out = [engine(weight, bias) for engine in engines(precision, weight.device)]
        best[precision] = min(seconds for seconds, _ in _times(laid_out, weight))
    best["fp32"] /= FP32_MARGIN
    return min(best, key=lambda precision: best[precision])


def engines(precision: str, device: torch.device) -> list[Engine]:
    """Return the engines for a precision on a device, the simplest first.

    Raises ValueError if there are none.
    """
    if precision not in PRECISIONS[1:]:
        raise ValueError(f"precision is {precision!r}; it is one of {', '.join(PRECISIONS)}")
    found = _engines_of(device)[precision]
    if not found:
        there = ", ".join(precisions(device))
        raise ValueError(
            f"precision {precision} has no engine on this {device.type}; use one of: auto, {there}"
        )
    return found


def precisions(device: torch.device) -> list[str]:
    """Return the precisions that a device has an engine for."""
    return [precision for precision, found in _engines_of(device).items() if found]


def _engines_of(device: torch.device) -> Mapping[str, list[Engine]]:
    cpu = device.type == "cpu"
    packs = cpu and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    return {
        "fp32": [_plain, *([_transposed] if cpu else []), *([_packed] if packs else [])],
        "bf16": [_half, *([_half_packed] if packs and computes_in_bf16(device) else [])],
        "fp16": [_fp16] if device.type == "cuda" else [],
        "int8": [_int8] if cpu and "fbgemm" in torch.backends.quantized.supported_engines else [],
    }


def _times(laid_out: list[Linear], weight: Tensor) -> list[tuple[float, Linear]]:
    """Time layers on the same few rows, in turn; return (seconds of the fastest call, layer)."""
    rows = torch.ones(PROBE_ROWS, weight.shape[1], device=weight.device)
    best = [float("inf")] * len(laid_out)
    for _ in range(1 + PROBE_CALLS):  # the minimum ignores the first call, which warms up
        for number, linear in enumerate(laid_out):
            start = time.perf_counter()
            linear(rows)
            if weight.device.type == "cuda":
                torch.cuda.synchronize(weight.device)
            best[number] = min(best[number], time.perf_counter() - start)
    return list(zip(best, laid_out, strict=True))


# --- engines --------------------------------------------------------------------------------------


def _plain(weight: Tensor, bias: Tensor) -> Linear:
    return lambda rows: F.linear(rows, weight, bias)


def _transposed(weight: Tensor, bias: Tensor) -> Linear:
    transposed = weight.t().contiguous()
    return lambda rows: torch.addmm(bias, rows, transposed)


def _packed(weight: Tensor, bias: Tensor) -> Linear:
    """Keep the weight in oneDNN's own blocked layout.

    PyTorch would read it row by row, the cost of which few rows do not recoup.
    """
    packed = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), 2 * PROBE_ROWS)
    return in_tiles(
        lambda rows: torch.ops.mkldnn._linear_pointwise(rows, packed, bias, "none", [], "")
    )


def in_tiles(linear: Linear) -> Linear:
    """Return the layer with its rows split into tiles of a few sizes, the last one padded.

    For every row count that it meets, oneDNN compiles half a megabyte of code, and keeps it.
    """

    def tiled(rows: Tensor) -> Tensor:
        if len(rows) in TILES:
            return linear(rows)
        tiles: list[Tensor] = []
        for tile in torch.split(rows, TILES[-1]):
            padded = F.pad(tile, (0, 0, 0, _size(len(tile)) - len(tile)))
            tiles.append(linear(padded)[: len(tile)])
        return tiles[0] if len(tiles) == 1 else torch.cat(tiles)

    return tiled


def _size(count: int) -> int:
    """Return the smallest tile size that holds so many rows, which are at most the largest size."""
    return next(size for size in TILES if size >= count)


def _half(weight: Tensor, bias: Tensor) -> Linear:
    return _rounded(weight, bias, torch.bfloat16)


def _fp16(weight: Tensor, bias: Tensor) -> Linear:
    return _rounded(weight, bias, torch.float16)


def _rounded(weight: Tensor, bias: Tensor, dtype: torch.dtype) -> Linear:
    weight, bias = weight.to(dtype), bias.to(dtype)
    return lambda rows: F.linear(rows.to(dtype), weight, bias).float()


def _half_packed(weight: Tensor, bias: Tensor) -> Linear:
    linear = _packed(weight.bfloat16(), bias.bfloat16())
    return lambda rows: linear(rows.bfloat16()).float()


def adds_int8_exactly() -> bool:
    """Return whether the CPU adds int8 products in 32 bits.

    Older CPUs add pairs of them in 16 bits, which overflow at full range.
    """
    able = torch.cpu.get_capabilities()
    return bool(able.get("avx512_vnni") or able.get("avx_vnni"))


def _int8(weight: Tensor, bias: Tensor) -> Linear:
    """Scale every row to [-1, 1] by its own largest value, so that one fixed scale fits all rows.

    quantize_dynamic would derive one scale from all rows together, so a row's scores would depend
    on the rest of the batch. Few rows go through FBGEMM, many through oneDNN, which is then faster;
    both add up the same integers. The scaling is undone afterwards.
    """
    steps = 255 if adds_int8_exactly() else 127
    few = prepack_int8(weight, engine="fbgemm")
    many = (
        prepack_int8(weight, engine="onednn")
        if "onednn" in torch.backends.quantized.supported_engines
        else None
    )
    # oneDNN derives its scale from the rows' range. This row makes it [-1, 1], and pads the tile.
    range_row = torch.ones(1, weight.shape[1])
    range_row[0, 0] = -1

    def product(unit: Tensor) -> Tensor:
        if many is None or len(unit) < MANY_ROWS:
            out: Tensor = torch.ops.quantized.linear_with_input_q_dq_qweight_dq_output_fp32(
                unit, 2 / steps, (steps + 1) // 2, few
            )
        else:
            fill = range_row.expand(_size(len(unit)) + 1 - len(unit), -1)
            out = torch.ops.quantized.linear_dynamic(torch.cat([unit, fill]), many, steps == 127)
        return out

    def linear(rows: Tensor) -> Tensor:
        largest = rows.abs().amax(1, keepdim=True).clamp_min_(TINY)  # (R, 1)
        unit = rows / largest
        out = rows.new_empty(len(rows), len(weight))
        half = TILES[-1] // 2  # the product of half a tile stays in the cache
        tiles = (torch.split(each, half) for each in (unit, largest, out))
        for tile, scale, there in zip(*tiles, strict=True):
            torch.addcmul(bias, product(tile)[: len(tile)], scale, out=there)
        return out

    return linear


def prepack_int8(weight: Tensor, *, engine: str) -> torch.ScriptObject:
    """Quantise a weight (out, in) to int8, scaled by output channel.

    engine: the one of PyTorch's quantised engines whose layout is used.
    """
    scales = weight.abs().amax(1).clamp_min(TINY).double() / 127  # (out,)
    before = torch.backends.quantized.engine
    torch.backends.quantized.engine = engine
    try:
        with (
            warnings.catch_warnings()
        ):  # PyTorch plans to move quantised tensors elsewhere; the pinned version still has them
            warnings.filterwarnings(
                "ignore", message="torch.quantize_per_tensor", category=UserWarning
            )
            quantised = torch.quantize_per_channel(
                weight, scales, torch.zeros_like(scales, dtype=torch.long), 0, torch.qint8
            )
        packed: torch.ScriptObject = torch.ops.quantized.linear_prepack(quantised, None)
    finally:
        torch.backends.quantized.engine = before
    return packed
