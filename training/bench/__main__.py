"""python -m training.bench: tokens per second of our training step and of two baselines.

They are a plain loop and the bare operations. Steps are interleaved, so that a noisy machine
affects all alike: trust ratios within one run. The last line of standard output is JSON.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import fields
from functools import partial

import torch
from rich.console import Console
from rich.table import Table
from torch.nn.utils.rnn import pack_padded_sequence
from tqdm import tqdm

from dialogue.command_line import add_device, at_least, command
from dialogue.config import ModelConfig
from dialogue.device import choose_device, computes_in_bf16
from dialogue.models import Batch
from dialogue.models.hred import HRED
from dialogue.vocabulary import Vocabulary
from training import corpora
from training.bench import distributed
from training.bench.floor import floor_of, optimiser_of
from training.bench.plain import PlainLoop, plain_batches
from training.corpora.transcript import Complaints
from training.data import batches
from training.data.vocabulary import build
from training.run.config import read_recipe
from training.run.trainer import Trainer

VOCABULARY = 8000
SIZES = ("default", "serban2016")
ROUNDS = 3  # of one process and of several, in turns


def sizes_of(name: str, vocab_size: int) -> ModelConfig:
    """Return a model's sizes: the default ones, or a recipe's."""
    written = {} if name == "default" else read_recipe(name)
    known = {field.name for field in fields(ModelConfig)}
    return ModelConfig(
        vocab_size=vocab_size, **{key: value for key, value in written.items() if key in known}
    )


def padding_of(some: Sequence[Batch]) -> tuple[float, float]:
    """Return the share of padding in (M, T) batch tables and in the packed rows computed."""
    tokens = sum(int(batch.lengths.sum()) for batch in some)
    packed = (
        pack_padded_sequence(batch.token_ids, batch.lengths, batch_first=True, enforce_sorted=False)
        for batch in some
    )
    return 1 - tokens / sum(batch.token_ids.numel() for batch in some), 1 - tokens / sum(
        len(rows.data) for rows in packed
    )


def time_in_turns(
    config: ModelConfig,
    ours: list[Batch],
    theirs: list[Batch],
    *,
    vocabulary: Vocabulary,
    device: torch.device,
) -> dict[str, list[float]]:
    """Time our steps, the plain loop's and the floor's, interleaved: seconds per token.

    There is a floor on a CPU only.
    """
    torch.manual_seed(0)
    trainer = Trainer(
        HRED.from_config(config, bos_id=vocabulary.bos_id),
        learning_rate=1e-3,
        precision="auto",
        device=device,
    )
    plain = PlainLoop(config, bos_id=vocabulary.bos_id, device=device)
    adam = optimiser_of([parameter.shape for parameter in trainer.model.parameters()])
    dtype = torch.bfloat16 if computes_in_bf16(device) else torch.float32
    times: dict[str, list[float]] = {}

    def our_step(batch: Batch) -> None:
        trainer.step(batch, learning_rate=1e-3).loss.item()  # waits for the device

    for mine, other in tqdm(list(zip(ours, theirs, strict=False)), desc="timing"):
        calls: list[tuple[str, Batch, Callable[[], object]]] = [
            ("ours", mine, partial(our_step, mine)),
            ("plain", other, partial(plain.step, other)),
        ]
        if device.type == "cpu":
            calls += [("floor", mine, floor_of(mine, config, dtype=dtype)), ("adam", mine, adam)]
        for name, batch, call in calls:
            start = time.perf_counter()
            call()
            times.setdefault(name, []).append(
                (time.perf_counter() - start) / int(batch.lengths.sum())
            )
    return {name: found[1:] for name, found in times.items()}  # the first step warms up


def row_of(name: str, times: dict[str, list[float]], ours: list[Batch]) -> dict[str, object]:
    """Summarise timings: median tokens per second, and median ratios to the floor per batch."""
    rate = {key: 1 / statistics.median(found) for key, found in times.items()}
    padding, computed = padding_of(ours)
    bare = with_adam = None
    if "floor" in times:
        bare = round(
            statistics.median(
                mine / floor for mine, floor in zip(times["ours"], times["floor"], strict=True)
            ),
            2,
        )
        both = zip(times["ours"], times["floor"], times["adam"], strict=True)
        with_adam = round(statistics.median(mine / (floor + adam) for mine, floor, adam in both), 2)
    return {
        "model": "hred",
        "sizes": name,
        "tokens_per_s": round(rate["ours"]),
        "plain_tokens_per_s": round(rate["plain"]),
        "speedup": round(rate["ours"] / rate["plain"], 2),
        "floor_ratio": bare,
        "floor_ratio_with_adam": with_adam,
        "padding": round(padding, 3),
        "padding_computed": round(computed, 3),
    }


@command
def main(arguments: list[str] | None = None) -> int:
    """Time training steps from the command line."""
    options = _options().parse_args(arguments)
    at_least(1, steps=options.steps, batch_tokens=options.batch_tokens)
    if options.processes is not None:
        distributed.check_cores(options.processes)
    device = choose_device(options.device)
    transcripts = corpora.load(options.data or ["chitchat"], "train", Complaints())
    vocabulary = build((turn for t in transcripts for turn in t.turns), size=VOCABULARY)
    encoded = batches.encode(transcripts, vocabulary, truncate=256).conversations
    plan = batches.plan(encoded, batch_tokens=options.batch_tokens, rng=random.Random(0))[
        : options.steps + 1
    ]
    ours = [batches.collate(planned, pad_id=vocabulary.pad_id) for planned in plan]
    theirs = plain_batches(encoded, options.batch_tokens)[: options.steps + 1]
    rows, together = [], []
    for name in options.sizes or ["default"]:
        config = sizes_of(name, len(vocabulary))
        rows.append(
            row_of(
                name,
                time_in_turns(config, ours, theirs, vocabulary=vocabulary, device=device),
                ours,
            )
        )
        if options.processes is not None:
            together.append(
                {
                    "sizes": name,
                    **distributed.compare(options.processes, plan, config, rounds=ROUNDS),
                }
            )
    print(json.dumps({"rows": rows, "processes": together}), flush=True)
    for found in filter(None, (rows, together)):
        table = Table(*found[0])
        for row in found:
            table.add_row(*map(str, row.values()))
        console = Console(stderr=True)
        console.width = max(console.width, 140)  # keep the headings readable
        console.print(table)
    return 0


def _options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m training.bench",
        description="Time training steps and compare them with a plain loop's.",
    )
    parser.add_argument(
        "--data",
        action="append",
        metavar="NAME|PATH",
        help="a corpus, any number of times (default: chitchat)",
    )
    parser.add_argument(
        "--sizes",
        action="append",
        choices=SIZES,
        help="the model's sizes, any number of times (default: default)",
    )
    parser.add_argument("--batch-tokens", type=int, default=4000, help="(default: %(default)s)")
    parser.add_argument("--steps", type=int, default=12, help="(default: %(default)s)")
    add_device(parser)
    parser.add_argument(
        "--processes",
        type=int,
        metavar="N",
        help="also compare N processes on N cores with one (CPU)",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
