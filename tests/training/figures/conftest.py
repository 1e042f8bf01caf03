"""The agent whose figures are taken, and the exchanges of some transcripts as it has heard them."""

import pytest

from dialogue.agent import DialogueAgent
from training import batches
from training.figures.exchanges import exchanges_of, openings_of


@pytest.fixture(scope="session")
def agent(talker):
    return DialogueAgent(talker)


@pytest.fixture(scope="session")
def heard(agent):
    """Give a function: transcripts -> their exchanges, and their first turns."""

    def encode(transcripts):
        encoded = batches.encode(transcripts, agent.vocabulary, truncate=None).conversations
        exchanges = exchanges_of(agent.model, encoded, agent.device)
        return exchanges, openings_of(encoded, like=exchanges[0].history)

    return encode
