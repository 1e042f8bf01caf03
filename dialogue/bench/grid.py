"""Time a grid of batches, beams and precisions within a time limit: what a GPU does at once.

rows         model "reference": a reply of 20 tokens, next to its bare operations (floor_ms; see
             floor.py); "checkpoint": a search at its settings except for the beam; "agent": an
             answer, from hearing to saying, with the milliseconds of each stage
pays_until   for each model, precision and beam: the batch beyond which a larger one adds less than
             about a twentieth to the replies per second
load         a number of talkers, each of whom speaks again as soon as answered: replies per second,
             milliseconds until the answer, and the most replies per second at a 99th percentile of
             at most 500 ms
left_out     cells for which there was no time left
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import cycle, islice
from queue import SimpleQueue
from typing import Any

import torch

from dialogue.agent import DialogueAgent
from dialogue.batching import BatchingAgent
from dialogue.bench import floor, replies
from dialogue.bench.timing import Call, seconds_of
from dialogue.conversation import Conversation, Turn
from dialogue.store import ConversationStore

BATCHES = (1, 4, 16, 64, 256, 1024)
BEAMS = (1, 5, 20)
TALKERS = (1, 16, 64, 256, 1024)
LATEST = 500.0  # milliseconds that the 99th percentile may take
MOST_SECONDS = 1.0  # for one cell
SHARES = {"rows": 0.65, "agent": 0.15, "load": 0.2}  # of the time limit
ENOUGH = 0.95  # of the most replies per second

Figures = dict[str, Any]


@dataclass
class Clock:
    """A countdown of the seconds left, which predicts whether a measurement still fits."""

    end: float
    left_out: int = 0
    spent: dict[Hashable, tuple[int, float]] = field(default_factory=dict)  # by kind: size, seconds

    @classmethod
    def of(cls, seconds: float) -> Clock:
        """Return a clock that begins now."""
        return cls(time.perf_counter() + seconds)

    @property
    def left(self) -> float:
        """Return the seconds left, negative once time is up."""
        return self.end - time.perf_counter()

    def may_begin(self, kind: Hashable, size: int) -> bool:
        """Return whether there is time, judged by what a smaller one of the kind took."""
        last, seconds = self.spent.get(kind, (size, 0.0))
        begins = self.left > seconds * size / last
        self.left_out += not begins
        return begins

    @contextmanager
    def timing(self, kind: Hashable, size: int) -> Iterator[None]:
        """Record the seconds that one of a kind takes."""
        begun = time.perf_counter()
        yield
        self.spent[kind] = size, time.perf_counter() - begun


@torch.no_grad()
def measure(
    agents: dict[str, DialogueAgent],
    precisions: Sequence[str],
    exchanges: Sequence[Sequence[str]],
    *,
    seconds: float,
    device: torch.device,
) -> Figures:
    """Return the figures described above. agents: of the checkpoint, by precision."""
    clocks = {"rows": Clock.of(seconds * SHARES["rows"])}
    rows = list(_searches(agents, precisions, exchanges, clocks["rows"], device))
    clocks["agent"] = Clock.of(seconds * SHARES["agent"])
    for precision, agent in agents.items():
        rows += _answers(agent, precision, exchanges, clocks["agent"])
    clocks["load"] = Clock.of(seconds * SHARES["load"])
    load = list(_loads(agents, exchanges, clocks["load"]))
    in_time = [row["replies_per_s"] for row in load if row["p99_ms"] <= LATEST]
    return {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else str(device),
        "threads": torch.get_num_threads(),
        "rows": rows,
        "pays_until": pays_until(rows),
        "load": load,
        f"replies_per_s_at_p99_of_{LATEST:.0f}_ms": max(in_time, default=None),
        "left_out": sum(clock.left_out for clock in clocks.values()),
    }


def pays_until(rows: Sequence[Figures]) -> list[Figures]:
    """Return for each model, precision and beam the smallest batch nearly as good as any."""
    found = []
    kinds = dict.fromkeys((row["model"], row["precision"], row["beam"]) for row in rows)
    for kind in kinds:
        theirs = [row for row in rows if (row["model"], row["precision"], row["beam"]) == kind]
        most = max(row["replies_per_s"] for row in theirs)
        row = next(row for row in theirs if row["replies_per_s"] >= ENOUGH * most)
        found.append(
            dict(zip(("model", "precision", "beam"), kind, strict=True))
            | {"batch": row["batch"], "replies_per_s": row["replies_per_s"]}
        )
    return found


def _figures(model: str, precision: str, size: tuple[int, int], ms: float, **more: Any) -> Figures:
    batch, beam = size
    return {
        "model": model, "precision": precision, "batch": batch, "beam": beam, "ms": round(ms, 3),
        "replies_per_s": round(1000 * batch / ms, 1), **more,
    }  # fmt: skip


def _searches(
    agents: dict[str, DialogueAgent],
    precisions: Sequence[str],
    exchanges: Sequence[Sequence[str]],
    clock: Clock,
    device: torch.device,
) -> Iterator[Figures]:
    """Yield the rows of searches, small batches first, as far as time seems to allow."""
    reference = replies.reference_model(device)
    prepared = {name: reference.prepare(name) for name in precisions}
    kinds = [("reference", name) for name in precisions] + [("checkpoint", name) for name in agents]
    left = len(BATCHES) * len(BEAMS) * (len(kinds) + 1)
    for batch, beam in ((n, k) for n in BATCHES for k in BEAMS):
        share = min(MOST_SECONDS, clock.left / left)
        bare: dict[str, float] = {}
        if clock.may_begin(("bare", beam), batch):
            with clock.timing(("bare", beam), batch):
                bare = _bare(batch, beam, precisions, share, device)
        for model, precision in kinds:
            left -= 1
            if not clock.may_begin((model, precision, beam), batch):
                continue
            with clock.timing((model, precision, beam), batch):
                if model == "reference":
                    method = "greedy" if beam == 1 else "beam"
                    row = replies.Row(method, model, precision, batch, beam)
                    call = replies.reference_reply(row, prepared, device)
                else:
                    agent = agents[precision]
                    agent = agent.with_settings(replace(agent.decode_config, beam_size=beam))
                    call = partial(agent.candidates, _heard(agent, exchanges, batch))
                ms = 1000 * _median(call, share, device)
            more = {}
            if model == "reference" and precision in bare:
                floor_ms = bare[precision]
                more = {"floor_ms": round(floor_ms, 3), "ratio": round(ms / floor_ms, 3)}
            yield _figures(model, precision, (batch, beam), ms, **more)
        left -= 1


def _median(call: Call, seconds: float, device: torch.device) -> float:
    """Return the median seconds of a call, made at least twice, the first time as a warm-up."""
    seconds_of(call, 1, time.perf_counter, device)
    clock = Clock.of(seconds)
    found: list[float] = []
    while not found or clock.left > 0:
        found.append(seconds_of(call, 1, time.perf_counter, device))
    return statistics.median(found)


def _bare(
    batch: int, beam: int, precisions: Sequence[str], seconds: float, device: torch.device
) -> dict[str, float]:
    """Return the milliseconds of a reply's bare operations, by precision."""
    parts = floor.parts(
        (batch, beam), replies.REFERENCE, precisions=list(precisions), device=device
    )
    offered = {part: call for part, call in parts.items() if part.kind == "floor"}
    times = {}
    for part, call in offered.items():
        once = _median(call, 0, device)
        repeats = max(2, int(seconds / len(offered) / max(once, 1e-6)))
        times[part] = 1000 * seconds_of(call, repeats, time.perf_counter, device)
    return {
        precision: floor.reply_ms(
            "floor", (batch, beam), precision, times=times, tokens=replies.REPLY_TOKENS
        )
        or float("nan")
        for precision in precisions
    }


