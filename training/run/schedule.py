"""The course of a run: which batch a step takes, at which learning rate, when it validates and when it ends."""

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
PATIENCE = 4  # validations without gain before it stops


class Step(NamedTuple):
    """A batch as one process sees it."""

    of_epoch: int  # how many steps this epoch has
    tokens: int  # in the whole batch
    share: (
        Batch | None
    )  # this process's part of it; None where there are fewer windows than processes


def steps_of(
    data: Data, config: FitConfig, progress: Progress, *, processes: Processes = ALONE
) -> Iterator[Step]:
    """Yield this process's share of every batch from where the run stands, without end.

    What is random in a step (the order, history dropout, dropout) comes from the seed and the step's number alone, so
    that a resumed run goes on as if nothing had happened. What belongs to a turn is drawn for the whole batch and then
    dealt out with it, so that it does not depend on how many processes there are; what happens within the model does (dropout,
    and which words of its own it reads).
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
    """Tell whether the step that was just taken passed the next share of an epoch. Epochs differ by a few steps."""
    before, now = (
        progress.epoch + batch / epoch_steps for batch in (progress.batch - 1, progress.batch)
    )
    return math.floor(now * config.validations) > math.floor(before * config.validations)


def is_over(config: FitConfig, progress: Progress, total_steps: int) -> bool:
    """Tell whether a run has had its epochs, its minutes, or no gain for too long."""
    late = config.minutes is not None and progress.seconds > 60 * config.minutes
    return late or progress.step >= total_steps or progress.bad_validations >= PATIENCE


def learning_rate_at(config: FitConfig, progress: Progress, total_steps: int) -> float:
    """Give the learning rate of a step: a short warm-up, then as --schedule says."""
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
    """Return how much of a run is over, from 0 to 1: of its steps, or of its minutes, whichever ends it first."""
    by_time = 0.0 if config.minutes is None else progress.seconds / (60 * config.minutes)
    return min(1.0, max(progress.step / total_steps, by_time))


def teacher_forcing_at(config: FitConfig, progress: Progress, total_steps: int) -> float:
    """Give the share of true words that the decoder reads at a step: from the first of --teacher-forcing to the second."""
    start, end = config.teacher_forcing
    return start + (end - start) * share_done(config, progress, total_steps)
