"""A checkpoint is one folder: model.safetensors, config.json, vocabulary.model. Loading checks that they belong together.

config.json names the model's class. To import what a file names is to run whatever that is, so that only the classes of this
project are taken from there; any other has to be named by the caller as well.
"""

from __future__ import annotations

import importlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from dialogue import learned_ranker
from dialogue.atomic_file import replace_file
from dialogue.config import ModelConfig
from dialogue.learned_ranker import LearnedRanker
from dialogue.models import ModelClass, ModelModule
from dialogue.recall import Recall
from dialogue.text_files import decoded
from dialogue.vocabulary import Vocabulary

WEIGHTS, CONFIG, VOCABULARY = "model.safetensors", "config.json", "vocabulary.model"
PRETRAINED = Path(__file__).parent / "pretrained"
OUR_MODELS = {
    "hred": "dialogue.models.hred:HRED",
    "seq2seq": "dialogue.models.seq2seq:Seq2Seq",
    "language-model": "dialogue.models.language_model:LanguageModel",
    "transformer": "dialogue.models.transformer:Transformer",
}
DEFAULT_MODEL = "hred"  # also of checkpoints that name none: they are older than the choice
MODEL_CALLS = ("from_config", "encode_turn", "start", "step", "log_likelihood")


@dataclass(frozen=True)
class Checkpoint:
    """A model that is ready to talk, and what it was made from."""

    model: ModelModule[Any]
    vocabulary: Vocabulary
    config: ModelConfig
    training: dict[str, Any]  # how it was trained, as training.fit wrote it down
    recall: Recall = field(default_factory=lambda: Recall(()))  # replies that it remembers
    ranker: LearnedRanker | None = None  # that was fitted to what it says


