"""Lessons for stock replies: what labels and moments say of contexts, and how well it is learnt.

Labels (training.ranking.labels) say which plain replies suit a context, moments
(training.ranking.topical) which topical one does. The shipped network and its teacher learn from
the same lessons, and are measured on the held-out ones.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from dialogue.known_replies import RECENT
from dialogue.vocabulary import without_marks
from training.ranking.judging import is_held_out_id
from training.ranking.labels import Labelled
from training.ranking.topical import Moment, Verdicts
from training.reading.contexts import as_heard

LEAST = 5  # times a plain reply must have been named
PLAIN = 0.4  # weight of the loss for plain replies relative to topical ones
PRIOR = 6
NEVER = -1e4  # a logit
CHUNK = 512  # contexts per forward pass


@dataclass(frozen=True)
class Lessons:
    """What is known about N contexts, labelled ones first, and P plain and Q topical replies.

    contexts: see `context_of`. worth (L, P): what each plain reply is worth in the labelled
    contexts; NaN if it was not on offer. shares: for each moment, the share of each topical reply
    that suits it, by place; place Q stands for none. known: for each moment, how many topical
    replies, the first ones, it says anything about.
    """

    plain: tuple[str, ...]
    topical: tuple[str, ...]
    contexts: tuple[tuple[str, ...], ...]
    worth: Tensor
    shares: tuple[Mapping[int, float], ...]
    known: Tensor
    held_out: tuple[bool, ...]

    @property
    def digest(self) -> str:
        """Return a hexadecimal digest of the replies."""
        texts = "\n".join((*self.plain, "", *self.topical))
        return hashlib.sha256(texts.encode()).hexdigest()

    @property
    def outputs(self) -> int:
        """Return the number of logits of a network: P + Q + 1."""
        return len(self.plain) + len(self.topical) + 1

    def learnt(self) -> list[int]:
        """Return the rows that are not held out."""
        return [row for row, held in enumerate(self.held_out) if not held]

    def loss(self, weights: Tensor, rows: Sequence[int]) -> Tensor:
        """Return the mean loss of logits (N, P + Q + 1) for the contexts in `rows`.

        It is a binary cross-entropy for each plain reply, and one cross-entropy over the topical
        replies and none.
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
        """Mask the replies in logits (N, Q + 1) that a moment says nothing about.

        It is about the first `known` replies, and about none of them, the last column.
        """
        places = torch.arange(topical.shape[1], device=topical.device)
        known = self.known[list(moments)].to(topical.device)
        beyond = (places >= known[:, None]) & (places < topical.shape[1] - 1)
        return topical.masked_fill(beyond, NEVER)


def lessons_of(labelled: Sequence[Labelled], moments: Sequence[Moment]) -> Lessons:
    """Combine labels and moments. The plain replies are those that were named often enough.

    A moment that no topical reply suits says so only about the replies of earlier moments. Raises
    ValueError if there are too few to learn from some and measure on others.
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
        tuple(map(context_of, [one.turns for one in labelled] + [one.turns for one in moments])),
        worth,
        shares,
        torch.tensor(known),
        (*by_label, *by_moment),
    )


def context_of(turns: Sequence[str]) -> tuple[str, ...]:
    """Return the turns that stock replies are chosen by, as the skill gets them.

    turns: a conversation's, the last one the person's.
    """
    return as_heard([without_marks(turn) for turn in turns[-RECENT:]])


def imitation(weights: Tensor, taught: Tensor, plain: int) -> Tensor:
    """Return the mean distillation loss of logits (N, P + Q + 1): cross-entropy with a teacher.

    taught: the teacher's probabilities, of the same shape. plain: P.
    """
    of_plain = F.binary_cross_entropy_with_logits(
        weights[:, :plain], taught[:, :plain], reduction="sum"
    )
    of_topical = F.cross_entropy(weights[:, plain:], taught[:, plain:], reduction="sum")
    total: Tensor = PLAIN * of_plain + of_topical
    return total / len(weights)


def trusted(texts: Sequence[str], verdicts: Verdicts) -> dict[str, float]:
    """Return how far to trust each reply: the log-odds that it is right, less those of all replies.

    The fewer verdicts on it, the nearer to 0: the share of all replies counts as PRIOR verdicts.
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
    """Count the contexts where each plain reply was right, and those where it was judged.

    Held-out contexts do not count.
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
    """Measure a network on the held-out contexts.

    weigh: rows -> logits or probabilities (N, P + Q + 1).

    Labels: how often the highest-scoring reply on offer is one that the reader named. Moments: how
    often the highest-scoring reply is right, where one is, and how often one that is said is right;
    a reply counts as said if it scores higher than none.
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
