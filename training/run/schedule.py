"""The schedule of a run: the batch and learning rate of each step, validations and the end."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from typing import NamedTuple

import torch

from dialogue.models import Batch
from training.data import batches
from training.run.config import FitConfig
from training.run.dataset import Data
from training.run.distributed import ALONE, Processes
from training.run.state import Progress

WARMUP_STEPS = 200
PATIENCE = 4  # validations without improvement before the run stops


class Step(NamedTuple):
    """A batch as one process sees it."""

    of_epoch: int  # the number of steps in this epoch
    tokens: int  # in the whole batch
    share: Batch | None  # this process's part; None if there are fewer windows than processes


def steps_of(
    data: Data, config: FitConfig, progress: Progress, *, processes: Processes = ALONE
) -> Iterator[Step]:
    """Yield this process's share of every batch, starting at the run's progress, forever.

    Everything random in a step (order, history dropout, dropout) depends only on the seed and the
    step's number, so a resumed run continues as if it had never stopped. What concerns a turn is
    drawn for the whole batch and then split with it, so it does not depend on the number of
    processes. What happens within the model does (dropout, and which of its own words it reads).
    """
    conversations = data.train.as_read
    while True:
        rng = random.Random(f"{config.seed} {progress.epoch}")
        if config.bptt is None:
            plan = batches.plan(conversations, batch_tokens=config.batch_tokens, rng=rng)
        else:
            plan = batches.contiguous(
                conversations, batch_tokens=config.batch_tokens, length=config.bptt
            )
        for planned in plan[progress.batch :]:
            torch.manual_seed((config.seed << 32) + progress.step)
            turns = [len(window) for window in planned]
            without_history = torch.split(torch.rand(sum(turns)) < config.history_dropout, turns)
            recognised = (
                torch.split(batches.recognised_turns(turns, config.recognised), turns)
                if config.recognised
                else None
            )
            # From here on the draws are the model's own; each process needs different ones.
            if not processes.first:
                torch.manual_seed(
                    random.Random(f"{config.seed} {progress.step} {processes.number}").getrandbits(
                        63
                    )
                )
            mine = batches.shares(planned, processes.count)[processes.number]
            share = None
            if mine:
                share = batches.collate(
                    [planned[place] for place in mine],
                    pad_id=data.vocabulary.pad_id,
                    without_history=torch.cat([without_history[place] for place in mine]),
                    recognised=None
                    if recognised is None
                    else torch.cat([recognised[place] for place in mine]),
                )
            yield Step(len(plan), sum(len(turn) for window in planned for turn in window), share)
        progress.epoch, progress.batch = progress.epoch + 1, 0


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
