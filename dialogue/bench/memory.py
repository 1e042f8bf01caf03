"""Measure the peak memory of a process that only loads an agent and answers once."""

from __future__ import annotations

import multiprocessing
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import torch

from dialogue.agent import DialogueAgent


def peak_mb(
    folder: Path, precision: str, *, model_name: str | None, device: torch.device
) -> int | None:
    """Return the peak memory in MB of a new process that answers; None on Windows.

    If it computes on a GPU, that is the GPU's memory. A child's peak includes the memory of its
    parent, so call this before loading anything large.
    """
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as process:
        return process.submit(_answer, folder, precision, model_name, str(device)).result()


def _answer(folder: Path, precision: str, model_name: str | None, device: str) -> int | None:
    agent = DialogueAgent.load(
        folder, device=torch.device(device), model_name=model_name, precision=precision
    )
    agent.respond(["memory"], ["how much do you remember?"])
    if device.startswith("cuda"):
        return torch.cuda.max_memory_allocated(device) >> 20
    try:
        import resource
    except ImportError:  # Windows has none
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> (
        20 if sys.platform == "darwin" else 10
    )
