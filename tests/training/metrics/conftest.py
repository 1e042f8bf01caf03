"""The agent to measure, and the exchanges of some transcripts as it has heard them."""

import pytest

from dialogue.agent import DialogueAgent
from training.data import batches
from training.metrics.exchanges import exchanges_of


@pytest.fixture(scope="session")
def agent(talker):
    return DialogueAgent(talker)


@pytest.fixture(scope="session")
def heard(agent):
    """Return a function: transcripts -> their exchanges."""

    def encode(transcripts):
        encoded = batches.encode(transcripts, agent.vocabulary, truncate=None).conversations
        return exchanges_of(agent.model, encoded, agent.device)

    return encode
