"""A small corpus on disk, options of a small training.fit run on it, and how to read a run's
folder.
"""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from dialogue import checkpoint
from dialogue.vocabulary import Vocabulary
from training.corpora.transcript import Transcript, split_of
from training.run.state import Progress

SMALL = {"embedding": 8, "utterance": 8, "context": 8, "hidden": 8}


@pytest.fixture(scope="session")
def talk(
    tmp_path_factory: pytest.TempPathFactory,
    conversations: list[Transcript],
    word_vocabulary: Vocabulary,
) -> Path:
    """The twenty conversations as a corpus, some of them also in its validation split, and a
    vocabulary.
    """
    folder = tmp_path_factory.mktemp("talk")
    keys = {
        split: [str(n) for n in range(500) if split_of(str(n)) == split]
        for split in ("train", "validation")
    }
    lines = [
        {"id": key, "turns": c.turns} for key, c in zip(keys["train"], conversations, strict=False)
    ]
    lines += [
        {"id": key, "turns": c.turns[::-1]}
        for key, c in zip(keys["validation"], conversations[:5], strict=False)
    ]
    (folder / "talk.jsonl").write_text(
        "".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8"
    )
    (folder / "vocabulary.model").write_bytes(word_vocabulary.serialised)
    return folder


@pytest.fixture
def options(talk: Path, tmp_path: Path) -> list[str]:
    """A small run: 5 batches per epoch, 2 epochs, 4 validations. Its folder is the last option."""
    sizes = [f"--{name}={size}" for name, size in SMALL.items()]
    return [
        f"--data={talk / 'talk.jsonl'}", f"--vocabulary={talk / 'vocabulary.model'}", *sizes,
        "--batch-tokens=100", "--epochs=2",
        "--validations=2", "--learning-rate=0.05", "--precision=fp32", "--device=cpu",
        f"--out={tmp_path / 'run'}",
    ]  # fmt: skip


def options_of(options: list[str], *, data: str | Path) -> list[str]:
    """The same run on other data."""
    return [f"--data={data}", *(option for option in options if not option.startswith("--data="))]


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def is_whole(out: Path) -> None:
    """Check that nothing in a run's folder is incomplete: whatever can be loaded is loaded."""
    assert not list(out.rglob("*.partial"))
    assert all(
        torch.isfinite(weights).all()
        for weights in checkpoint.load(out / "checkpoint").model.state_dict().values()
    )
    assert all(
        torch.isfinite(tensor).all() for tensor in load_file(out / "state.safetensors").values()
    )
    steps = [row["step"] for row in log(out)] if (out / "log.jsonl").exists() else []
    assert steps == sorted(set(steps))


def log(out: Path) -> list[dict[str, Any]]:
    return [
        json.loads(line) for line in (out / "log.jsonl").read_text(encoding="utf-8").splitlines()
    ]


def figures(out: Path) -> dict[int, tuple[float, ...]]:
    """What a run measured at each validated step. A step validated twice has its last figures."""
    return {
        row["step"]: (row["loss"], row["perplexity"], row["accuracy"], row["best_perplexity"])
        for row in log(out)
    }


def progress_of(out: Path) -> Progress:
    with safe_open(out / "state.safetensors", framework="pt") as file:
        return Progress(**json.loads(file.metadata()["progress"]))


def close(found: dict[int, tuple[float, ...]], expected: dict[int, tuple[float, ...]]) -> None:
    assert found.keys() == expected.keys()
    for step in expected:
        assert found[step] == pytest.approx(expected[step], rel=1e-6), step


def same_weights(one: Path, other: Path) -> None:
    ours, theirs = load_file(one / "state.safetensors"), load_file(other / "state.safetensors")
    assert ours.keys() == theirs.keys()
    for name in ours:
        torch.testing.assert_close(ours[name], theirs[name], rtol=1e-5, atol=1e-7, msg=name)
