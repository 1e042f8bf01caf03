"""A checkpoint is one folder: model.safetensors, config.json, vocabulary.model. Loading checks that they belong together."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from dialogue.config import ModelConfig
from dialogue.models.hred import HRED
from dialogue.vocabulary import Vocabulary

WEIGHTS, CONFIG, VOCABULARY = "model.safetensors", "config.json", "vocabulary.model"
PRETRAINED = Path(__file__).parent / "pretrained"


@dataclass(frozen=True)
class Checkpoint:
    """A model that is ready to talk, and what it was made from."""

    model: HRED
    vocabulary: Vocabulary
    config: ModelConfig
    training: dict[str, Any]  # how it was trained, as training.fit wrote it down


def save(folder: Path, checkpoint: Checkpoint, *, dtype: torch.dtype = torch.float16) -> None:
    """Write a checkpoint; each file is replaced atomically, the weights last. dtype: of the weights on disk."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = {name: tensor.detach().to("cpu", dtype).contiguous() for name, tensor in checkpoint.model.state_dict().items()}
    replace_file(folder / VOCABULARY, lambda path: path.write_bytes(checkpoint.vocabulary.serialised))
    save_settings(folder, checkpoint)
    replace_file(folder / WEIGHTS, lambda path: save_file(weights, path))


def save_settings(folder: Path, checkpoint: Checkpoint) -> None:
    """Write the configuration of a checkpoint alone, replacing it atomically."""
    settings = {
        "model": asdict(checkpoint.config),
        "vocabulary_sha256": checkpoint.vocabulary.sha256,
        "training": checkpoint.training,
    }
    replace_file(folder / CONFIG, lambda path: path.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8"))


def load(folder: str | Path, *, device: torch.device | None = None) -> Checkpoint:
    """Read a checkpoint in float32, in evaluation mode.

    Raises ValueError that names the file where one is missing, unreadable, or does not belong to the others.
    """
    folder = Path(folder)
    for name in (WEIGHTS, CONFIG, VOCABULARY):
        if not (folder / name).is_file():
            raise ValueError(f"{folder} is no checkpoint: it lacks {name}; python -m training.fit writes one")
    try:
        settings = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        config = ModelConfig.from_dict(settings["model"])
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{folder / CONFIG} is no configuration of this project: {error}") from None
    vocabulary = Vocabulary.load(folder / VOCABULARY)
    if vocabulary.sha256 != settings.get("vocabulary_sha256") or len(vocabulary) != config.vocab_size:
        raise ValueError(
            f"{folder}: the vocabulary ({len(vocabulary)} pieces) is not the one that the model was trained with "
            f"({config.vocab_size} pieces); take both files from the same checkpoint"
        )
    with torch.device("meta"):  # sizes are compared before any memory is taken
        model = HRED.from_config(config, bos_id=vocabulary.bos_id)
    _load_weights(model, folder / WEIGHTS)
    return Checkpoint(model.eval().to(device or torch.device("cpu")), vocabulary, config, settings.get("training", {}))


def _load_weights(model: HRED, path: Path) -> None:
    try:
        weights = load_file(path)
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path} is not a readable safetensors file: {error}") from None
    expected = model.state_dict()
    for name in sorted(expected.keys() ^ weights.keys()):
        raise ValueError(f"{path}: the tensor {name} is {'missing' if name in expected else 'unknown to this model'}")
    for name, tensor in weights.items():
        if tensor.shape != expected[name].shape:
            raise ValueError(f"{path}: {name} has the shape {tuple(tensor.shape)}; config.json says {tuple(expected[name].shape)}")
    model.load_state_dict({name: tensor.float() for name, tensor in weights.items()}, assign=True)


def replace_file(path: Path, write: Callable[[Path], object]) -> None:
    """Write a file beside `path`, flush it to disk, then put it in its place: readers see the old one or the new one."""
    partial = path.with_name(path.name + ".partial")
    write(partial)
    partial.chmod(0o644)  # safetensors writes for its owner alone
    with partial.open("rb+") as written:
        os.fsync(written.fileno())
    partial.replace(path)
