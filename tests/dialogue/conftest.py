"""Tiny models, and conversations of made-up token ids for them."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from dialogue.agent import DialogueAgent
from dialogue.checkpoint import Checkpoint
from dialogue.conversation import Conversation
from dialogue.models import Batch
from dialogue.models.hred import HRED
from dialogue.store import ConversationStore
from training.data import batches

PAD, UNK, BOS, EOS, FIRST_WORD, VOCABULARY = 0, 1, 2, 3, 4, 40
OPENINGS = ["hi", "do you like music?", "do you have a dog?", "tell me a joke", "i have a new car"]
SCRIPT = [
    "hi",
    "do you like music?",
    "hi",
    "where do you live?",
    "is there snow?",
    "hi",
    "good night",
]


class Clock:
    """A clock that stands still until a test sets it."""

    def __init__(self) -> None:
        self.now = 1e9

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def close(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


@pytest.fixture(params=["bidirectional", "unidirectional", "maxout"])
def model(request: pytest.FixtureRequest) -> HRED:
    return make_model(
        bidirectional=request.param != "unidirectional",
        readout="maxout" if request.param == "maxout" else "linear",
    )


def make_model(
    *,
    bidirectional: bool = True,
    readout: str = "linear",
    dropout: float = 0.0,
    peaked: float = 1.0,
) -> HRED:
    """An untrained model. peaked: how far apart its log-probabilities are."""
    torch.manual_seed(7)
    made = HRED(
        vocab_size=VOCABULARY, bos_id=BOS, embedding=10, utterance=12, context=9, hidden=14,
        bidirectional=bidirectional, dropout=dropout,
        readout=readout,
    )  # fmt: skip
    for name, parameter in made.named_parameters():
        if "bias" in name:  # biases start at zero, which would hide a misplaced one
            torch.nn.init.normal_(parameter, std=0.3)
    made.embedding.weight.data *= peaked
    made.embedding_scale /= peaked
    return made.eval()


def make_conversation(turns: int, *, seed: int, longest: int = 7) -> list[list[int]]:
    """A conversation of `utterances` utterances of 0 to `longest` words, each ending with </s>."""
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(longest + 1, (turns,), generator=generator).tolist()
    return [
        [*torch.randint(FIRST_WORD, VOCABULARY, (n,), generator=generator).tolist(), EOS]
        for n in lengths
    ]


def as_batch(
    conversations: Sequence[Any],
    *,
    history: Tensor | None = None,
    without_history: Any = None,
) -> Batch:
    """Collate on the CPU, as training does, whatever torch's default device is: packing wants the
    lengths there.
    """
    with torch.device("cpu"):
        batch = batches.collate(conversations, pad_id=PAD, without_history=without_history)
    return replace(batch, history=history)


def history_after(model: HRED, conversation: Sequence[Sequence[int]]) -> Tensor | None:
    """The history vector (1, C) after turns that are encoded one by one."""
    history = None
    for utterance in conversation:
        history = model.encode_turn(
            torch.tensor([utterance]), torch.tensor([len(utterance)]), history
        )
    return history


@pytest.fixture
def store() -> ConversationStore:
    return ConversationStore()


@pytest.fixture
def agent(talker: Checkpoint, store: ConversationStore) -> DialogueAgent:
    return DialogueAgent(talker, store=store)


@torch.no_grad()
def log_probs_one_by_one(
    agent: DialogueAgent, conversation: Conversation, replies: Sequence[Sequence[int]]
) -> list[float]:
    """Score as an agent does, but slowly: the whole model over each reply, as in fitting."""
    history = agent.empty_history if conversation.history is None else conversation.history
    found: list[float] = []
    for reply in replies:
        token_ids = torch.tensor([[*reply, agent.vocabulary.eos_id]])
        one = torch.ones(1, dtype=torch.long)
        batch = Batch(token_ids, torch.tensor([token_ids.shape[1]]), one, history=history)
        found += agent.model.log_likelihood(batch).log_probs.tolist()
    return found
