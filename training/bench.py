"""python -m training.bench: tokens a second of our training step, of a plain loop, and of the bare operations. Last line JSON.

The plain loop is what one writes first: the same model, batches of as many tokens, and optimiser, with torch.nn.GRU over
pack_padded_sequence, float32, shuffled batches without grouping by length, and a projection on real tokens only. The floor
is the matrix products of our own step and one pass of exp over the probabilities, without anything between them.
Steps are interleaved, so that a noisy machine is noisy for all three: trust ratios within one run.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence
from tqdm import tqdm

from dialogue.config import ModelConfig
from dialogue.device import choose_device, computes_in_bf16
from dialogue.models import Batch
from dialogue.models.hred import HRED
from training import batches, build_vocabulary, corpora
from training.corpora.transcript import Complaints
from training.trainer import GRADIENT_NORM, Trainer

VOCABULARY = 8000


class PlainHRED(nn.Module):
    """The same HRED as one writes it first; every turn but a conversation's first is predicted, as is the first from nothing."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        directions = 2 if config.bidirectional else 1
        self.embedding = nn.Embedding(config.vocab_size, config.embedding)
        self.encoder = nn.GRU(config.embedding, config.utterance // directions, bidirectional=directions == 2, batch_first=True)
        self.context = nn.GRU(config.utterance, config.context, batch_first=True)
        self.decoder = nn.GRU(config.embedding + config.context, config.hidden, batch_first=True)
        self.initial = nn.Linear(config.context, config.hidden)
        self.readout = nn.Linear(config.hidden, config.embedding)
        self.output_bias = nn.Parameter(torch.zeros(config.vocab_size))
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, batch: Batch, bos_id: int) -> Tensor:
        """Give the mean loss a token."""
        packed = _pack(self.dropout(self.embedding(batch.token_ids)), batch.lengths)
        _, last = self.encoder(packed)  # (directions, M, U / directions)
        vectors = self.dropout(last.transpose(0, 1).flatten(1))
        conversations = nn.utils.rnn.pad_sequence(list(vectors.split(batch.turns.tolist())), batch_first=True)
        states, _ = self.context(_pack(conversations, batch.turns))
        states, _ = nn.utils.rnn.pad_packed_sequence(states, batch_first=True)
        before = F.pad(states, (0, 0, 1, 0))  # nothing before the first turn
        history = torch.cat([before[row, :turns] for row, turns in enumerate(batch.turns.tolist())])  # (M, C)
        read = F.pad(batch.token_ids[:, :-1], (1, 0), value=bos_id)
        seen = history[:, None].expand(-1, read.shape[1], -1)
        inputs = _pack(torch.cat([self.dropout(self.embedding(read)), seen], dim=-1), batch.lengths)
        output, _ = self.decoder(inputs, torch.tanh(self.initial(history))[None])
        logits = F.linear(self.readout(self.dropout(output.data)), self.embedding.weight, self.output_bias)
        return F.cross_entropy(logits, _pack(batch.token_ids, batch.lengths).data)


def _pack(padded: Tensor, lengths: Tensor) -> Any:
    return pack_padded_sequence(padded, lengths, batch_first=True, enforce_sorted=False)


def plain_batches(conversations: list[list[batches.Utterance]], batch_tokens: int) -> list[Batch]:
    """Gather shuffled windows into batches of as many tokens, without grouping by length."""
    windows = [window for conversation in conversations for window in batches.windows(conversation)]
    random.Random(0).shuffle(windows)
    return [batches.collate(planned, pad_id=0) for planned in batches.fill(windows, batch_tokens)]


