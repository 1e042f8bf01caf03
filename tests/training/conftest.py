"""A small corpus on disk, and the options of a small run of training.fit over it."""

import json

import pytest

from training.corpora.transcript import split_of

SMALL = {"embedding": 8, "utterance": 8, "context": 8, "hidden": 8}


@pytest.fixture(scope="session")
def talk(tmp_path_factory, conversations, word_vocabulary):
    """The twenty conversations as a corpus, some of them in its validation split too, and a vocabulary."""
    folder = tmp_path_factory.mktemp("talk")
    keys = {split: [str(n) for n in range(500) if split_of(str(n)) == split] for split in ("train", "validation")}
    lines = [{"id": key, "turns": c.turns} for key, c in zip(keys["train"], conversations, strict=False)]
    lines += [{"id": key, "turns": c.turns[::-1]} for key, c in zip(keys["validation"], conversations[:5], strict=False)]
    (folder / "talk.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    (folder / "vocabulary.model").write_bytes(word_vocabulary.serialised)
    return folder


@pytest.fixture
def options(talk, tmp_path):
    """A small run: 5 batches an epoch, 2 epochs, 4 validations. Its folder is the last of the options."""
    sizes = [f"--{name}={size}" for name, size in SMALL.items()]
    return [
        f"--data={talk / 'talk.jsonl'}", f"--vocabulary={talk / 'vocabulary.model'}", *sizes, "--batch-tokens=100", "--epochs=2",
        "--validations=2", "--learning-rate=0.05", "--precision=fp32", "--device=cpu", f"--out={tmp_path / 'run'}",
    ]  # fmt: skip
