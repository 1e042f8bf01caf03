"""Find the remembered moments that a conversation is most like, by its history vector.

Two histories are alike when a model expects similar answers after them, whatever the words: "the
house is so quiet now", "what has changed?", "we said goodbye to our old dog" is near "my dog died".

Each vector is reduced to its coordinates along the axes of greatest variance (principal components,
Pearson 1901), in 4 bits each: 100,000 vectors take 2 MB in a checkpoint.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from dialogue import tensor_file
from dialogue.atomic_file import replace_file

FILE = "replies.safetensors"  # in a checkpoint's folder, beside the replies
AXES = 40
LEVELS = 7  # quantisation levels on each side of zero
PIECE = 4096  # moments that are unpacked at a time
WIDEST = 3.0  # standard deviations; coordinates farther out are clipped to this


class Nearest:
    """The history vectors of N remembered moments."""

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        """Take the tensors that `reduced` returns."""
        self._mean, self._axes = tensors["mean"].float(), tensors["axes"].float()
        self._scale = tensors["scale"].float()
        # A moment is its integers times the scale, divided by its length.
        self._numbers = torch.empty(len(tensors["codes"]), len(self._scale), dtype=torch.int8)
        self._lengths = torch.empty(len(self._numbers))
        # In pieces: all of them in full precision would briefly take 40 MB.
        pieces = (tensors["codes"], self._numbers, self._lengths)
        for codes, numbers, lengths in zip(
            *(torch.split(each, PIECE) for each in pieces), strict=True
        ):
            numbers.copy_(torch.stack([codes % 16, codes // 16], dim=2).flatten(1)).sub_(LEVELS)
            lengths.copy_((numbers * self._scale).norm(dim=1).clamp_min_(1e-12))

    def __len__(self) -> int:
        return len(self._numbers)

    def cosines(self, histories: Tensor) -> NDArray[np.float32]:
        """Return the cosine between each history, (M, C), and each moment: (M, N)."""
        vectors = F.normalize((histories.cpu().float() - self._mean) @ self._axes, dim=1)
        scaled = vectors * self._scale
        cosines = vectors.new_empty(len(vectors), len(self))
        # In pieces, which stay in the cache while they are converted to full precision.
        for numbers, part in zip(
            torch.split(self._numbers, PIECE), torch.split(cosines, PIECE, dim=1), strict=True
        ):
            torch.mm(scaled, numbers.float().T, out=part)
        found: NDArray[np.float32] = cosines.div_(self._lengths).numpy()
        return found


def reduced(vectors: Tensor) -> dict[str, Tensor]:
    """Reduce history vectors, (N, C), to the tensors that are stored.

    mean (C,). axes (C, D), D even. scale (D,): the value of a quantisation step. codes (N, D / 2),
    uint8: each packs two integers from -LEVELS to LEVELS, with LEVELS added, the first one in the
    low bits.
    """
    mean = vectors.mean(0, dtype=torch.double)
    # In pieces: all of them in double precision would take several gigabytes.
    pieces = torch.split(vectors, PIECE)
    spread = torch.zeros(len(mean), len(mean), dtype=torch.double)
    for piece in pieces:
        directions = F.normalize(piece.double() - mean, dim=1)
        spread += directions.T @ directions
    _, axes = torch.linalg.eigh(spread)
    axes = axes[:, -min(AXES, axes.shape[1] // 2 * 2) :]
    places = torch.cat([F.normalize(piece.double() - mean, dim=1) @ axes for piece in pieces])
    scale = (places.square().mean(0).sqrt() * WIDEST / LEVELS).clamp_min(1e-9)
    numbers = (places / scale).round().clamp(-LEVELS, LEVELS) + LEVELS
    low, high = numbers.to(torch.uint8).view(len(vectors), -1, 2).unbind(2)
    return {
        "mean": mean.float(),
        "axes": axes.half().contiguous(),
        "scale": scale.float(),
        "codes": low + 16 * high,
    }


def save(path: Path, tensors: Mapping[str, Tensor], *, model: str) -> None:
    """Write what `reduced` returns. model: the fingerprint of the weights it belongs to."""
    replace_file(path, lambda to: save_file(dict(tensors), to, metadata={"model": model}))


def load(path: Path, *, model: str, count: int, size: int) -> Nearest | None:
    """Read the moments from a file; None if they belong to other weights.

    model: the fingerprint of the weights. count: how many moments there must be. size: the size of
    a history vector. Raises ValueError if the file is broken or belongs to other replies.
    """
    try:
        tensors, metadata = tensor_file.read(path)
        if metadata["model"] != model:
            return None
        mean, axes, scale, codes = (tensors[name] for name in ("mean", "axes", "scale", "codes"))
        half = axes.shape[-1] // 2
        found = (mean.shape, axes.shape, scale.shape, codes.shape, codes.dtype)
        expected = ((size,), (size, 2 * half), (2 * half,), (count, half), torch.uint8)
        if found != expected:
            raise ValueError(f"found {_shapes(found)}, expected {_shapes(expected)}")
        if not all(bool(numbers.isfinite().all()) for numbers in (mean, axes, scale)):
            raise ValueError("it holds NaN or infinity")
    except (OSError, SafetensorError, LookupError, TypeError, ValueError) as error:
        raise ValueError(
            f"{path} holds no histories of the {count:,} remembered replies ({error}); "
            "make it again with python -m training.remember, or delete it"
        ) from None
    return Nearest(tensors)


def _shapes(found: Iterable[object]) -> str:
    return ", ".join(str(tuple(one) if isinstance(one, tuple) else one) for one in found)
