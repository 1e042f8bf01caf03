"""Time many calls in interleaved rounds."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import TypeVar

import torch

Key = TypeVar("Key", bound=Hashable)
Call = Callable[[], object]
SHORTEST = 0.005  # seconds; a shorter call is repeated, and the time divided


@torch.no_grad()
def time_in_turns(
    calls: Mapping[Key, Call], rounds: Iterable[int], *, device: torch.device
) -> dict[Key, list[float]]:
    """Return the milliseconds of each call, round by round.

    A round times every call once; each call is run twice as a warm-up before the first round. If a
    single thread computes, its own CPU time is measured, so that other processes on a shared core
    do not count.
    """
    clock = (
        time.thread_time
        if device.type == "cpu" and torch.get_num_threads() == 1
        else time.perf_counter
    )
    times: dict[Key, list[float]] = {key: [] for key in calls}
    repeats = {
        key: max(1, round(SHORTEST / seconds_of(call, 2, clock, device)))
        for key, call in calls.items()
    }
    for _ in rounds:
        for key, call in calls.items():
            times[key].append(1000 * seconds_of(call, repeats[key], clock, device))
    return times


def seconds_of(call: Call, repeats: int, clock: Callable[[], float], device: torch.device) -> float:
    """Return the mean seconds of a call, waiting for the device before and after."""
    _wait(device)
    start = clock()
    for _ in range(repeats):
        call()
    _wait(device)
    return (clock() - start) / repeats


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
