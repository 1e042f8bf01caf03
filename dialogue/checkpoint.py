"""A checkpoint is one folder: model.safetensors, config.json and vocabulary.model.

Loading checks that they belong together. config.json names the model's class. Importing a class
runs its module's code, so a file may name only the classes of this project; any other class must
also be named by the caller.
"""

from __future__ import annotations

import hashlib
import importlib
import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load as read_tensors
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import init
from torch.overrides import TorchFunctionMode

from dialogue import learned_ranker, nearest, stock_replies
from dialogue.atomic_file import replace_file
from dialogue.config import ModelConfig
from dialogue.learned_ranker import LearnedRanker
from dialogue.models import ModelClass, ModelModule
from dialogue.models.history import empty_history, history_vectors
from dialogue.recall import Recall
from dialogue.stock_replies import StockReplies, token_vectors
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
DEFAULT_MODEL = "hred"  # also the model of old checkpoints, which name none
MODEL_CALLS = ("from_config", "encode_turn", "start", "step", "log_likelihood")


@dataclass(frozen=True)
class Checkpoint:
    """A model that is ready to talk, and everything that belongs to it."""

    model: ModelModule[Any]
    vocabulary: Vocabulary
    config: ModelConfig
    training: dict[str, Any]  # how it was trained, as training.fit recorded it
    recall: Recall = field(default_factory=lambda: Recall(()))  # its remembered replies
    ranker: LearnedRanker | None = None  # a ranker that was fitted to its replies
    stock: StockReplies | None = None


def save(folder: Path, checkpoint: Checkpoint, *, dtype: torch.dtype = torch.float16) -> None:
    """Write a checkpoint; each file is replaced atomically, the weights last.

    dtype: the type of the weights on disk.
    """
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
    """Write only a checkpoint's configuration, replacing it atomically."""
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
    folder: str | Path,
    *,
    device: torch.device | None = None,
    model_name: str | None = None,
    with_ranker: bool = True,
    with_recall: bool = True,
    with_stock: bool = True,
) -> Checkpoint:
    """Load a checkpoint in float32 and evaluation mode.

    model_name: the model as `model_class` takes it; needed if it is not one of this project's.
    with_ranker, with_recall, with_stock: False does not read the ranker, remembered replies or
    stock replies, which may be invalid if they are about to be replaced.
    Raises ValueError naming the file if one is missing, unreadable, or does not belong to the
    others.
    """
    folder = Path(folder)
    for name in (WEIGHTS, CONFIG, VOCABULARY):
        if not (folder / name).is_file():
            raise ValueError(
                f"{folder} is not a checkpoint: it lacks {name}; python -m training.fit writes one"
            )
    try:
        settings = json.loads(decoded((folder / CONFIG).read_bytes()))
        config = ModelConfig.from_dict(settings["model"])
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{folder / CONFIG} is not a configuration of this project: {error}"
        ) from None
    vocabulary = Vocabulary.load(folder / VOCABULARY)
    if (
        vocabulary.sha256 != settings.get("vocabulary_sha256")
        or len(vocabulary) != config.vocab_size
    ):
        raise ValueError(
            f"{folder}: the vocabulary ({len(vocabulary)} pieces) is not the one that the model "
            f"was trained with ({config.vocab_size} pieces); "
            "take both files from the same checkpoint"
        )
    kind = model_class(
        _agreed_name(settings.get("class", OUR_MODELS[DEFAULT_MODEL]), model_name, folder / CONFIG)
    )
    # so that the sizes are compared before any memory is allocated
    with torch.device("meta"), _Uninitialised():
        model = kind.from_config(config, bos_id=vocabulary.bos_id)
    _load_weights(model, folder / WEIGHTS)
    try:
        model = model.eval().to(device or torch.device("cpu"))
    except NotImplementedError:  # a tensor that the file did not hold is still on "meta"
        raise ValueError(
            f"{type(model).__name__} has tensors that are not in its state_dict; "
            "make them persistent buffers"
        ) from None
    placed = next(model.parameters()).device
    ranker = learned_ranker.load(folder, vocabulary, placed) if with_ranker else None
    recall = Recall.load(folder) if with_recall else Recall(())
    found = Checkpoint(model, vocabulary, config, settings.get("training", {}), recall, ranker)
    histories = folder / nearest.FILE
    with_recall = with_recall and histories.exists()
    with_stock = with_stock and (folder / stock_replies.FILE).exists()
    vector = history_vectors(empty_history(model))
    if vector is None or not (with_recall or with_stock):
        return found
    # The fingerprint reads all weights, so it is computed only if needed.
    weights, size = fingerprint(found), vector.shape[1]
    if with_recall:
        found.recall.nearest = nearest.load(
            histories, model=weights, count=len(found.recall), size=size
        )
    if with_stock:
        stock = stock_replies.load(
            folder, model=weights, vectors=token_vectors(model), history=size
        )
        return replace(found, stock=stock)
    return found