def floor_of(batch: Batch, config: ModelConfig, dtype: torch.dtype) -> Callable[[], None]:
    """Build the bare operations of our step on a batch: forward, and twice as many products backward."""
    tokens, directions = int(batch.lengths.sum()), 2 if config.bidirectional else 1
    alive = (batch.lengths[:, None] > torch.arange(int(batch.lengths.max()))).sum(0).tolist()  # rows at each time step
    turns = (batch.turns[:, None] - 1 > torch.arange(int(batch.turns.max()))).sum(0).tolist()
    grus = [(config.embedding, config.utterance // directions, alive)] * directions
    grus += [(config.utterance, config.context, [rows for rows in turns if rows]), (config.embedding, config.hidden, alive)]

    def random_of(*shape: int) -> Tensor:
        return torch.randn(*shape).to(dtype)

    readout, output = random_of(tokens, config.embedding), random_of(config.vocab_size, config.embedding)
    layers = []
    for size, hidden, rows in grus:
        packed = sum(rows)
        x, w, h = random_of(packed, size), random_of(3 * hidden, size), random_of(3 * hidden, hidden)
        layers.append((x, w, h, random_of(packed, hidden), random_of(packed, 3 * hidden), rows))

    @torch.no_grad()
    def step() -> None:
        table = readout @ output.t()
        table.exp_()
        table @ output
        table.t() @ readout
        for x, w, h, states, gates, rows in layers:
            x @ w.t()
            for alive_now in rows:
                states[:alive_now] @ h.t()
                gates[:alive_now] @ h
            gates @ w
            gates.t() @ x
            gates.t() @ states

    return step


def main(arguments: list[str] | None = None) -> int:
    """Time training steps from the command line."""
    parser = argparse.ArgumentParser(prog="python -m training.bench", description="Time training steps beside a plain loop's.")
    parser.add_argument("--data", action="append", metavar="NAME|PATH", help="a corpus, any number of times (default: chitchat)")
    parser.add_argument("--batch-tokens", type=int, default=4000, help="(default: %(default)s)")
    parser.add_argument("--steps", type=int, default=12, help="(default: %(default)s)")
    parser.add_argument("--device", help="cuda, mps or cpu (default: the best there is)")
    options = parser.parse_args(arguments)
    try:
        if options.steps < 1 or options.batch_tokens < 1:
            raise ValueError(f"--steps is {options.steps} and --batch-tokens {options.batch_tokens}; both must be at least 1")
        device = choose_device(options.device)
        transcripts = corpora.load(options.data or ["chitchat"], "train", Complaints())
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    vocabulary = build_vocabulary.build((turn for t in transcripts for turn in t.turns), size=VOCABULARY)
    encoded = batches.encode(transcripts, vocabulary, truncate=256).conversations
    config = ModelConfig(vocab_size=len(vocabulary))
    torch.manual_seed(0)
    plan = batches.plan(encoded, batch_tokens=options.batch_tokens, rng=random.Random(0))
    ours = [batches.collate(planned, pad_id=vocabulary.pad_id) for planned in plan[: options.steps + 1]]
    theirs = plain_batches(encoded, options.batch_tokens)[: options.steps + 1]
    trainer = Trainer(HRED.from_config(config, bos_id=vocabulary.bos_id), learning_rate=1e-3, precision="auto", device=device)
    plain = PlainHRED(config).to(device).train()
    optimiser = torch.optim.Adam(plain.parameters(), lr=1e-3, fused=device.type in ("cpu", "cuda"))

    def plain_step(batch: Batch) -> None:
        optimiser.zero_grad()
        loss = plain(batch.to(device), vocabulary.bos_id)
        loss.backward()
        nn.utils.clip_grad_norm_(plain.parameters(), GRADIENT_NORM)
        optimiser.step()
        loss.item()  # waits for the device, as below

    def our_step(batch: Batch) -> None:
        trainer.step(batch, learning_rate=1e-3).loss.item()  # waits for the device

    dtype = torch.bfloat16 if computes_in_bf16(device) else torch.float32
    rates: dict[str, list[float]] = {"ours": [], "plain": [], "floor": []}
    for mine, other in tqdm(list(zip(ours, theirs, strict=False)), desc="timing"):
        calls: tuple[tuple[str, Batch, Callable[[], object]], ...] = (
            ("ours", mine, partial(our_step, mine)),
            ("plain", other, partial(plain_step, other)),
            ("floor", mine, floor_of(mine, config, dtype)),
        )
        for name, batch, call in calls:
            if name == "floor" and device.type != "cpu":
                continue
            start = time.perf_counter()
            call()
            rates[name].append(int(batch.lengths.sum()) / (time.perf_counter() - start))
    rate = {name: statistics.median(found[1:]) for name, found in rates.items() if found[1:]}  # the first step warms up
    row = {
        "model": "hred",
        "tokens_per_s": round(rate["ours"]),
        "plain_tokens_per_s": round(rate["plain"]),
        "speedup": round(rate["ours"] / rate["plain"], 2),
        "floor_ratio": round(rate["floor"] / rate["ours"], 2) if "floor" in rate else None,
    }
    table = Table(*row)
    table.add_row(*map(str, row.values()))
    Console(stderr=True).print(table)
    print(json.dumps({"rows": [row]}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
