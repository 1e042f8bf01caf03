"""Cache tokenised corpora, so that a run can start at once: one safetensors file per preparation.

The file name is a sha256 of everything its content depends on: the corpora's files, the vocabulary,
the settings, and the code and lists that read, clean and encode. A change to any of them never
finds an old file. The cache lies beside the runs because it holds the text of conversations:
whoever deletes the runs deletes it too.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from dialogue.atomic_file import replace_file
from dialogue.vocabulary import Vocabulary
from training.data.batches import Encoded, Utterance

FOLDER = Path("runs/.cache")
KEPT = 8  # files; the least recently used one goes first
# These files include all code that reads, cleans and encodes. The tests follow the imports of
# training.run.dataset to make sure.
CODE = (
    "training/__init__.py",
    "training/corpora/*",
    "training/data/*",
    "training/run/*",
    "dialogue/*",
    "dialogue/safety/*",
)
ROOT = Path(__file__).parents[2]
T = TypeVar("T")


@dataclass(frozen=True)
class Tokenised:
    """A run's corpora after preparation. said: the lines to print about it."""

    vocabulary: Vocabulary
    splits: Mapping[str, Encoded]
    sha256: Mapping[str, str]  # of the conversations of each split, as they were read
    said: tuple[str, ...]


def key_of(files: Iterable[Path], settings: Mapping[str, Any]) -> str:
    """Return the cache key of a preparation. settings: everything else it depends on, as JSON.

    Raises ValueError if a file cannot be read.
    """
    whole = hashlib.sha256(
        json.dumps(
            [settings, version("sentencepiece"), version("safetensors")], sort_keys=True
        ).encode()
    )
    code = sorted(
        path for pattern in CODE for path in ROOT.glob(pattern) if path.suffix in (".py", ".toml")
    )
    for path in (*files, *code):
        try:
            with path.open("rb") as file:
                content = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise ValueError(f"cannot read {path}: {error.strerror}") from None
        # Without the full path, so that a moved checkout or corpus keeps its cache.
        whole.update(json.dumps([path.parent.name, path.name, content]).encode())
    return whole.hexdigest()


def load(folder: Path, key: str) -> Tokenised | None:
    """Load what `save` wrote under this key; None if there is nothing, or the file is damaged."""
    path = folder / f"{key}.safetensors"
    try:
        with safe_open(path, framework="pt") as file:
            about = json.loads(file.metadata()["about"])
            if about["key"] != key:  # somebody renamed the file
                return None
            found = Tokenised(
                Vocabulary(bytes(file.get_tensor("vocabulary").tolist())),
                {split: _encoded(file, split, cut) for split, cut in about["truncated"].items()},
                about["sha256"],
                tuple(about["said"]),
            )
        os.utime(path)  # mark it as recently used
        return found
    except (SafetensorError, OSError, LookupError, TypeError, ValueError):
        return None


def save(folder: Path, key: str, tokenised: Tokenised) -> None:
    """Write a cache file atomically, and delete the least recently used beyond KEPT.

    Raises OSError if the file cannot be written; nothing is left behind.
    """
    tensors = {"vocabulary": torch.tensor(list(tokenised.vocabulary.serialised), dtype=torch.uint8)}
    for split, encoded in tokenised.splits.items():
        tensors |= {f"{split}.{name}": tensor for name, tensor in _tensors(encoded).items()}
    about = {
        "key": key,
        "truncated": {split: encoded.truncated for split, encoded in tokenised.splits.items()},
        "sha256": dict(tokenised.sha256),
        "said": tokenised.said,
    }
    folder.mkdir(parents=True, exist_ok=True)
    replace_file(
        folder / f"{key}.safetensors",
        lambda path: save_file(tensors, path, metadata={"about": json.dumps(about)}),
    )
    with suppress(OSError):  # another run may have deleted it already
        for path in sorted(folder.glob("*.safetensors"), key=lambda path: path.stat().st_mtime)[
            :-KEPT
        ]:
            path.unlink()


def _tensors(encoded: Encoded) -> dict[str, Tensor]:
    """Flatten conversations into tensors.

    turns and times are (conversations,); lengths, heard_lengths and taught are (utterances,). ids
    and heard_ids hold all tokens in a row. heard_lengths is -1 if the recogniser's version is
    unknown.
    """
    utterances = [utterance for conversation in encoded.conversations for utterance in conversation]
    heard = [utterance.heard for utterance in utterances]
    return {
        "turns": torch.tensor(
            [len(conversation) for conversation in encoded.conversations], dtype=torch.int32
        ),
        "times": torch.tensor(encoded.times, dtype=torch.int32),
        "lengths": torch.tensor([len(utterance) for utterance in utterances], dtype=torch.int32),
        "heard_lengths": torch.tensor(
            [-1 if ids is None else len(ids) for ids in heard], dtype=torch.int32
        ),
        "taught": torch.tensor([utterance.taught for utterance in utterances], dtype=torch.bool),
        "ids": torch.tensor(
            [token for utterance in utterances for token in utterance], dtype=torch.int32
        ),
        "heard_ids": torch.tensor(
            [token for ids in heard if ids is not None for token in ids], dtype=torch.int32
        ),
    }


def _encoded(file: Any, split: str, truncated: int) -> Encoded:
    names = ("turns", "times", "lengths", "heard_lengths", "taught", "ids", "heard_ids")
    turns, times, lengths, heard_lengths, taught, ids, heard_ids = (
        file.get_tensor(f"{split}.{name}").tolist() for name in names
    )
    heard = _cut(heard_ids, [max(0, length) for length in heard_lengths])
    utterances = [
        Utterance(written, heard=None if length < 0 else spoken, taught=learnt)
        for written, spoken, length, learnt in zip(
            _cut(ids, lengths), heard, heard_lengths, taught, strict=True
        )
    ]
    return Encoded(_cut(utterances, turns), truncated, len(utterances), times)


def _cut(flat: list[T], lengths: list[int]) -> list[list[T]]:
    """Cut a list into pieces of these lengths. Raises ValueError if they do not add up."""
    if sum(lengths) != len(flat):
        raise ValueError(f"lengths add up to {sum(lengths)}, not {len(flat)}")
    return [flat[start:end] for start, end in pairwise(accumulate(lengths, initial=0))]
