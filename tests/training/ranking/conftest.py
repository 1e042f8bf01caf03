"""What the tests of rankers share: a vocabulary of few words, and small networks."""

import pytest

from dialogue.vocabulary import Vocabulary
from training.data.vocabulary import build

THINGS = ("cat", "dog", "song", "cake", "boat", "moon", "book", "game")
SMALL = {"width": 32, "heads": 2, "layers": 1, "hidden": 16, "judges": 2, "dropout": 0.0}


@pytest.fixture(scope="module")
def vocabulary() -> Vocabulary:
    return build(
        [f"i like my {thing}. what is your {thing} like?" for thing in THINGS] * 3,
        size=80,
        model_type="word",
    )
