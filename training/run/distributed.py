"""Several processes that fit one model: `torchrun --nproc-per-node N -m training.fit ...`.

Only this module uses torch.distributed, where a process's number is its rank. Every process takes
the same steps, each on its share of the batch; whatever they must have in common (gradients,
figures, the clock) goes through here. With a single process, ALONE, all of it does nothing.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor

from dialogue.device import choose_device

# For a process that is silent but still there. The others wait while the first reads the corpora.
LONGEST_WAIT = timedelta(minutes=30)


class LostProcess(Exception):
    """Another process has ended or cannot be reached."""


@dataclass(frozen=True)
class Processes:
    """Which process this one is. The first one writes, prints and decides; all compute."""

    number: int = 0
    count: int = 1

    @property
    def first(self) -> bool:
        """Return whether this is the process that writes."""
        return self.number == 0

    def add_up(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """Sum each tensor over the processes, in one message. All share a dtype and a device.

        Each result owns its memory: as a view, a single loss would keep the whole message alive.
        """
        if self.count == 1:
            return list(tensors)
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        with _together():
            dist.all_reduce(flat)
        parts = torch.split(flat, [tensor.numel() for tensor in tensors])
        return [part.view_as(tensor).clone() for part, tensor in zip(parts, tensors, strict=True)]

    def from_first(self, value: float) -> float:
        """Send the first process's number, such as its clock, to all."""
        if self.count == 1:
            return value
        message = torch.tensor(value, dtype=torch.float64)
        with _together():
            dist.broadcast(message, src=0)
        return message.item()

    def agree(self, what: str, value: int) -> None:
        """Check that all processes have the same number (above 0, below 2**62).

        Raises ValueError if they differ.
        """
        if self.count > 1:
            # One reduction gives both the maximum and, negated, the minimum.
            ends = torch.tensor([value, -value])
            with _together():
                dist.all_reduce(ends, op=dist.ReduceOp.MAX)
            if ends[0] != -ends[1]:
                raise ValueError(
                    f"{what} are not the same on all processes; "
                    "each machine needs the same files and the same options"
                )

    @contextmanager
    def first_goes_ahead(self) -> Iterator[None]:
        """Run a block on the first process, then on the others, which find its results."""
        if not self.first:
            self._wait()
        yield
        if self.first:
            self._wait()

    def _wait(self) -> None:
        if self.count > 1:
            with _together():
                # On the CPU, whatever the device: an NCCL barrier would allocate a GPU.
                dist.all_reduce(torch.zeros(1))


ALONE = Processes()


@contextmanager
def joined() -> Iterator[Processes]:
    """Join the processes that torchrun started, if it did.

    Raises ValueError if they do not find each other.
    """
    if not dist.is_available() or not dist.is_torchelastic_launched():
        yield Processes()
        return
    # gloo also exists beside NCCL, for numbers that are on the CPU.
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    try:
        dist.init_process_group(backend, timeout=LONGEST_WAIT)
    except RuntimeError as error:
        raise ValueError(f"this process cannot join the others: {error}") from None
    try:
        yield Processes(dist.get_rank(), dist.get_world_size())
    finally:
        dist.destroy_process_group()


def device_of(processes: Processes, name: str | None) -> torch.device:
    """Choose this process's device: with several processes, cuda means cuda:LOCAL_RANK.

    Raises ValueError if it is not available.
    """
    device = choose_device(name)
    if processes.count == 1 or device.type == "cpu":
        return device
    if device.type != "cuda":
        raise ValueError(
            f"several processes can compute on cuda or cpu, not on {device.type}; add --device cpu"
        )
    device = choose_device(f"cuda:{os.environ['LOCAL_RANK']}")
    torch.cuda.set_device(device)
    return device


@contextmanager
def _together() -> Iterator[None]:
    """Turn the errors of torch's collectives into LostProcess: another process did not answer."""
    try:
        yield
    except RuntimeError as error:
        reason = str(error).strip().splitlines()
        raise LostProcess(
            f"another process has ended ({reason[0] if reason else type(error).__name__})"
        ) from None
