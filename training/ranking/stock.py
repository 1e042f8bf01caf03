"""Fit stock replies: the network of dialogue.stock_replies learns which of them suit when.

    labels, moments -> teacher (a pretrained sentence encoder) -> what suits any context at all
    labels, moments, and what the teacher says of many more contexts -> network

Labels (training.ranking.labels) and moments (training.ranking.topical) are few for a network that
has to learn what words mean. A pretrained encoder knows that, and is too large to ship; fitted to
them, it tells of any number of contexts what suits, and the network learns from that, too (Hinton
et al. 2015, arXiv 1503.02531). It begins with what the encoder takes the pieces of words for.
Without a teacher it learns from labels and moments alone.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm, trange

from dialogue.agent import DialogueAgent
from dialogue.conversation import Conversation, Turn
from dialogue.device import computes_in_bf16
from dialogue.models.history import history_vectors
from dialogue.recognised import as_recognised, as_written
from dialogue.stock_replies import StockConfig, StockNetwork, StockReplies, token_vectors
from dialogue.vocabulary import CONTINUED
from training.ranking.judging import is_held_out_id
from training.ranking.labels import Labelled
from training.ranking.topical import Moment, Verdicts

LEAST = 5  # times that a plain reply must be named
EPOCHS, BATCH, LEARNING_RATE, WEIGHT_DECAY = 12, 128, 2e-3, 0.05
NARROW = 0.05  # how far the numbers of a token's own vector are spread at the beginning
PLAIN = 0.4  # weight of the loss for plain replies relative to topical ones
PRIOR = 6
NEVER = -1e4  # a logit
CHUNK = 512  # contexts that are weighed at a time


@dataclass(frozen=True)
class Lessons:
    """What is known of N contexts, those with labels first, then those of moments.

    contexts: their turns, the person's as a speech recogniser would write them. worth (L, P): of
    the labelled ones, what a reader thought of each plain reply; NaN where nothing was said. shares
    of the others: what share of what suits it each topical reply has, by place; that none does is
    the last place. known: of how many replies that is known.
    """

    plain: tuple[str, ...]
    topical: tuple[str, ...]
    contexts: tuple[tuple[str, ...], ...]
    worth: Tensor
    shares: tuple[Mapping[int, float], ...]
    known: Tensor
    held_out: tuple[bool, ...]

    @property
    def outputs(self) -> int:
        """How many logits a network gives: P + Q + 1."""
        return len(self.plain) + len(self.topical) + 1

    def learnt(self) -> list[int]:
        """Return the rows that are not held out."""
        return [row for row, held in enumerate(self.held_out) if not held]

    def loss(self, weights: Tensor, rows: Sequence[int]) -> Tensor:
        """Return the mean loss of logits (N, P + Q + 1) for contexts of which something is known.

        Cross-entropy: of each plain reply for itself, of topical ones and none together.
        """
        labelled = [at for at, row in enumerate(rows) if row < len(self.worth)]
        moments = [at for at, row in enumerate(rows) if row >= len(self.worth)]
        total = weights.new_zeros(())
        if labelled:
            worth = self.worth[[rows[at] for at in labelled]].float().to(weights.device)
            plain, known = weights[labelled, : len(self.plain)], worth.isfinite()
            total = total + PLAIN * F.binary_cross_entropy_with_logits(
                plain[known], worth[known], reduction="sum"
            )
        if moments:
            some = [rows[at] - len(self.worth) for at in moments]
            topical = self.of_known(weights[moments, len(self.plain) :], some)
            target = torch.zeros_like(topical)
            for at, number in enumerate(some):
                for place, share in self.shares[number].items():
                    target[at, place] = share
            total = total + F.cross_entropy(topical, target, reduction="sum")
        return total / len(rows)

    def of_known(self, topical: Tensor, moments: Sequence[int]) -> Tensor:
        """Leave out of logits (N, Q + 1) the replies that a moment tells nothing about.

        It tells about the first ones, and about none of them, the last column.
        """
        places = torch.arange(topical.shape[1], device=topical.device)
        known = self.known[list(moments)].to(topical.device)
        beyond = (places >= known[:, None]) & (places < topical.shape[1] - 1)
        return topical.masked_fill(beyond, NEVER)


def lessons_of(labelled: Sequence[Labelled], moments: Sequence[Moment]) -> Lessons:
    """Lay out labels and moments. The plain replies are those that are named often enough.

    That no topical reply suits a moment is known of those that suit an earlier one.
    Raises ValueError if there are too few to learn from some and measure on others.
    """
    named = Counter(text for one in labelled for text in one.suits)
    plain = sorted(text for text, count in named.items() if count >= LEAST)
    places = {text: place for place, text in enumerate(plain)}
    worth = torch.full((len(labelled), len(plain)), torch.nan, dtype=torch.half)
    for row, one in enumerate(labelled):
        worth[row, [places[text] for text in one.offered if text in places]] = 0
        for text, value in one.suits.items():
            if text in places:
                worth[row, places[text]] = value
    topical: dict[str, int] = {}
    so_far = []  # how many replies there are up to each moment
    for moment in moments:
        for text in moment.suits:
            topical.setdefault(text, len(topical))
        so_far.append(len(topical))
    shares = tuple(
        {topical[text]: share for text, share in moment.suits.items()} or {len(topical): 1.0}
        for moment in moments
    )
    known = [len(topical) if m.suits else count for m, count in zip(moments, so_far, strict=True)]
    by_label = [is_held_out_id(one.id) for one in labelled]
    by_moment = [moment.is_held_out for moment in moments]
    for held, texts, kind, of in (
        (by_label, plain, "labelled contexts", f"replies named {LEAST} times"),
        (by_moment, topical, "moments", "topical replies"),
    ):
        if not (texts and any(held) and not all(held)):
            raise ValueError(
                f"{len(held)} {kind} of {len(texts)} {of} are too few to learn from some and "
                "measure on others"
            )
    return Lessons(
        tuple(plain),
        tuple(topical),
        tuple(map(as_heard, [one.turns for one in labelled] + [one.turns for one in moments])),
        worth,
        shares,
        torch.tensor(known),
        (*by_label, *by_moment),
    )


def as_heard(turns: Sequence[str]) -> tuple[str, ...]:
    """Return a context's turns, the person's as a speech recogniser would write them."""
    joined = [turn.replace(CONTINUED, " ") for turn in turns]
    return tuple(
        text if (len(joined) - at) % 2 == 0 else as_written(as_recognised(text))
        for at, text in enumerate(joined)
    )


@dataclass(frozen=True)
class Read:
    """What the network reads of N contexts: histories (N, C), and tokens of the last two turns."""

    histories: Tensor
    last: list[Tensor]
    before: list[Tensor]

    def some(self, rows: Sequence[int]) -> tuple[Tensor, list[Tensor], list[Tensor]]:
        """Return what is read of some of them."""
        return (
            self.histories[list(rows)].float(),
            [self.last[row] for row in rows],
            [self.before[row] for row in rows],
        )


def fit(
    agent: DialogueAgent,
    lessons: Lessons,
    *,
    trust: Mapping[str, float],
    more: Sequence[tuple[str, ...]] = (),
    taught: Tensor | None = None,
    words: Tensor | None = None,
    seed: int,
) -> tuple[StockReplies, dict[str, Any]]:
    """Fit stock replies; return them, and figures of the contexts that are held out.

    trust: of replies, see Stock. more: further contexts, as heard. taught (N + M, P + Q + 1): what
    the teacher says of all contexts, as probabilities; those of lessons first. words (V, D): what
    the vectors of the vocabulary's pieces are at the beginning; D is a setting of StockConfig.
    Raises ValueError if the model's history is no vector.
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
    if words is not None:
        with torch.no_grad():
            network.own.weight.copy_(words * NARROW / words.std())
    every = [trust.get(text, 0.0) for text in (*lessons.plain, *lessons.topical)]
    replies = StockReplies(lessons.plain, lessons.topical, network, vectors, every)
    contexts = read(agent, replies, [*lessons.contexts, *more])
    known = len(lessons.contexts)
    order = [*lessons.learnt(), *range(known, known + len(more))]
    prepare(network, contexts, order)

    def loss(rows: Sequence[int]) -> Tensor:
        weights = network(vectors, *contexts.some(rows)).float()
        own = [at for at, row in enumerate(rows) if row < known]
        total: Tensor = weights.new_zeros(())
        if own:
            total = lessons.loss(weights[own], [rows[at] for at in own]) * len(own) / len(rows)
        if taught is not None:
            total = total + imitation(weights, taught[rows].float().to(agent.device), config.plain)
        return total

    train(
        network, loss, order, [len(turn) for turn in contexts.last],
        rates=[(list(network.parameters()), LEARNING_RATE)],
        weight_decay=WEIGHT_DECAY, epochs=EPOCHS, size=BATCH, seed=seed,
    )  # fmt: skip
    return replies, figures(lessons, lambda rows: network(vectors, *contexts.some(rows)))


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
def read(agent: DialogueAgent, replies: StockReplies, contexts: Sequence[Sequence[str]]) -> Read:
    """Read contexts, as heard."""
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
    """Keep in the network how histories are spread, and how rare each token is."""
    known = contexts.histories[list(learnt)].float()
    network.mean.copy_(known.mean(0))
    network.spread.copy_(known.std(0).clamp_min(1e-3))
    seen = torch.zeros_like(network.rarity)
    for row in learnt:
        seen[torch.unique(contexts.last[row])] += 1
    network.rarity.copy_((1 + len(learnt) / (1 + seen)).log() / 5)


