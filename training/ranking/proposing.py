"""Candidates for contexts of the corpora, as the agent would find them: searched for and recalled.

These are the wrong replies that a ranker will meet: the cross-encoder learns to tell the true one
from them, and a larger judge says which of them make sense all the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from dialogue.agent import DialogueAgent
from dialogue.decoding.search import search
from dialogue.models import History
from dialogue.ranker_network import READ_TOKENS, table
from training.ranking.matching import Ids, Pair

T = TypeVar("T")

BATCH = 256  # contexts
NEIGHBOURS = 4  # recalled replies per context


def candidates(agent: DialogueAgent, pairs: Sequence[Pair]) -> list[list[Ids]]:
    """Return distinct candidates for each context, searched for and recalled."""
    return [
        list(dict.fromkeys([*own, *others]))
        for own, others in zip(searched(agent, pairs), recalled(agent, pairs), strict=True)
    ]


@torch.inference_mode()
def searched(agent: DialogueAgent, pairs: Sequence[Pair], *, batch: int = BATCH) -> list[list[Ids]]:
    """Search for replies in each context, with the agent's model and settings."""
    found: dict[int, list[Ids]] = {}
    # Contexts with the same number of turns are read together.
    order = sorted(range(len(pairs)), key=lambda at: (len(pairs[at].context), at))
    for some in tqdm(list(_split(order, batch)), desc="searching", disable=None):
        for turns in sorted({len(pairs[at].context) for at in some}):
            places = [at for at in some if len(pairs[at].context) == turns]
            start = agent.prepared.start(_history(agent, [pairs[at].context for at in places]))
            hypotheses = search(
                agent.prepared.step,
                start,
                len(places),
                config=agent.decode_config,
                bos_id=agent.vocabulary.bos_id,
                eos_id=agent.vocabulary.eos_id,
                limits=agent.limits,
                device=agent.device,
            )
            for at, one in zip(places, hypotheses, strict=True):
                found[at] = [tuple(h.token_ids[:READ_TOKENS]) for h in one if h.token_ids]
    return [found[at] for at in range(len(pairs))]


def _history(agent: DialogueAgent, contexts: Sequence[Sequence[Ids]]) -> Any:
    """Return the histories of contexts with equally many turns, the last one first in each."""
    history: History | None = None
    eos, pad = agent.vocabulary.eos_id, agent.vocabulary.pad_id
    for said in list(zip(*contexts, strict=True))[::-1]:
        rows = [[*turn, eos] for turn in said]
        lengths = torch.tensor([len(row) for row in rows])
        token_ids = table(rows, pad).to(agent.device)
        history = agent.model.encode_turn(token_ids, lengths, history)
    return history


@torch.inference_mode()
def recalled(
    agent: DialogueAgent, pairs: Sequence[Pair], *, count: int = NEIGHBOURS, batch: int = BATCH
) -> list[list[Ids]]:
    """Recall the replies to the most similar last turns of other contexts.

    Turns are compared by the sum of their words' vectors, weighted by rarity.
    """
    vectors = _vectors(agent, [pair.context[0] for pair in pairs])  # (N, E)
    found = []
    for part in torch.split(torch.arange(len(pairs)), batch):
        cosines = vectors[part.to(vectors.device)] @ vectors.T
        nearest = cosines.topk(min(4 * count, len(pairs)), dim=1).indices.tolist()
        for at, others in zip(part.tolist(), nearest, strict=True):
            mine = pairs[at]
            replies = dict.fromkeys(
                pairs[other].reply
                for other in others
                if pairs[other].context != mine.context and pairs[other].reply != mine.reply
            )
            found.append(list(replies)[:count])
    return found


def _vectors(agent: DialogueAgent, turns: Sequence[Ids]) -> Tensor:
    weights: Tensor = next(
        weight
        for name, weight in agent.model.named_parameters()
        if name.endswith("embedding.weight")
    )
    device = weights.device
    seen = torch.bincount(
        torch.tensor([token for turn in turns for token in set(turn)]), minlength=len(weights)
    ).to(device)
    rarity = (len(turns) / (seen + 1)).log().clamp_min(0) + 0.1
    rows = []
    for part in _split(turns, 4096):
        ids = table([list(turn) for turn in part], agent.vocabulary.pad_id).to(device)
        counts = rarity[ids] * (ids != agent.vocabulary.pad_id)
        rows.append(torch.einsum("nt,nte->ne", counts, F.embedding(ids, weights).float()))
    return F.normalize(torch.cat(rows), dim=1)


def _split(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    for begin in range(0, len(items), size):
        yield items[begin : begin + size]
