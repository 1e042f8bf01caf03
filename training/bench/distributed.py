"""Compare several processes with one: `python -m training.bench --processes 2`.

Each process is pinned to a core of its own. torchrun starts this module as it starts training.fit,
with one thread per process. Runs of one process and of several take turns on the same batches, so
that a noisy machine affects both alike.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import torch

from dialogue.config import ModelConfig
from dialogue.models.hred import HRED
from dialogue.text_files import read_text
from training.data import batches
from training.run.distributed import joined
from training.run.trainer import Trainer


def check_cores(count: int) -> None:
    """Check that every process can have a core of its own. Raises ValueError if it cannot."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 0
    if not 2 <= count <= cores:
        raise ValueError(
            f"--processes {count}: at least 2 are needed, each on a core of its own; "
            f"{cores} are available"
        )


def compare(
    count: int, plan: Sequence[Sequence[Sequence[list[int]]]], config: ModelConfig, *, rounds: int
) -> dict[str, float]:
    """Time `count` processes and one process in turns on the same batches.

    Return the tokens per second of each and the median of their ratios. Raises ValueError if a
    process fails.
    """
    rates: dict[int, list[float]] = {1: [], count: []}
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder) / "work.json"
        work.write_text(json.dumps({"config": asdict(config), "plan": plan}), encoding="utf-8")
        for _ in range(rounds):
            for several, found in rates.items():
                found.append(_run(several, work))
    return {
        "processes": count,
        "tokens_per_s": round(statistics.median(rates[count])),
        "one_process_tokens_per_s": round(statistics.median(rates[1])),
        "ratio": round(
            statistics.median(many / one for many, one in zip(rates[count], rates[1], strict=True)),
            2,
        ),
    }


def _run(count: int, work: Path) -> float:
    torchrun = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        f"--nproc-per-node={count}",
    ]
    ended = subprocess.run(
        [*torchrun, "-m", "training.bench.distributed", str(work)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True, encoding="utf-8", errors="replace", check=False,
    )  # fmt: skip
    if ended.returncode:
        raise ValueError(f"{count} processes failed: {ended.stderr.strip()[-2000:]}")
    return float(ended.stdout.splitlines()[-1])


def work_as_process(work: Path) -> None:
    """Take this process's share of every step; the first one prints median tokens per second."""
    # Before any thread starts: threads inherit the affinity.
    os.sched_setaffinity(0, {sorted(os.sched_getaffinity(0))[int(os.environ["LOCAL_RANK"])]})
    told = json.loads(read_text(work))
    torch.manual_seed(0)
    with joined() as processes:
        model = HRED.from_config(ModelConfig(**told["config"]), bos_id=0)
        trainer = Trainer(
            model,
            learning_rate=1e-3,
            precision="auto",
            device=torch.device("cpu"),
            processes=processes,
        )
        rates = []
        for planned in told["plan"]:
            places = batches.shares(planned, processes.count)[processes.number]
            batch = (
                batches.collate([planned[place] for place in places], pad_id=0) if places else None
            )
            start = time.perf_counter()
            # All processes end a step together: none has its gradients before all do.
            trainer.step(batch, learning_rate=1e-3)
            rates.append(
                sum(len(turn) for window in planned for turn in window)
                / (time.perf_counter() - start)
            )
        if processes.first:
            print(statistics.median(rates[1:] or rates))  # the first step warms up


if __name__ == "__main__":
    work_as_process(Path(sys.argv[1]))
