"""python -m dialogue.bench: how long a reply takes, beside the bare operations it is made of. The last line is JSON.

    reference  a model of fixed sizes (vocabulary 10,008, all vectors 300), 20 forced tokens: to compare machines and versions
    shipped    the checkpoint at its default settings, through the agent: what a talker waits for

Rounds are interleaved, so that a noisy machine is noisy for all rows alike: trust ratios within one run.
Pin it to compare: taskset -c 0 env OMP_NUM_THREADS=1 python -m dialogue.bench
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from rich.console import Console
from rich.table import Table

from dialogue.agent import DialogueAgent
from dialogue.checkpoint import PRETRAINED
from dialogue.config import DecodeConfig, ModelConfig
from dialogue.conversation import Conversation, Turn
from dialogue.decoding.search import search
from dialogue.device import choose_device
from dialogue.models.hred import HRED

REFERENCE = ModelConfig(vocab_size=10_008, embedding=300, utterance=300, context=300, hidden=300, dropout=0.0)
REPLY_TOKENS, UTTERANCE_TOKENS = 20, 12
SIZES = ((1, 1), (1, 5), (1, 20), (8, 5), (32, 5))  # conversations x beam
TALK = ("i went to the beach yesterday", "do you like the beach?", "it was sunny and warm", "what do you do on weekends?")
BOS, EOS = 2, 3


@dataclass
class Row:
    """One line of the table: what is timed, and its times in ms, a round each."""

    what: dict[str, Any]
    reply: Callable[[], object]
    encode: Callable[[], object]
    floor: Callable[[], object] | None
    times: tuple[list[float], list[float], list[float]]

    def run(self) -> None:
        """Time a round."""
        for call, times in zip((self.reply, self.encode, self.floor), self.times, strict=True):
            if call is not None:
                start = time.perf_counter()
                call()
                times.append((time.perf_counter() - start) * 1e3)

    def figures(self) -> dict[str, Any]:
        """Give medians, and the ratio to the floor where there is one."""
        ms, encode_ms, floor_ms = (round(statistics.median(times), 2) if times else None for times in self.times)
        ratio = round(ms / floor_ms, 2) if ms and floor_ms else None
        return {**self.what, "ms": ms, "encode_ms": encode_ms, "floor_ms": floor_ms, "ratio": ratio}


@torch.no_grad()
def floor_of(rows: int, batch: int, config: ModelConfig) -> Callable[[], object]:
    """Build the bare operations of a reply: GRU cell, projection, log_softmax, flat top-k; no lookup, no bookkeeping.

    The projection is the faster of a linear layer and an addmm on the transposed weight, which is measured here.
    """
    x, h = torch.randn(rows, config.embedding), torch.randn(rows, config.hidden)
    cell = torch.nn.GRUCell(config.embedding, config.hidden)
    weight, bias = torch.randn(config.vocab_size, config.hidden), torch.randn(config.vocab_size)
    transposed = weight.t().contiguous()

    def linear() -> torch.Tensor:
        return F.linear(h, weight, bias)

    def addmm() -> torch.Tensor:
        return torch.addmm(bias, h, transposed)

    project = min((linear, addmm), key=seconds_of)

    @torch.no_grad()
    def reply() -> None:
        for _ in range(REPLY_TOKENS):
            cell(x, h)
            F.log_softmax(project(), dim=-1).view(batch, -1).topk(rows // batch, dim=-1)

    return reply


def seconds_of(call: Callable[[], object], *, times: int = 5) -> float:
    """Give the least time of a few calls."""
    found = []
    for _ in range(times):
        start = time.perf_counter()
        call()
        found.append(time.perf_counter() - start)
    return min(found)


def reference_rows(model: HRED, device: torch.device) -> list[Row]:
    """List the reference combinations: greedy and beams, with and without 3-gram blocking."""
    rows = []
    for batch, beam in SIZES:
        history = torch.randn(batch, REFERENCE.context, device=device)
        heard = torch.randint(4, REFERENCE.vocab_size, (batch, UTTERANCE_TOKENS), device=device)
        lengths = torch.full((batch,), UTTERANCE_TOKENS)
        floor = floor_of(batch * beam, batch, REFERENCE) if device.type == "cpu" else None
        for blocking in (0, 3):
            config = DecodeConfig(beam_size=beam, min_length=REPLY_TOKENS, max_length=REPLY_TOKENS, block_ngrams=blocking)
            reply = partial(reference_reply, model, history, config)
            encode = partial(model.encode_turn, heard, lengths, history)
            what = row_of(
                "greedy" if beam == 1 else "beam", "reference",
                batch=batch, beam=beam, blocking=blocking, turns=1, reply_tokens=REPLY_TOKENS,
            )  # fmt: skip
            rows.append(Row(what, reply, encode, floor, ([], [], [])))
    return rows


def reference_reply(model: HRED, history: torch.Tensor, config: DecodeConfig) -> object:
    """Search for the replies to some histories (N, C)."""
    start, n, device = model.start(history), history.shape[0], history.device
    return search(model.step, start, n, config=config, bos_id=BOS, eos_id=EOS, device=device)


def shipped_rows(agent: DialogueAgent) -> list[Row]:
    """List the checkpoint's own: one talker after 2 and 20 turns, and 8 talkers at once, at the default settings."""
    rows = []
    for batch, turns in ((1, 2), (1, 20), (8, 2)):
        conversations = [Conversation()] * batch
        for turn in range(turns - 1):
            conversations = agent.hear(conversations, [Turn("bot" if turn % 2 else "user", TALK[turn % len(TALK)])] * batch)
        utterances = [TALK[index % len(TALK)] for index in range(batch)]

        said = [Turn("user", utterance) for utterance in utterances]
        encode, reply = partial(agent.hear, conversations, said), partial(agent.search, agent.hear(conversations, said))
        length = statistics.mean(len(agent.vocabulary.encode(reply.text)) for reply in agent.answer(conversations, utterances))
        decode = agent.decode
        what = row_of(
            "agent", "shipped",
            batch=batch, beam=decode.beam_size, blocking=decode.block_ngrams, turns=turns, reply_tokens=round(length),
        )  # fmt: skip
        rows.append(Row(what, reply, encode, None, ([], [], [])))
    return rows


