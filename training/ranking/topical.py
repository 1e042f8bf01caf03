"""Fit topical replies: the network of dialogue.stock_replies learns to which moments each belongs.

    {"replies": ["A cat that knocks things off the table does it for the audience."],
     "suits": [["my mug is on the floor again"], ...], "near": [["which cat should i get"], ...],
     "judged": [12, 31]}

A line names replies, moments to which each of them is right, and moments that look like it and are
not. A moment is a context, its last turn the person's. A line without replies holds everyday talk
to which none of the replies in lines above is right; of those below nothing is known. A moment may
stand in several lines; what suits it is then shared out among their replies. "judged" may say in
how many contexts readers found the reply right, of how many where it was proposed.
"""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import trange

from dialogue.agent import DialogueAgent
from dialogue.stock_replies import StockConfig, StockNetwork, StockReplies
from dialogue.text_files import numbered_lines
from dialogue.vocabulary import CONTINUED
from training import corpora
from training.corpora.transcript import Complaints
from training.ranking.judging import is_held_out_id
from training.ranking.stock import (
    Contexts,
    Verdicts,
    networks,
    prepare,
    read,
    readable,
    trusted,
)

FILE = corpora.topical.FILE
OWN, HIDDEN, DROPOUT = 48, 320, 0.5  # numbers of a token's vector, of the hidden layer
MOMENTS_OF_PEOPLE = 1700  # of each corpus
EPOCHS, BATCH, LEARNING_RATE, WEIGHT_DECAY = 14, 96, 2e-3, 0.05
NEVER = -1e4  # a logit
BY_TEXT = 0.25  # weight of what is learnt of a reply by its words, at the beginning


@dataclass(frozen=True)
class Moment:
    """A context, and what share of what suits it each reply has; no reply if none suits."""

    turns: tuple[str, ...]
    suits: Mapping[str, float]

    @property
    def is_held_out(self) -> bool:
        """Whether it is kept for measuring, by its hash."""
        return is_held_out_id(" | ".join(self.turns))


def load(path: Path = FILE) -> tuple[list[Moment], Verdicts]:
    """Load moments, and what readers said of replies.

    Raises ValueError, naming the line, if one does not tell any.
    """
    found: dict[tuple[str, ...], dict[str, float]] = {}
    verdicts: dict[str, tuple[int, int]] = {}
    for number, line in numbered_lines(path, Complaints()):
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
            replies, suits, near = entry["replies"], entry["suits"], entry["near"]
            if suits and not replies:
                raise ValueError("no reply is named that suits")
            for turns in [replies, *suits, *near]:
                if not isinstance(turns, list) or not all(isinstance(one, str) for one in turns):
                    raise TypeError(f"{turns!r} is no list of texts")
            if not all([*suits, *near]):
                raise ValueError("a moment has no turn")
            right, judged = entry.get("judged", (0, 0))
            if not 0 <= right <= judged:
                raise ValueError(f"right in {right!r} of {judged!r} contexts")
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(
                f"{path}, line {number}: no replies with their moments ({error!r}); see {__name__}"
            ) from None
        for turns in suits:
            shares = found.setdefault(tuple(turns), {})
            for reply in replies:
                shares[reply] = shares.get(reply, 0.0) + 1 / len(replies)
        for turns in near:
            found.setdefault(tuple(turns), {})
        if judged:
            verdicts |= dict.fromkeys(replies, (right, judged))
    moments = [
        Moment(turns, {reply: share / sum(shares.values()) for reply, share in shares.items()})
        for turns, shares in found.items()
    ]
    return moments, verdicts


def of_people(corpus: str, *, seed: int) -> list[Moment]:
    """Draw moments of people among themselves, at most MOMENTS_OF_PEOPLE; no topical reply suits.

    What one stranger says to another sounds like everyday talk, but a companion's remark would
    nearly always miss it. Raises ValueError if the corpus is missing.
    """
    rng, found = random.Random(seed), []
    transcripts = corpora.load([corpus], "train", Complaints(skip=True))
    rng.shuffle(transcripts)
    for transcript in transcripts[:MOMENTS_OF_PEOPLE]:
        last = rng.randrange(0, len(transcript.turns), 2)
        heard = transcript.turns[max(0, last - 4) : last + 1]
        found.append(Moment(tuple(turn.replace(CONTINUED, " ") for turn in heard), {}))
    return found


