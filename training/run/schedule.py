"""The schedule of a run: the batch and learning rate of each step, validations and the end."""

from __future__ import annotations

import math
import os
import random
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch.utils.data import DataLoader, Dataset

from dialogue.models import Batch
from training.data import batches
from training.run.config import FitConfig
from training.run.dataset import Data
from training.run.distributed import ALONE, Processes
from training.run.state import Progress

WARMUP_STEPS = 200
MOST_COLLATORS = 7  # as many as were measured on an H200 (docs/speed.md)
PATIENCE = 4  # validations without improvement before the run stops


class Step(NamedTuple):
    """A batch as one process sees it."""

    of_epoch: int  # the number of steps in this epoch
    tokens: int  # in the whole batch
    share: Batch | None  # this process's part; None if there are fewer windows than processes


class Epoch(Dataset[Step]):
    """One process's steps of one epoch, each collated when it is asked for.

    Everything random in a step depends only on the seed and the step's number. So it is the same
    whichever process collates it, and a resumed run continues as if it had never stopped.
    """

    def __init__(
        self, data: Data, config: FitConfig, progress: Progress, processes: Processes
    ) -> None:
        """Plan the epoch that a run is in."""
        self._config, self._processes = config, processes
        self._pad_id = data.vocabulary.pad_id
        self._first = progress.step - progress.batch  # the number of its first step
        conversations = data.train.as_read
        if config.bptt is None:
            rng = random.Random(f"{config.seed} {progress.epoch}")
            self._plan = batches.plan(conversations, batch_tokens=config.batch_tokens, rng=rng)
        else:
            self._plan = batches.contiguous(
                conversations, batch_tokens=config.batch_tokens, length=config.bptt
            )

    def __len__(self) -> int:
        """Return the number of steps."""
        return len(self._plan)

    def __getitem__(self, place: int) -> Step:
        """Collate this process's share of a batch.

        What concerns a turn is drawn for the whole batch and then split with it, so it does not
        depend on the number of processes.
        """
        config, planned = self._config, self._plan[place]
        rng = torch.Generator().manual_seed((config.seed << 32) + self._first + place)
        turns = [len(window) for window in planned]
        without_history = torch.split(
            torch.rand(sum(turns), generator=rng) < config.history_dropout, turns
        )
        recognised = (
            torch.split(batches.recognised_turns(turns, config.recognised, rng), turns)
            if config.recognised
            else None
        )
        mine = batches.shares(planned, self._processes.count)[self._processes.number]
        share = None
        if mine:
            share = batches.collate(
                [planned[place] for place in mine],
                pad_id=self._pad_id,
                without_history=torch.cat([without_history[place] for place in mine]),
                recognised=None
                if recognised is None
                else torch.cat([recognised[place] for place in mine]),
            )
        return Step(len(self), sum(len(turn) for window in planned for turn in window), share)


def steps_of(
    data: Data,
    config: FitConfig,
    progress: Progress,
    *,
    processes: Processes = ALONE,
    collators: int = 0,
) -> Iterator[Step]:
    """Yield this process's share of every batch, starting at the run's progress, forever.

    collators: how many more processes collate batches ahead of the run; 0: it does so itself.
    What the model draws within a step (dropout, and which of its own words it reads) depends on the
    seed, the step and the process.
    """
    while True:
        epoch = Epoch(data, config, progress, processes)
        loader = DataLoader(
            epoch,
            batch_size=None,
            sampler=range(progress.batch, len(epoch)),
            num_workers=collators,
            # They share the corpora with this process instead of getting a copy.
            multiprocessing_context="fork" if collators else None,
        )
        for step in loader:
            drawn = random.Random(f"{config.seed} {progress.step} {processes.number}")
            torch.manual_seed(drawn.getrandbits(63))
            yield step
        progress.epoch, progress.batch = progress.epoch + 1, 0


def collators_for(device: torch.device) -> int:
    """Return how many processes should collate ahead: a CPU that trains has no core to spare."""
    spare = (os.cpu_count() or 1) - 1
    return min(MOST_COLLATORS, spare) if device.type == "cuda" and hasattr(os, "fork") else 0


def validation_is_due(config: FitConfig, progress: Progress, epoch_steps: int) -> bool:
    """Return whether the last step completed a share of an epoch after which to validate.

    epoch_steps is passed in because epochs differ by a few steps.
    """
    before, now = (
        progress.epoch + batch / epoch_steps for batch in (progress.batch - 1, progress.batch)
    )
    return math.floor(now * config.validations) > math.floor(before * config.validations)


def is_over(config: FitConfig, progress: Progress, total_steps: int) -> bool:
    """Return whether a run is out of epochs, minutes or patience."""
    late = config.minutes is not None and progress.seconds > 60 * config.minutes
    return late or progress.step >= total_steps or progress.bad_validations >= PATIENCE


def learning_rate_at(config: FitConfig, progress: Progress, total_steps: int) -> float:
    """Return the learning rate of a step: a short warm-up, then as --schedule says."""
    warm = min(1.0, (progress.step + 1) / WARMUP_STEPS)
    if config.schedule == "cosine":
        done = share_done(config, progress, total_steps)
        return config.learning_rate * warm * max(0.01, 0.5 * (1 + math.cos(math.pi * done)))
    return (
        config.learning_rate
        * warm
        * (0.5**progress.halvings if config.schedule == "plateau" else 1.0)
    )


def share_done(config: FitConfig, progress: Progress, total_steps: int) -> float:
    """Return how much of a run is done, from 0 to 1.

    It is measured in steps or minutes, whichever ends the run first.
    """
    by_time = 0.0 if config.minutes is None else progress.seconds / (60 * config.minutes)
    return min(1.0, max(progress.step / total_steps, by_time))


def teacher_forcing_at(config: FitConfig, progress: Progress, total_steps: int) -> float:
    """Return the share of true words that the decoder reads at a step, linear over the run."""
    start, end = config.teacher_forcing
    return start + (end - start) * share_done(config, progress, total_steps)