def imitation(weights: Tensor, taught: Tensor, plain: int) -> Tensor:
    """Return the mean loss of logits (N, P + Q + 1) that are to tell what a teacher tells.

    taught: its probabilities, of `plain` plain replies first.
    """
    of_plain = F.binary_cross_entropy_with_logits(
        weights[:, :plain], taught[:, :plain], reduction="sum"
    )
    of_topical = F.cross_entropy(weights[:, plain:], taught[:, plain:], reduction="sum")
    total: Tensor = PLAIN * of_plain + of_topical
    return total / len(weights)


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
    """Minimise a loss of rows by AdamW; the rates rise for a twentieth, then fall by cosine.

    order: the rows to learn from. lengths: of all rows; those of a step are of similar length.
    rates: parameters and their learning rate.
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
    """Yield steps without end: rows of similar length, each once a pass."""
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


def trusted(texts: Sequence[str], verdicts: Verdicts) -> dict[str, float]:
    """Return how far to trust each reply: the log-odds that it is right, above those of all.

    The fewer verdicts there are, the nearer to 0: the share of all counts for PRIOR verdicts.
    """
    rights, counts = zip(*verdicts.values(), strict=True) if verdicts else ((0,), (0,))
    share = (sum(rights) + 1) / (sum(counts) + 2)
    found = {}
    for text in texts:
        right, count = verdicts.get(text, (0, 0))
        own = (right + PRIOR * share) / (count + PRIOR)
        found[text] = math.log(own / (1 - own)) - math.log(share / (1 - share))
    return found


def verdicts_of(labelled: Sequence[Labelled]) -> Verdicts:
    """Count for each plain reply in how many contexts it was right, of those where it was judged.

    Contexts that are held out do not count.
    """
    right, judged = Counter[str](), Counter[str]()
    for one in labelled:
        if one.is_judged and not is_held_out_id(one.id):
            judged.update(one.offered)
            right.update(one.suits.keys())
    return {text: (right[text], count) for text, count in judged.items()}


@torch.inference_mode()
def figures(
    lessons: Lessons, weigh: Callable[[Sequence[int]], Tensor]
) -> dict[str, dict[str, Any]]:
    """Measure on the contexts that are held out; weigh: their rows -> logits (N, P + Q + 1).

    Of labels: how often the best of the replies on offer is one that the reader named. Of moments:
    how often the best reply is right, where one is, and how often one is said wrongly; it counts as
    said if its probability is higher than that of none.
    """
    held = [row for row, held in enumerate(lessons.held_out) if held]
    labelled = [row for row in held if row < len(lessons.worth)]
    moments = [row - len(lessons.worth) for row in held if row >= len(lessons.worth)]
    named: list[float] = []
    for at in range(0, len(labelled), CHUNK):
        some = labelled[at : at + CHUNK]
        worth = lessons.worth[some].float()
        weights = weigh(some)[:, : len(lessons.plain)].cpu()
        first = weights.float().masked_fill(worth.isnan(), -torch.inf).argmax(1, keepdim=True)
        named += worth.gather(1, first).flatten().tolist()
    right = said = said_rightly = suited = 0
    none = len(lessons.topical)
    for at in range(0, len(moments), CHUNK):
        some = moments[at : at + CHUNK]
        weights = weigh([len(lessons.worth) + number for number in some])
        weights = lessons.of_known(weights[:, len(lessons.plain) :].cpu().float(), some)
        firsts, alls = weights[:, :-1].argmax(1).tolist(), weights.argmax(1).tolist()
        for number, first_place, place in zip(some, firsts, alls, strict=True):
            shares = lessons.shares[number]
            suited += none not in shares
            right += first_place in shares
            said += place != none
            said_rightly += place != none and place in shares
    learnt = lessons.learnt()
    return {
        "plain": {
            "replies": len(lessons.plain),
            "learnt": sum(row < len(lessons.worth) for row in learnt),
            "held_out": len(labelled),
            "first_is_named": sum(value > 0 for value in named) / len(labelled),
            "first_is_specific": sum(value == 1 for value in named) / len(labelled),
        },
        "topical": {
            "replies": len(lessons.topical),
            "learnt": sum(row >= len(lessons.worth) for row in learnt),
            "held_out": len(moments),
            "first_is_right": right / max(1, suited),
            "said": said,
            "said_is_right": said_rightly / max(1, said),
        },
    }