def _heard(
    agent: DialogueAgent, exchanges: Sequence[Sequence[str]], batch: int
) -> list[Conversation]:
    """Return conversations that have heard all turns but the true reply."""
    return agent.hear(*_before(agent, exchanges, batch))


def _before(
    agent: DialogueAgent, exchanges: Sequence[Sequence[str]], batch: int
) -> tuple[list[Conversation], list[Turn]]:
    """Return conversations of two turns, and the utterances that follow."""
    wanted = list(islice(cycle([turns for turns in exchanges if len(turns) >= 4]), batch))
    conversations = [Conversation()] * batch
    for place in (-4, -3):
        speaker: Any = "user" if place % 2 else "bot"
        conversations = agent.hear(conversations, [Turn(speaker, t[place]) for t in wanted])
    return conversations, [Turn("user", turns[-2]) for turns in wanted]


def _answers(
    agent: DialogueAgent, precision: str, exchanges: Sequence[Sequence[str]], clock: Clock
) -> Iterator[Figures]:
    """Yield the rows of whole answers, as far as time allows."""
    for batch in BATCHES:
        if not clock.may_begin(precision, batch):
            continue
        with clock.timing(precision, batch):
            conversations, said = _before(agent, exchanges, batch)
            utterances = [turn.text for turn in said]
            agent.answer(conversations, utterances)
            begun = time.perf_counter()
            found = agent.answer(conversations, utterances)  # which waits for the device itself
            ms = 1000 * (time.perf_counter() - begun)
        stages = {name: round(1000 * spent, 3) for name, spent in found[0].seconds}
        size = (batch, agent.decode_config.beam_size)
        yield _figures("agent", precision, size, ms, stages_ms=stages)


