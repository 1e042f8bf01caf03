"""Fit a ranker's judges to readers' judgements, and compare rankers with readers."""

from __future__ import annotations

import hashlib
import math
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from dialogue import learned_ranker
from dialogue.agent import DialogueAgent
from dialogue.conversation import Conversation, Turn
from dialogue.learned_ranker import LearnedRanker
from dialogue.ranker_network import RankerNetwork
from dialogue.ranking import Candidate, Ranker
from training.reading.contexts import as_heard
from training.reading.judgements import Judged
from training.reading.sheet import one_form

EPOCHS, CONTEXTS, LEARNING_RATE, WEIGHT_DECAY = 20, 32, 2e-3, 0.1
SPECIFIC = 0.3  # weight of the loss for "specific" relative to "sensible"
RECALLED = 80  # remembered replies among which a judged one is looked up
SUITING = 100  # stock replies of each set, likewise
HELD_OUT = 5  # one context in five is held out
COMMON = 3  # a reply that comes first this many times counts as common


@dataclass(frozen=True)
class Example:
    """A conversation, its candidates, and their judgements: (R, 2), sensible and specific.

    A judgement is NaN where it was not asked for.
    """

    conversation: Conversation
    candidates: tuple[Candidate, ...]
    found: Tensor
    corpus: str
    held_out: bool


def examples(agent: DialogueAgent, judged: Sequence[Judged]) -> list[Example]:
    """Score judged candidates with the agent's model and memory, as it would score its own.

    True replies are left out: the model was trained on them in this very context, so they would
    look likelier than any other candidate.
    """
    made = []
    for context in tqdm(judged, desc="scoring", unit="context", disable=None):
        replies = [reply for reply in context.replies if not reply.is_true]
        if not replies:
            continue
        turns = turns_of(context)
        conversation = Conversation()
        for turn in turns:
            (conversation,) = agent.hear([conversation], [turn])
        remembered = {
            one_form(one.text): one.similarity
            for one in agent.known.recalled([conversation], count=RECALLED)[0]
        }
        (suiting,) = agent.known.suiting([conversation], plain=SUITING, topical=SUITING)
        stock = {one_form(one.text): one for one in suiting}
        texts = [reply.text for reply in replies]
        candidates = tuple(
            agent.score(
                conversation,
                texts,
                similarities={
                    text: remembered[one_form(text)]
                    for text in texts
                    if one_form(text) in remembered
                },
                stock={
                    text: stock[one_form(text)]
                    for text in texts
                    if one_form(text) in stock and one_form(text) not in remembered
                },
            )
        )
        found = torch.tensor(
            [
                [reply.sensible, torch.nan if reply.specific is None else reply.specific]
                for reply in replies
            ],
            dtype=torch.float,
        )
        # From here on only the texts are needed, not the history vectors.
        made.append(
            Example(
                Conversation(turns=tuple(turns)),
                candidates,
                found,
                context.corpus,
                is_held_out(context),
            )
        )
    return made


def turns_of(context: Judged) -> list[Turn]:
    """Return a context's turns with their speakers, the person's last, as the skill gets them."""
    last = len(context.turns) - 1
    return [
        Turn("bot" if (last - at) % 2 else "user", text)
        for at, text in enumerate(as_heard(context.turns))
    ]


def is_held_out(context: Judged) -> bool:
    """Return whether a context is held out, by the hash of its conversation's id."""
    return is_held_out_id(context.id)


def is_held_out_id(name: str) -> bool:
    """Return whether the conversation with this id is held out."""
    return int(hashlib.sha1(f"judged {name}".encode()).hexdigest(), 16) % HELD_OUT == 0


