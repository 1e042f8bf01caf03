"""Fit plain stock replies: the network of dialogue.stock_replies learns which of them suit when.

It learns from labels (training.ranking.labels). The set is all replies that are named often enough.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import trange

from dialogue.agent import DialogueAgent
from dialogue.conversation import Conversation, Turn
from dialogue.models.history import history_vectors
from dialogue.recognised import as_recognised, as_written
from dialogue.stock_replies import StockConfig, StockNetwork, StockReplies, token_vectors
from training.ranking.judging import is_held_out_id
from training.ranking.labels import Labelled

LEAST = 5  # times that a reply must be named
NETWORKS = 2  # of a set; a third one would add little
EPOCHS, BATCH, LEARNING_RATE, WEIGHT_DECAY = 40, 64, 1e-3, 0.05
PRIOR = 6
CHUNK = 256  # contexts that are read at a time


Verdicts = Mapping[str, tuple[int, int]]  # of a reply: right, of so many contexts


@dataclass(frozen=True)
class Contexts:
    """What the network reads of N contexts: histories (N, C), and tokens of the last two turns."""

    histories: Tensor
    last: list[Tensor]
    before: list[Tensor]

    def some(self, rows: Sequence[int]) -> tuple[Tensor, list[Tensor], list[Tensor]]:
        """Return what is read of some of them."""
        return (
            self.histories[list(rows)],
            [self.last[row] for row in rows],
            [self.before[row] for row in rows],
        )


def fit(
    agent: DialogueAgent, labelled: Sequence[Labelled], *, seed: int
) -> tuple[StockReplies, dict[str, Any]]:
    """Fit stock replies to labels; return them, and figures of the contexts held out.

    Raises ValueError if there are too few labels, or if the model's history is no vector.
    """
    vectors, history = readable(agent)
    named = Counter(text for one in labelled for text in one.suits)
    texts = sorted(text for text, count in named.items() if count >= LEAST)
    held_out = [row for row, one in enumerate(labelled) if is_held_out_id(one.id)]
    learnt = [row for row, one in enumerate(labelled) if not is_held_out_id(one.id)]
    if not (texts and held_out and learnt):
        raise ValueError(
            f"{len(labelled)} labelled contexts with {len(texts)} replies named {LEAST} times are "
            "too few to learn from some and measure on others"
        )
    torch.manual_seed(seed)
    config = StockConfig(len(texts), len(vectors), vectors.shape[1], history=history)
    trust = trusted(texts, _verdicts(labelled, held_out))
    stock = StockReplies(texts, networks(config, agent.device), vectors, trust)
    contexts = read(agent, stock, [one.turns for one in labelled])
    prepare(stock, contexts, learnt)
    places = {text: place for place, text in enumerate(texts)}
    worth = torch.full((len(labelled), len(texts)), torch.nan, device=agent.device)
    for row, one in enumerate(labelled):
        worth[row, [places[text] for text in one.offered if text in places]] = 0
        for text, value in one.suits.items():
            if text in places:
                worth[row, places[text]] = value
    for number, network in enumerate(stock.networks):
        _train(network, vectors, contexts, worth, learnt, seed=seed + number)
    return stock, _figures(stock, contexts, worth, held_out) | {
        "replies": len(texts), "learnt": len(learnt)
    }  # fmt: skip


def _verdicts(labelled: Sequence[Labelled], held_out: Sequence[int]) -> Verdicts:
    """Count for each reply in how many contexts it was right, of those where it was judged."""
    right, judged = Counter[str](), Counter[str]()
    without = set(held_out)
    for row, one in enumerate(labelled):
        if one.is_judged and row not in without:
            judged.update(one.offered)
            right.update(one.suits.keys())
    return {text: (right[text], count) for text, count in judged.items()}


def trusted(texts: Sequence[str], verdicts: Verdicts) -> list[float]:
    """Return how far to trust each reply: the log-odds that it is right, above those of all.

    The fewer verdicts there are, the nearer to 0: the share of all counts for PRIOR verdicts.
    """
    rights, counts = zip(*verdicts.values(), strict=True) if verdicts else ((0,), (0,))
    share = (sum(rights) + 1) / (sum(counts) + 2)
    found = []
    for text in texts:
        right, count = verdicts.get(text, (0, 0))
        own = (right + PRIOR * share) / (count + PRIOR)
        found.append(math.log(own / (1 - own)) - math.log(share / (1 - share)))
    return found


def networks(config: StockConfig, device: torch.device) -> list[StockNetwork]:
    """Make the networks of a set, which start differently."""
    return [StockNetwork(config).to(device) for _ in range(NETWORKS)]


def readable(agent: DialogueAgent) -> tuple[Tensor, int]:
    """Return the vectors of the model's tokens, and how many numbers its history vector has.

    Raises ValueError if it has none of either.
    """
    vectors, empty = token_vectors(agent.model), history_vectors(agent.empty_history)
    if vectors is None or empty is None:
        raise ValueError(
            f"{type(agent.model).__name__} has no history vector or no embedding, "
            "from which the network of stock replies reads a context"
        )
    return vectors, empty.shape[1]


@torch.inference_mode()
def read(agent: DialogueAgent, stock: StockReplies, contexts: Sequence[Sequence[str]]) -> Contexts:
    """Read contexts, the person's turns as a speech recogniser would write them."""
    spoken = [
        [
            Turn("bot", text) if (len(turns) - at) % 2 == 0
            else Turn("user", as_written(as_recognised(text)))
            for at, text in enumerate(turns)
        ]
        for turns in contexts
    ]  # fmt: skip
    by_length: dict[int, list[int]] = {}
    for row, turns in enumerate(spoken):
        by_length.setdefault(len(turns), []).append(row)
    histories: list[Tensor | None] = [None] * len(spoken)
    for length, rows in by_length.items():
        for at in trange(0, len(rows), CHUNK, desc="reading", disable=None):
            some = rows[at : at + CHUNK]
            heard = [Conversation() for _ in some]
            for turn in range(length):
                heard = agent.hear(heard, [spoken[row][turn] for row in some])
            for row, conversation in zip(some, heard, strict=True):
                histories[row] = cast(Tensor, conversation.history)
    encode = agent.vocabulary.encode
    return Contexts(
        torch.cat([cast(Tensor, one) for one in histories]).float(),
        stock.tokens(encode(turns[-1].text) for turns in spoken),
        stock.tokens(encode(turns[-2].text) if len(turns) > 1 else [] for turns in spoken),
    )