def _loads(
    agents: dict[str, DialogueAgent], exchanges: Sequence[Sequence[str]], clock: Clock
) -> Iterator[Figures]:
    """Yield the load figures for each number of talkers, in the last of the precisions."""
    utterances = [turns[0] for turns in exchanges]
    precision = list(agents)[-1]
    share = clock.left / len(TALKERS)
    for talkers in TALKERS:
        if clock.may_begin("load", talkers):
            begun = time.perf_counter()
            found = _load(agents[precision], utterances, talkers, share)
            # The time beyond its share went to the last batch, which grows with the talkers.
            clock.spent["load"] = talkers, max(0.0, time.perf_counter() - begun - share)
            yield {"precision": precision, "talkers": talkers, **found}


def _load(agent: DialogueAgent, utterances: Sequence[str], talkers: int, seconds: float) -> Figures:
    """Let each talker speak again as soon as it is answered; the first third does not count."""
    batching = BatchingAgent(agent.with_store(ConversationStore()), most=talkers, waiting=talkers)
    answered: SimpleQueue[tuple[int, float, float]] = SimpleQueue()  # talker, asked at, heard at

    def ask(talker: int, number: int) -> None:
        asked = time.perf_counter()
        text = utterances[(7 * talker + number) % len(utterances)]
        future = batching.submit(f"talker {talker}", text, deadline=600.0)
        future.add_done_callback(lambda _: answered.put((talker, asked, time.perf_counter())))

    begun = time.perf_counter()
    for talker in range(talkers):
        ask(talker, 0)
    waits: list[float] = []
    number = 0
    counts_from, until = begun + seconds / 3, begun + seconds
    while not waits or time.perf_counter() < until:
        talker, asked, heard = answered.get()
        number += 1
        if asked >= counts_from or heard >= until:
            waits.append(heard - asked)
        if time.perf_counter() < until:
            ask(talker, number)
    counted = time.perf_counter() - counts_from
    batching.close()
    waits.sort()
    return {
        "replies_per_s": round(len(waits) / counted, 1),
        "p50_ms": round(1000 * waits[len(waits) // 2], 1),
        "p99_ms": round(1000 * waits[min(len(waits) - 1, int(0.99 * len(waits)))], 1),
        "replies": len(waits),
    }
