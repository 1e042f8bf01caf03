"""Read a safetensors file with what it says about itself."""

from __future__ import annotations

import json
from pathlib import Path

from safetensors.torch import load
from torch import Tensor


def read(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return a file's tensors and its metadata.

    Raises what reading and parsing a broken file raises: OSError, SafetensorError, ValueError.
    """
    data = path.read_bytes()  # not mapped: a file that is cut meanwhile would end the process
    tensors = load(data)
    size = int.from_bytes(data[:8], "little")  # a header of JSON comes first, then the numbers
    metadata: dict[str, str] = json.loads(data[8 : 8 + size]).get("__metadata__", {})
    return tensors, metadata