def prepare(stock: StockReplies, contexts: Contexts, learnt: Sequence[int]) -> None:
    """Keep in the networks how histories are spread, and how rare each token is."""
    known = contexts.histories[list(learnt)]
    seen = torch.zeros_like(stock.networks[0].rarity)
    for row in learnt:
        seen[sorted(set(contexts.last[row].tolist()))] += 1
    for network in stock.networks:
        if network.config.history:
            network.mean.copy_(known.mean(0))
            network.spread.copy_(known.std(0).clamp_min(1e-3))
        network.rarity.copy_((1 + len(learnt) / (1 + seen)).log() / 5)


def _train(
    network: StockNetwork,
    vectors: Tensor,
    contexts: Contexts,
    worth: Tensor,
    learnt: Sequence[int],
    *,
    seed: int,
) -> None:
    # Few of the replies suit a context: without this the first steps would only learn that.
    torch.nn.init.constant_(network.outputs.bias, -4)
    rng, order = random.Random(seed), list(learnt)
    steps = max(1, EPOCHS * len(order) // BATCH)
    optimizer = torch.optim.AdamW(network.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    network.train()
    some: list[int] = []
    for _ in trange(steps, desc="fitting", disable=None):
        if len(some) < BATCH:
            rng.shuffle(order)
            some = some + order
        rows, some = some[:BATCH], some[BATCH:]
        known = worth[rows].isfinite()
        loss = F.binary_cross_entropy_with_logits(
            network(vectors, *contexts.some(rows))[known], worth[rows][known], reduction="sum"
        )
        optimizer.zero_grad()
        torch.autograd.backward(loss / len(rows))
        optimizer.step()
        schedule.step()
    network.eval()


@torch.inference_mode()
def _figures(
    stock: StockReplies, contexts: Contexts, worth: Tensor, held_out: Sequence[int]
) -> dict[str, float]:
    """Measure how often the best of the replies on offer is one that the reader named."""
    held = worth[list(held_out)]
    weights = stock.weigh(*contexts.some(held_out)).masked_fill(held.isnan(), -torch.inf)
    found = held.gather(1, weights.argmax(1, keepdim=True))
    return {
        "held_out": len(held_out),
        "first_is_named": float((found > 0).float().mean()),
        "first_is_specific": float((found == 1).float().mean()),
    }