def fit(
    agent: DialogueAgent, moments: Sequence[Moment], verdicts: Verdicts, *, seed: int
) -> tuple[StockReplies, dict[str, Any]]:
    """Fit topical replies to moments; return them, and figures of the moments held out.

    If none suits a moment, that is learnt of the replies that suit an earlier one.

    Raises ValueError if there are too few moments, or if the model's history is no vector.
    """
    vectors, _ = readable(agent)
    places: dict[str, int] = {}
    so_far = []  # how many replies there are up to each moment
    for moment in moments:
        for text in moment.suits:
            places.setdefault(text, len(places))
        so_far.append(len(places))
    texts = list(places)
    held_out = [row for row, moment in enumerate(moments) if moment.is_held_out]
    learnt = [row for row, moment in enumerate(moments) if not moment.is_held_out]
    if not (texts and learnt and any(moments[row].suits for row in held_out)):
        raise ValueError(
            f"{len(moments)} moments of {len(texts)} topical replies are too few to learn from "
            "some and measure on others"
        )
    torch.manual_seed(seed)
    sizes = len(texts), len(vectors), vectors.shape[1]  # the history vector would add nothing
    config = StockConfig(*sizes, own=OWN, hidden=HIDDEN, dropout=DROPOUT, is_topical=True)
    trust = trusted(texts, verdicts)
    stock = StockReplies(texts, networks(config, agent.device), vectors, trust)
    contexts = read(agent, stock, [moment.turns for moment in moments])
    prepare(stock, contexts, learnt)
    known = torch.tensor(
        [
            len(texts) if moment.suits else count
            for moment, count in zip(moments, so_far, strict=True)
        ],
        device=agent.device,
    )
    shares = [
        {places[text]: share for text, share in moment.suits.items()} or {len(texts): 1.0}
        for moment in moments
    ]
    words = stock.tokens(agent.vocabulary.encode(text) for text in texts)
    for number, network in enumerate(stock.networks):
        _train(network, vectors, contexts, shares, known, words, learnt, seed=seed + number)
    return stock, _figures(stock, contexts, shares, known, held_out) | {
        "replies": len(texts), "learnt": len(learnt)
    }  # fmt: skip


def _train(
    network: StockNetwork,
    vectors: Tensor,
    contexts: Contexts,
    shares: Sequence[Mapping[int, float]],
    known: Tensor,
    words: Sequence[Tensor],
    learnt: Sequence[int],
    *,
    seed: int,
) -> None:
    """Learn by the cross-entropy of what suits.

    A reply's output is learnt partly from its words, so that replies about the same thing learn
    from one another; in the end both parts are added up. known: see `_of_known`.
    """
    network.eval()
    with torch.no_grad():
        bags = network.bag(vectors, words)
    by_text = nn.Linear(bags.shape[1], network.config.hidden).to(bags.device)
    if network.own is not None:
        nn.init.normal_(network.own.weight, std=0.05)
    nn.init.normal_(network.outputs.weight, std=0.02)
    nn.init.zeros_(network.outputs.bias)
    rng, order = random.Random(seed), list(learnt)
    steps = max(1, EPOCHS * len(order) // BATCH)
    parameters = [*network.parameters(), *by_text.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, LEARNING_RATE, total_steps=steps + 1, pct_start=0.1
    )
    network.train()
    some: list[int] = []
    for _ in trange(steps, desc="fitting", disable=None):
        if len(some) < BATCH:
            rng.shuffle(order)
            some = some + order
        rows, some = some[:BATCH], some[BATCH:]
        hidden = network.read(vectors, *contexts.some(rows))
        # Of by_text(bags) only the product with hidden is needed: ten times less work.
        by_words = hidden @ by_text.weight @ bags.T + (hidden @ by_text.bias)[:, None]
        weights = network.outputs(hidden) + F.pad(BY_TEXT * by_words, (0, 1))
        weights = _of_known(weights, known[rows])
        target = torch.zeros_like(weights)
        for row, number in enumerate(rows):
            for place, share in shares[number].items():
                target[row, place] = share
        optimizer.zero_grad()
        torch.autograd.backward(F.cross_entropy(weights, target))
        optimizer.step()
        schedule.step()
    network.eval()
    with torch.no_grad():
        network.outputs.weight[:-1] += BY_TEXT * by_text(bags)


def _of_known(weights: Tensor, known: Tensor) -> Tensor:
    """Leave out of logits (N, R + 1) the replies that a moment tells nothing about.

    known (N,): it tells about so many, the first ones, and about none of them, the last column.
    """
    places = torch.arange(weights.shape[1], device=weights.device)
    beyond = (places >= known[:, None]) & (places < weights.shape[1] - 1)
    return weights.masked_fill(beyond, NEVER)


@torch.inference_mode()
def _figures(
    stock: StockReplies,
    contexts: Contexts,
    shares: Sequence[Mapping[int, float]],
    known: Tensor,
    held_out: Sequence[int],
) -> dict[str, float]:
    """Measure how often the best reply is right, where one is, and how often one is said wrongly.

    It counts as said if its probability is higher than that of none.
    """
    weights = _of_known(stock.weigh(*contexts.some(held_out)), known[list(held_out)])
    none = weights.shape[1] - 1
    first, said = weights[:, :-1].argmax(1).tolist(), (weights.argmax(1) != none).tolist()
    right = [place in shares[row] for place, row in zip(first, held_out, strict=True)]
    suited = [none not in shares[row] for row in held_out]
    return {
        "held_out": len(held_out),
        "first_is_right": sum(right) / max(1, sum(suited)),
        "said": sum(said),
        "said_is_right": sum(a and b for a, b in zip(said, right, strict=True)) / max(1, sum(said)),
    }
