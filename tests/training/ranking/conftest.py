"""What the tests of rankers and of stock replies share: few words, small networks, few labels."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from dialogue import checkpoint
from dialogue.checkpoint import Checkpoint
from dialogue.config import ModelConfig
from dialogue.models.hred import HRED
from dialogue.vocabulary import Vocabulary
from training.corpora.transcript import split_of
from training.data.vocabulary import build

THINGS = ("cat", "dog", "song", "cake", "boat", "moon", "book", "game")
RARE = "i have no words"
WORDS = ("i like my", "hello", "nice", "hello i like my", "like", "have no words", "i have my")
TRAINING = [key for key in map(str, range(20)) if split_of(key) == "train"][:4]
SMALL = {"width": 32, "heads": 2, "layers": 1, "hidden": 16, "judges": 2, "dropout": 0.0}


@pytest.fixture(scope="module")
def vocabulary() -> Vocabulary:
    return build(
        [f"i like my {thing}. what is your {thing} like?" for thing in THINGS] * 3,
        size=80,
        model_type="word",
    )


@pytest.fixture(scope="module")
def labels() -> list[dict[str, Any]]:
    """Readers named "how old is your cat" for a cat, and "how nice" for everything."""
    return [
        {
            "id": f"talk-{number}",
            "context": [*(["hello", "how nice"] if number % 2 else []), f"i like my {thing}"],
            "specific": [f"how old is your {thing}"],
            "plain": ["how nice", *([RARE] if number == 0 and thing == "cat" else [])],
        }
        for number in range(60)
        for thing in THINGS
    ]


@pytest.fixture
def place(tmp_path: Path, labels: list[dict[str, Any]]) -> Path:
    """A folder with a model, labels, moments, and talks of people."""
    vocabulary = build(
        [f"hello. i like my {t}. how nice how old is your {t} i have no words" for t in THINGS],
        size=40,
        model_type="word",
    )
    config = ModelConfig(vocab_size=len(vocabulary), embedding=16, utterance=8, context=8, hidden=8)
    torch.manual_seed(0)
    model = HRED.from_config(config, bos_id=vocabulary.bos_id).eval()
    checkpoint.save(tmp_path / "model", Checkpoint(model, vocabulary, config, {}))
    named = {text for one in labels for name in ("specific", "plain") for text in one[name]}
    lines = "".join(json.dumps(line) + "\n" for line in [{"replies": sorted(named)}, *labels])
    (tmp_path / "labels.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    moments = [
        {
            "replies": [f"my {thing}"],
            "suits": [[f"{word} {thing}"] for word in WORDS],
            "near": [[f"{word} old {thing} is"] for word in WORDS],
        }
        for thing in THINGS
    ]
    (tmp_path / "moments.jsonl").write_text("\n".join(map(json.dumps, moments)))
    talks = [{"id": key, "turns": ["hello", "nice", f"hello {key}"]} for key in TRAINING]
    (tmp_path / "people.jsonl").write_text("\n".join(map(json.dumps, talks)))
    return tmp_path


def arguments(place: Path, *more: str) -> list[str]:
    """What training.fit_stock is called with there."""
    return [
        f"--checkpoint={place / 'model'}", f"--labels={place / 'labels.jsonl.gz'}",
        f"--moments={place / 'moments.jsonl'}", f"--people={place / 'people.jsonl'}",
        "--device=cpu", *more,
    ]  # fmt: skip