def digest(folder: str | Path) -> str:
    """Return a hexadecimal digest of all files in a checkpoint's folder.

    The folder need not be a valid checkpoint.
    """
    made = hashlib.blake2b(digest_size=16)
    for path in sorted(Path(folder).glob("*")):
        if path.is_file():
            made.update(f"{path.name} {path.stat().st_size}\n".encode())
            with path.open("rb") as file:
                made.update(hashlib.file_digest(file, "blake2b").digest())
    return made.hexdigest()


def fingerprint(source: Checkpoint) -> str:
    """Return a hexadecimal digest of a model's class, sizes, weights and vocabulary.

    The meaning of a history depends on each of them.
    """
    kind = type(source.model)
    name = f"{kind.__module__}:{kind.__qualname__} {asdict(source.config)}"
    digest = hashlib.blake2b(name.encode(), digest_size=16)
    digest.update(source.vocabulary.sha256.encode())
    for tensor in source.model.state_dict().values():
        flat = tensor.detach().cpu().contiguous().flatten()
        digest.update(memoryview(flat.view(torch.uint8).numpy()))
    return digest.hexdigest()


def model_class(name: str) -> ModelClass:
    """Import the class named in OUR_MODELS, or as "package.module:Class".

    Raises ValueError if there is no such model.
    """
    name = OUR_MODELS.get(name, name)
    module, colon, class_name = name.partition(":")
    if not (module and colon and class_name):
        raise ValueError(
            f"the model {name!r} is none of {', '.join(OUR_MODELS)}, "
            "and not named as package.module:Class"
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
            f"{name} is not a model: it lacks {', '.join(lacking)}; "
            "docs/your_own_model.md builds one"
        )
    return cast(ModelClass, found)


class _Uninitialised(TorchFunctionMode):
    """Skips torch.nn.init, which on "meta" would import torch's compiler (57 MB)."""

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Call a torch function, unless it initialises a tensor."""
        given = kwargs or {}
        if getattr(func, "__module__", "") == init.__name__:
            return args[0] if args else given["tensor"]
        return func(*args, **given)


def _agreed_name(found: object, asked: str | None, path: Path) -> str:
    """Return the class to import: the file's, if it is one of ours or the caller names it too."""
    if not isinstance(found, str):
        raise ValueError(f"{path} is not a configuration of this project: its class is {found!r}")
    if asked is not None:
        asked = OUR_MODELS.get(asked, asked)
    elif found not in OUR_MODELS.values():
        raise ValueError(
            f"{path} names the model {found}, which is not one of this project's; "
            f"loading it runs its code: if you trust it, name it yourself with --model {found}"
        )
    if asked not in (None, found):
        raise ValueError(f"{path} names the model {found}, not {asked}")
    return found


def _load_weights(model: ModelModule[Any], path: Path) -> None:
    try:
        # not mapped into memory: a file truncated meanwhile would crash the process
        weights = read_tensors(path.read_bytes())
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path} is not a readable safetensors file: {error}") from None
    expected = model.state_dict()
    for name in sorted(expected.keys() ^ weights.keys()):
        fault = "missing" if name in expected else "unknown to this model"
        raise ValueError(f"{path}: the tensor {name} is {fault}")
    for name, tensor in weights.items():
        if tensor.shape != expected[name].shape:
            raise ValueError(
                f"{path}: {name} has the shape {tuple(tensor.shape)}; "
                f"config.json says {tuple(expected[name].shape)}"
            )
        if tensor.is_floating_point() != expected[name].is_floating_point():
            raise ValueError(
                f"{path}: {name} holds {tensor.dtype} where {expected[name].dtype} is expected; "
                "convert it back"
            )
        if tensor.is_floating_point() and not bool(tensor.float().isfinite().all()):
            raise ValueError(
                f"{path}: {name} holds NaN or infinity; take an earlier checkpoint of its run"
            )
    model.load_state_dict(
        {name: _converted(tensor, torch.float32) for name, tensor in weights.items()}, assign=True
    )


def _converted(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """Return a copy, in the given type if it is a floating-point tensor.

    It is always a copy, because safetensors refuses tied weights that share memory.
    """
    return tensor.to(dtype if tensor.is_floating_point() else tensor.dtype, copy=True).contiguous()
