"""The device to compute on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


def choose_device(name: str | None = None) -> torch.device:
    """Return the named device, or the best one available: cuda, mps or cpu.

    Raises ValueError if this machine lacks it.
    """
    there = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if name is None:
        name = next(kind for kind, found in there.items() if found)
    kind, _, number = name.partition(":")
    count = torch.cuda.device_count() if kind == "cuda" else 1
    if not there.get(kind) or (number and not (number.isdecimal() and int(number) < count)):
        available = ", ".join(kind for kind, found in there.items() if found)
        raise ValueError(f"device {name!r} is not there; this machine has {available}")
    if kind == "cuda":
        # Keep float32 exact: cuDNN's recurrent layers would round their inputs to 10 bits.
        torch.backends.cudnn.allow_tf32 = False
    return torch.device(name)


def sent(
    values: Sequence[Any], device: torch.device | None, *, dtype: torch.dtype | None = None
) -> Tensor:
    """Return a tensor of numbers on a device, without waiting for the transfer.

    device: None means torch's default.
    """
    here = torch.tensor(values, dtype=dtype, device="cpu")
    return moved(here, device or torch.get_default_device())


def moved(tensor: Tensor, device: torch.device) -> Tensor:
    """Move a tensor to a device without waiting for the transfer."""
    if device.type == "cuda" and tensor.device.type == "cpu":
        tensor = tensor.pin_memory()  # from any other memory, a large copy waits its turn
    return tensor.to(device, non_blocking=True)


def computes_in_bf16(device: torch.device) -> bool:
    """Return whether bfloat16 beats float32: on CUDA, and on CPUs with bf16 instructions."""
    if device.type == "cpu":
        able = torch.cpu.get_capabilities()
        return bool(able.get("avx512_bf16") or able.get("amx_bf16"))
    return device.type == "cuda" and torch.cuda.is_bf16_supported()
