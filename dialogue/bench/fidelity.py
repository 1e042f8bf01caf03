"""Measure how precisions change what a checkpoint says, on real conversations, against fp32."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import torch

from dialogue.agent import DialogueAgent
from dialogue.conversation import Conversation, Turn
from dialogue.models.history import stack_histories
from dialogue.text_files import read_lines

# From chitchat-dataset's test split (MIT), which the shipped model was not trained on.
HELD_OUT = Path(__file__).with_name("heldout.tsv")


def read_exchanges(path: Path = HELD_OUT) -> list[list[str]]:
    """Load conversations, one per line with tab-separated turns; the last turn is the true reply.

    Raises ValueError if a line has fewer than two turns, or if the file cannot be read.
    """
    exchanges = [
        [turn.strip() for turn in line.split("\t") if turn.strip()] for line in read_lines(path)
    ]
    for number, turns in enumerate(exchanges, 1):
        if len(turns) < 2:
            raise ValueError(
                f"{path}, line {number}: found {len(turns)} turns; "
                "expected two or more, tab-separated"
            )
    if not exchanges:
        raise ValueError(
            f"{path} is empty; expected one conversation per line, its turns tab-separated"
        )
    return exchanges


@torch.no_grad()
def fidelity(
    agents: dict[str, DialogueAgent], exchanges: Sequence[Sequence[str]]
) -> dict[str, dict[str, float]]:
    """Compare precisions with fp32, on the tokens of the true replies and on the agent's replies.

    kl: the Kullback-Leibler divergence KL(fp32 || precision) in nats, averaged over tokens. top_1:
    the fraction of tokens at which both find the same token likeliest. changed: the fraction of
    replies that differ.
    """
    before, utterances = _heard(agents["fp32"], exchanges)
    # One (tokens, V) table of log-probabilities per precision.
    tables = {name: _log_probs(agent, before, exchanges) for name, agent in agents.items()}
    replies = {
        name: [reply.text for reply in agent.answer(before, utterances)]
        for name, agent in agents.items()
    }
    true = tables["fp32"]
    return {
        name: {
            "kl": float((true.exp() * (true - table)).sum(-1).mean()),
            "top_1": float((table.argmax(-1) == true.argmax(-1)).float().mean()),
            "changed": sum(a != b for a, b in zip(replies[name], replies["fp32"], strict=True))
            / len(utterances),
            "tokens": len(table),
            "replies": len(utterances),
        }
        for name, table in tables.items()
        if name != "fp32"
    }


def _heard(
    agent: DialogueAgent, exchanges: Sequence[Sequence[str]]
) -> tuple[list[Conversation], list[str]]:
    """Return conversations that have heard all but the last two turns, and the turns to answer."""
    conversations = [Conversation() for _ in exchanges]
    for row, turns in enumerate(exchanges):
        for number, text in enumerate(turns[:-2]):
            speaker: Literal["user", "bot"] = "bot" if (len(turns) - number) % 2 else "user"
            (conversations[row],) = agent.hear([conversations[row]], [Turn(speaker, text)])
    return conversations, [turns[-2] for turns in exchanges]


def _log_probs(
    agent: DialogueAgent, before: Sequence[Conversation], exchanges: Sequence[Sequence[str]]
) -> torch.Tensor:
    """Return the decoder's log-probabilities at each token of the true replies: (tokens, V).

    All replies are read in lockstep; a reply that has ended repeats its last token, and its rows
    are left out.
    """
    heard = agent.hear(before, [Turn("user", turns[-2]) for turns in exchanges])
    state = agent.prepared.start(
        stack_histories([c.history for c in heard if c.history is not None])
    )
    replies = [agent.vocabulary.encode(turns[-1]) for turns in exchanges]
    last, found = torch.full((len(replies),), agent.vocabulary.bos_id, device=agent.device), []
    for place in range(max(map(len, replies))):
        log_probs, state = agent.prepared.step(last, state)
        rows = torch.tensor(
            [row for row, reply in enumerate(replies) if place < len(reply)], device=agent.device
        )
        found.append(log_probs[rows].cpu())
        last = torch.tensor(
            [reply[min(place, len(reply) - 1)] if reply else 0 for reply in replies],
            device=agent.device,
        )
    return torch.cat(found)
