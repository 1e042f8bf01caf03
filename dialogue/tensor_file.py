"""Read a safetensors file with its metadata."""

from __future__ import annotations

import json
from pathlib import Path

from safetensors.torch import load
from torch import Tensor


def read(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return a file's tensors and its metadata.

    Raises OSError, SafetensorError or ValueError if the file cannot be read or is broken.
    """
    data = path.read_bytes()  # not mapped: a file truncated meanwhile would crash the process
    tensors = load(data)
    size = int.from_bytes(data[:8], "little")  # a JSON header comes first, then the numbers
    metadata: dict[str, str] = json.loads(data[8 : 8 + size]).get("__metadata__", {})
    return tensors, metadata