def row_of(method: str, model: str, *, batch: int, beam: int, blocking: int, turns: int, reply_tokens: int) -> dict[str, Any]:
    """Name a combination as the JSON does."""
    names = {"method": method, "model": model, "precision": "fp32", "batch": batch, "beam": beam}
    return {**names, "blocking": blocking, "turns": turns, "reply_tokens": reply_tokens}


def main(arguments: list[str] | None = None) -> int:
    """Time replies from the command line."""
    parser = argparse.ArgumentParser(prog="python -m dialogue.bench", description="Time replies, beside their bare operations.")
    default = os.environ.get("CHECKPOINT") or PRETRAINED
    parser.add_argument("--checkpoint", type=Path, default=default, help="the model's folder (env CHECKPOINT)")
    parser.add_argument("--rounds", type=int, default=9, help="(default: %(default)s)")
    parser.add_argument("--device", default="cpu", help="(default: %(default)s)")
    options = parser.parse_args(arguments)
    try:
        if options.rounds < 1:
            raise ValueError(f"--rounds is {options.rounds}; it must be at least 1")
        device = choose_device(options.device)
        agent = DialogueAgent.load(options.checkpoint, device=device)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    torch.manual_seed(0)
    model = HRED.from_config(REFERENCE, bos_id=BOS).eval().to(device)
    rows = [*reference_rows(model, device), *shipped_rows(agent)]
    console = Console(stderr=True)
    console.width = max(console.width, 120)
    with console.status("timing") as status:
        for number in range(options.rounds + 1):
            status.update(f"round {number} of {options.rounds}")
            for row in rows:
                row.run()
                if number == 0:  # warming up
                    for times in row.times:
                        times.clear()
    found = [row.figures() for row in rows]
    table = Table(*found[0])
    for figures in found:
        table.add_row(*("" if value is None else str(value) for value in figures.values()))
    console.print(table)
    print(json.dumps({"rows": found}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