def fit(ranker: LearnedRanker, learnt: Sequence[Example], *, seed: int) -> None:
    """Fit a ranker's judges and count common replies; its cross-encoder does not change."""
    network = ranker.network
    with torch.inference_mode():
        numbers = [
            ranker.numbers([example.conversation], [example.candidates]) for example in learnt
        ]
    # Standardise the inputs by the training data; the network keeps both values as buffers.
    every = torch.cat(numbers).clone()
    network.mean.copy_(every.mean(0))
    network.spread.copy_(every.std(0).clamp_min(1e-3))
    rows = [
        (network.scaled(own.clone()), example.found.to(own.device))
        for own, example in zip(numbers, learnt, strict=True)
    ]
    for number, judge in enumerate(network.judges):
        rng = random.Random(seed + number)
        torch.manual_seed(seed + number)  # for dropout
        optimizer = torch.optim.AdamW(
            judge.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY
        )
        batches = max(1, len(rows) // CONTEXTS)
        judge.train()
        for step in range(EPOCHS * batches):
            if step % batches == 0:
                rng.shuffle(rows)
            some = rows[step % batches * CONTEXTS :][:CONTEXTS]
            optimizer.param_groups[0]["lr"] = (
                LEARNING_RATE * (1 + math.cos(math.pi * step / (EPOCHS * batches))) / 2
            )
            logits = judge(torch.cat([inputs for inputs, _ in some]))
            sensible, specific = torch.cat([found for _, found in some]).unbind(1)
            loss = F.binary_cross_entropy_with_logits(logits[:, 0], sensible)
            # A reply that is not sensible is never specific, so only sensible ones teach that.
            teaching = sensible * specific.isfinite()
            of_sensible = teaching * F.binary_cross_entropy_with_logits(
                logits[:, 1], specific.nan_to_num(), reduction="none"
            )
            optimizer.zero_grad()
            torch.autograd.backward(
                loss + SPECIFIC * of_sensible.sum() / teaching.sum().clamp_min(1)
            )
            optimizer.step()
        judge.eval()
    ranker.common = common(network, numbers, learnt)


@torch.inference_mode()
def common(
    network: RankerNetwork, numbers: Sequence[Tensor], examples: Sequence[Example]
) -> dict[str, float]:
    """Return how often each reply comes first, per thousand contexts, if in at least COMMON."""
    first = Counter(
        learned_ranker.key(example.candidates[int(network.expected(own).argmax())].text)
        for own, example in zip(numbers, examples, strict=True)
    )
    return {
        text: round(1000 * times / len(examples), 3)
        for text, times in first.most_common()
        if times >= COMMON
    }


@dataclass(frozen=True)
class Agreement:
    """How well a ranker agrees with readers.

    auc: the probability that a sensible candidate scores higher than one that is not. ssa: mean
    SSA of the candidates ranked first. unique: the share of distinct replies among them. oracle:
    mean SSA of the best candidates available.
    """

    contexts: int
    candidates: int
    auc: float
    ssa: float
    unique: float
    oracle: float


def agreement(ranker: Ranker, held_out: Sequence[Example]) -> Agreement:
    """Measure a ranker on judged candidates, of which some must be sensible and some not.

    A candidate counts as not specific if readers were not asked.
    """
    scores, sensible, chosen, best = [], [], [], []
    said = set()
    for example in held_out:
        (found,) = ranker([example.conversation], [example.candidates])
        scores += list(found)
        sensible += example.found[:, 0].tolist()
        ssa = example.found.nan_to_num().mean(1)
        first = max(range(len(found)), key=found.__getitem__)
        chosen.append(float(ssa[first]))
        said.add(learned_ranker.key(example.candidates[first].text))
        best.append(float(ssa.max()))
    return Agreement(
        len(held_out),
        len(scores),
        auc(scores, sensible),
        sum(chosen) / len(chosen),
        len(said) / len(chosen),
        sum(best) / len(best),
    )


def auc(scores: Sequence[float], labels: Sequence[float]) -> float:
    """Return the area under the ROC curve, from ranks (Mann and Whitney 1947); ties count half."""
    order = torch.tensor(scores, dtype=torch.double)
    positive = torch.tensor(labels) > 0
    _, places, counts = torch.unique(order, return_inverse=True, return_counts=True)
    ranks = (counts.cumsum(0) - (counts - 1) / 2)[places]
    n = int(positive.sum())
    return float((ranks[positive].sum() - n * (n + 1) / 2) / (n * (len(labels) - n)))