def save(folder: Path, checkpoint: Checkpoint, *, dtype: torch.dtype = torch.float16) -> None:
    """Write a checkpoint; each file is replaced atomically, the weights last. dtype: of the weights on disk."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = {
        name: _converted(tensor.detach().cpu(), dtype)
        for name, tensor in checkpoint.model.state_dict().items()
    }
    replace_file(
        folder / VOCABULARY, lambda path: path.write_bytes(checkpoint.vocabulary.serialised)
    )
    save_settings(folder, checkpoint)
    replace_file(folder / WEIGHTS, lambda path: save_file(weights, path))


def save_settings(folder: Path, checkpoint: Checkpoint) -> None:
    """Write the configuration of a checkpoint alone, replacing it atomically."""
    kind = type(checkpoint.model)
    settings = {
        "class": f"{kind.__module__}:{kind.__qualname__}",
        "model": asdict(checkpoint.config),
        "vocabulary_sha256": checkpoint.vocabulary.sha256,
        "training": checkpoint.training,
    }
    replace_file(
        folder / CONFIG,
        lambda path: path.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8"),
    )


def load(
    folder: str | Path, *, device: torch.device | None = None, model_name: str | None = None
) -> Checkpoint:
    """Read a checkpoint in float32, in evaluation mode. model_name: needed where it is not of this project, as model_class has it.

    Raises ValueError that names the file where one is missing, unreadable, or does not belong to the others.
    """
    folder = Path(folder)
    for name in (WEIGHTS, CONFIG, VOCABULARY):
        if not (folder / name).is_file():
            raise ValueError(
                f"{folder} is no checkpoint: it lacks {name}; python -m training.fit writes one"
            )
    try:
        settings = json.loads(decoded((folder / CONFIG).read_bytes()))
        config = ModelConfig.from_dict(settings["model"])
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{folder / CONFIG} is no configuration of this project: {error}"
        ) from None
    vocabulary = Vocabulary.load(folder / VOCABULARY)
    if (
        vocabulary.sha256 != settings.get("vocabulary_sha256")
        or len(vocabulary) != config.vocab_size
    ):
        raise ValueError(
            f"{folder}: the vocabulary ({len(vocabulary)} pieces) is not the one that the model was trained with "
            f"({config.vocab_size} pieces); take both files from the same checkpoint"
        )
    kind = model_class(
        _agreed_name(settings.get("class", OUR_MODELS[DEFAULT_MODEL]), model_name, folder / CONFIG)
    )
    with torch.device("meta"):  # sizes are compared before any memory is taken
        model = kind.from_config(config, bos_id=vocabulary.bos_id)
    _load_weights(model, folder / WEIGHTS)
    try:
        model = model.eval().to(device or torch.device("cpu"))
    except NotImplementedError:  # what the file did not hold still has no memory
        raise ValueError(
            f"{type(model).__name__} has tensors that are not in its state_dict; make them persistent buffers"
        ) from None
    ranker = learned_ranker.load(folder, vocabulary, next(model.parameters()).device)
    return Checkpoint(
        model, vocabulary, config, settings.get("training", {}), Recall.load(folder), ranker
    )


def model_class(name: str) -> ModelClass:
    """Import the class that one of OUR_MODELS or "package.module:Class" names.

    Raises ValueError where there is no model of that name.
    """
    name = OUR_MODELS.get(name, name)
    module, colon, class_name = name.partition(":")
    if not (module and colon and class_name):
        raise ValueError(
            f"the model {name!r} is none of {', '.join(OUR_MODELS)}, and not named as package.module:Class"
        )
    try:
        found = getattr(importlib.import_module(module), class_name)
    except (ImportError, AttributeError) as error:
        raise ValueError(
            f"there is no model {name}: {error}; its module must be importable from here"
        ) from None
    lacking = [call for call in MODEL_CALLS if not callable(getattr(found, call, None))]
    if lacking:
        raise ValueError(
            f"{name} is no model: it lacks {', '.join(lacking)}; docs/your_own_model.md builds one"
        )
    return cast(ModelClass, found)


def _agreed_name(found: object, asked: str | None, path: Path) -> str:
    """Settle which class to import: what the file names, where it is ours or the caller names it, too."""
    if not isinstance(found, str):
        raise ValueError(f"{path} is no configuration of this project: its class is {found!r}")
    if asked is not None:
        asked = OUR_MODELS.get(asked, asked)
    elif found not in OUR_MODELS.values():
        raise ValueError(
            f"{path} names the model {found}, which is not of this project; to load it is to run its code: "
            f"if you trust it, name it yourself by --model {found}"
        )
    if asked not in (None, found):
        raise ValueError(f"{path} names the model {found}, not {asked}")
    return found


def _load_weights(model: ModelModule[Any], path: Path) -> None:
    try:
        weights = load_file(path)
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path} is not a readable safetensors file: {error}") from None
    expected = model.state_dict()
    for name in sorted(expected.keys() ^ weights.keys()):
        raise ValueError(
            f"{path}: the tensor {name} is {'missing' if name in expected else 'unknown to this model'}"
        )
    for name, tensor in weights.items():
        if tensor.shape != expected[name].shape:
            raise ValueError(
                f"{path}: {name} has the shape {tuple(tensor.shape)}; config.json says {tuple(expected[name].shape)}"
            )
        if tensor.is_floating_point() != expected[name].is_floating_point():
            raise ValueError(
                f"{path}: {name} holds {tensor.dtype} where {expected[name].dtype} is expected; convert it back"
            )
        if tensor.is_floating_point() and not bool(tensor.float().isfinite().all()):
            raise ValueError(
                f"{path}: {name} holds what is no number (NaN or infinity); take an earlier checkpoint of its run"
            )
    model.load_state_dict(
        {name: _converted(tensor, torch.float32) for name, tensor in weights.items()}, assign=True
    )


def _converted(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """Give a copy of its own, in that precision where it is a number with a point: tied weights may not share memory on disk."""
    return tensor.to(dtype if tensor.is_floating_point() else tensor.dtype, copy=True).contiguous()
