"""Fit stock replies: the network of dialogue.stock_replies learns which of them suit when.

    labels, moments -> teacher (a pretrained sentence encoder) -> what suits any context at all
    labels, moments, and what the teacher says of many more contexts -> network

Labels (training.ranking.labels) and moments (training.ranking.topical) are too few for a network
that has to learn what words mean. A pretrained encoder knows that but is too large to ship; fitted
to them, it labels any number of contexts, and the network learns from these labels too (Hinton et
al. 2015, arXiv 1503.02531). The network's own token vectors start as the encoder's. Without a
teacher, it learns from labels and moments alone.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from tqdm import tqdm, trange

from dialogue.agent import DialogueAgent
from dialogue.conversation import Conversation, Turn
from dialogue.device import computes_in_bf16
from dialogue.models.history import history_vectors
from dialogue.stock_replies import StockConfig, StockNetwork, StockReplies, token_vectors
from training.ranking.lessons import CHUNK, Lessons, figures, imitation

EPOCHS, BATCH, LEARNING_RATE, WEIGHT_DECAY = 12, 128, 2e-3, 0.05
NARROW = 0.05  # initial standard deviation of the network's own token vectors


@dataclass(frozen=True)
class Read:
    """What the network reads of N contexts: histories (N, C), and tokens of the last two turns."""

    histories: Tensor
    last: list[Tensor]
    before: list[Tensor]

    def some(self, rows: Sequence[int]) -> tuple[Tensor, list[Tensor], list[Tensor]]:
        """Return what is read of the contexts in `rows`."""
        return (
            self.histories[list(rows)].float(),
            [self.last[row] for row in rows],
            [self.before[row] for row in rows],
        )


@dataclass(frozen=True)
class Taught:
    """What a teacher provides.

    more: M contexts besides those of the lessons; see `lessons.context_of`. suits (N + M, outputs):
    probabilities for each context, those of the lessons first. words (V, D): a vector for each
    piece of the vocabulary; D is StockConfig.own.
    """

    more: Sequence[tuple[str, ...]]
    suits: Tensor
    words: Tensor


def fit(
    agent: DialogueAgent,
    lessons: Lessons,
    *,
    trust: Mapping[str, float],
    taught: Taught | None = None,
    seed: int,
) -> tuple[StockReplies, dict[str, Any]]:
    """Fit stock replies; return them, and their figures on the held-out contexts.

    trust: by reply; see Stock. Raises ValueError if the model has no history vector or embedding.
    """
    vectors, history = readable(agent)
    torch.manual_seed(seed)
    vocab_size, embedding = vectors.shape
    config = StockConfig(len(lessons.plain), len(lessons.topical), vocab_size, embedding, history)
    network = StockNetwork(config).to(agent.device)
    nn.init.normal_(network.own.weight, std=NARROW)
    nn.init.constant_(network.outputs.bias[: config.plain], -4)  # few of them suit a context
    nn.init.zeros_(network.outputs.bias[config.plain :])
    nn.init.normal_(network.outputs.weight, std=0.02)
    if taught is not None:
        with torch.no_grad():
            network.own.weight.copy_(taught.words * NARROW / taught.words.std())
    every = [trust.get(text, 0.0) for text in (*lessons.plain, *lessons.topical)]
    replies = StockReplies(lessons.plain, lessons.topical, network, vectors, every)
    known, more = len(lessons.contexts), taught.more if taught else ()
    contexts = read(agent, replies, [*lessons.contexts, *more])
    order = [*lessons.learnt(), *range(known, known + len(more))]
    prepare(network, contexts, order)

    def loss(rows: Sequence[int]) -> Tensor:
        weights = network(vectors, *contexts.some(rows)).float()
        own = [at for at, row in enumerate(rows) if row < known]
        total: Tensor = weights.new_zeros(())
        if own:
            total = lessons.loss(weights[own], [rows[at] for at in own]) * len(own) / len(rows)
        if taught is not None:
            suits = taught.suits[rows].float().to(agent.device)
            total = total + imitation(weights, suits, config.plain)
        return total

    train(
        network, loss, order, [len(turn) for turn in contexts.last],
        rates=[(list(network.parameters()), LEARNING_RATE)],
        weight_decay=WEIGHT_DECAY, epochs=EPOCHS, size=BATCH, seed=seed,
    )  # fmt: skip
    return replies, figures(lessons, lambda rows: network(vectors, *contexts.some(rows)))


def readable(agent: DialogueAgent) -> tuple[Tensor, int]:
    """Return the model's token vectors and the size of its history vector.

    Raises ValueError if it lacks either.
    """
    vectors, empty = token_vectors(agent.model), history_vectors(agent.empty_history)
    if vectors is None or empty is None:
        raise ValueError(
            f"{type(agent.model).__name__} has no history vector or no embedding, "
            "from which the network of stock replies reads a context"
        )
    return vectors, empty.shape[1]


@torch.inference_mode()
def read(agent: DialogueAgent, replies: StockReplies, contexts: Sequence[Sequence[str]]) -> Read:
    """Read contexts; see `lessons.context_of`."""
    by_length: dict[int, list[int]] = {}
    for row in sorted(range(len(contexts)), key=lambda row: len(contexts[row][-1])):
        by_length.setdefault(len(contexts[row]), []).append(row)
    _, size = readable(agent)
    histories = torch.zeros(len(contexts), size, dtype=torch.half, device=agent.device)
    for length, rows in by_length.items():
        for at in trange(0, len(rows), CHUNK, desc="reading", disable=None):
            some = rows[at : at + CHUNK]
            heard = [Conversation() for _ in some]
            for turn in range(length):
                is_bots = (length - turn) % 2 == 0
                heard = agent.hear(
                    heard, [Turn("bot" if is_bots else "user", contexts[row][turn]) for row in some]
                )
            for row, conversation in zip(some, heard, strict=True):
                histories[row] = cast(Tensor, conversation.history)[0]
    encode = agent.vocabulary.encode
    return Read(
        histories,
        replies.tokens(encode(turns[-1]) for turns in contexts),
        replies.tokens(encode(turns[-2]) if len(turns) > 1 else [] for turns in contexts),
    )


def prepare(network: StockNetwork, contexts: Read, learnt: Sequence[int]) -> None:
    """Store the mean and spread of histories and the rarity of each token in the network."""
    known = contexts.histories[list(learnt)].float()
    network.mean.copy_(known.mean(0))
    network.spread.copy_(known.std(0).clamp_min(1e-3))
    seen = torch.zeros_like(network.rarity)
    for row in learnt:
        seen[torch.unique(contexts.last[row])] += 1
    network.rarity.copy_((1 + len(learnt) / (1 + seen)).log() / 5)


def train(
    network: nn.Module,
    loss: Callable[[Sequence[int]], Tensor],
    order: Sequence[int],
    lengths: Sequence[int],
    *,
    rates: Sequence[tuple[list[nn.Parameter], float]],
    weight_decay: float,
    epochs: float,
    size: int,
    seed: int,
) -> None:
    """Minimise a loss over rows with AdamW, with linear warm-up (a twentieth) and cosine decay.

    order: the rows to learn from. lengths: of all rows; a step takes rows of similar length.
    rates: groups of parameters with their learning rates. size: rows per step.
    """
    device = next(network.parameters()).device
    optimizer = torch.optim.AdamW(
        [{"params": some, "lr": rate} for some, rate in rates], weight_decay=weight_decay
    )
    rng = random.Random(seed)
    steps = max(1, int(epochs * len(order) / size))
    warm = max(1, steps // 20)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda step: min(1, (step + 1) / warm) * (1 + math.cos(math.pi * step / steps)) / 2,
    )
    plan = _plan(order, lengths, size, rng)
    network.train()
    bar = tqdm(range(steps), desc="fitting", disable=None)
    for _ in bar:
        with torch.autocast(device.type, torch.bfloat16, enabled=computes_in_bf16(device)):
            found = loss(next(plan))
        optimizer.zero_grad()
        torch.autograd.backward(found)
        nn.utils.clip_grad_norm_([one for some, _ in rates for one in some], 5.0)
        optimizer.step()
        schedule.step()
        bar.set_postfix_str(f"loss {found.detach():.2f}", refresh=False)
    network.eval()


def _plan(
    order: Sequence[int], lengths: Sequence[int], size: int, rng: random.Random
) -> Iterator[list[int]]:
    """Yield the rows of each step forever: of similar length, each row once per pass."""
    rows = list(order)
    while True:
        rng.shuffle(rows)
        pools = [
            sorted(rows[at : at + 20 * size], key=lengths.__getitem__)
            for at in range(0, len(rows), 20 * size)
        ]
        steps = [pool[at : at + size] for pool in pools for at in range(0, len(pool), size)]
        rng.shuffle(steps)
        yield from steps
