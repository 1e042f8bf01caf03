"""Timing many calls in turns."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import TypeVar

import torch

Key = TypeVar("Key", bound=Hashable)
Call = Callable[[], object]
SHORTEST = 0.005  # seconds: what is shorter is called several times and divided


@torch.no_grad()
def time_in_turns(calls: Mapping[Key, Call], rounds: Iterable[int], *, device: torch.device) -> dict[Key, float]:
    """Give the median milliseconds of each call. A round times every call once; one before the first warms up."""
    times: dict[Key, list[float]] = {key: [] for key in calls}
    repeats = {key: max(1, round(SHORTEST / _seconds(call, 2, device))) for key, call in calls.items()}
    for _ in rounds:
        for key, call in calls.items():
            times[key].append(_seconds(call, repeats[key], device))
    return {key: 1000 * statistics.median(found) for key, found in times.items()}


def _seconds(call: Call, repeats: int, device: torch.device) -> float:
    """Give the mean seconds of a call, waiting for the device before and after."""
    _wait(device)
    start = time.perf_counter()
    for _ in range(repeats):
        call()
    _wait(device)
    return (time.perf_counter() - start) / repeats


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
