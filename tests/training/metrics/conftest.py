"""The agent to measure, and the exchanges of some transcripts as it has heard them."""

from collections.abc import Callable, Sequence

import pytest

from dialogue.agent import DialogueAgent
from dialogue.checkpoint import Checkpoint
from training.corpora.transcript import Transcript
from training.data import batches
from training.metrics.exchanges import Exchange, exchanges_of


@pytest.fixture(scope="session")
def agent(talker: Checkpoint) -> DialogueAgent:
    return DialogueAgent(talker)


@pytest.fixture(scope="session")
def heard(agent: DialogueAgent) -> Callable[[Sequence[Transcript]], list[Exchange]]:
    """Return a function: transcripts -> their exchanges."""

    def encode(transcripts: Sequence[Transcript]) -> list[Exchange]:
        encoded = batches.encode(transcripts, agent.vocabulary, truncate=None).conversations
        return exchanges_of(agent.model, encoded, agent.device)

    return encode
