"""The state of a run between two processes: one safetensors file, replaced atomically."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from dialogue.atomic_file import replace_file
from training.run.trainer import Trainer

NO_DATA: Mapping[str, str] = MappingProxyType({})


@dataclass
class Progress:
    """How far a run has come. epoch and batch: the place in the data; seconds: of training, over all its processes."""

    step: int = 0
    epoch: int = 0
    batch: int = 0
    tokens: int = 0
    seconds: float = 0.0
    halvings: int = 0
    bad_validations: int = 0
    best_perplexity: float = float("inf")


def save_state(
    path: Path, trainer: Trainer, progress: Progress, *, data: Mapping[str, str] = NO_DATA
) -> None:
    """Write weights, what the optimiser keeps of each, the state that is carried on and the progress into one file.

    data: what the run learns from, each part with its sha256.
    Raises ValueError where a weight is no number, or the file cannot be written: the one before it stays.
    """
    optimiser = trainer.optimiser
    tensors = {} if trainer.carried is None else {"carried": trainer.carried.cpu()}
    for name, parameter in trainer.model.named_parameters():
        tensors[f"weights.{name}"] = weights = parameter.detach().cpu()
        if not weights.isfinite().all():
            raise ValueError(
                f"{name} holds what is no number at step {progress.step}; lower --learning-rate, and --resume"
            )
        for key, value in optimiser.state.get(parameter, {}).items():
            if isinstance(value, torch.Tensor):
                tensors[f"optimizer.{key}.{name}"] = value.detach().cpu()
    metadata = {
        "progress": json.dumps(asdict(progress)),
        "optimizer": type(optimiser).__name__,
        "data": json.dumps(dict(data)),
    }
    replace_file(path, lambda partial: save_file(tensors, partial, metadata=metadata))


def load_state(path: Path, trainer: Trainer, *, data: Mapping[str, str] = NO_DATA) -> Progress:
    """Read what save_state wrote into a trainer, whose model computes with it from then on.

    Raises ValueError where there is no such file, or where it belongs to a model of other sizes, to another optimiser or to
    other data. What either side does not name (older states name none) is taken to be the same.
    """
    model, optimiser = trainer.model, trainer.optimiser
    try:
        with safe_open(path, framework="pt") as file, torch.no_grad():
            progress = Progress(**json.loads(file.metadata()["progress"]))
            _check_same_data(json.loads(file.metadata().get("data", "{}")), data, path)
            kept = file.metadata().get("optimizer", "Adam")  # there was no other
            if kept != type(optimiser).__name__:
                raise ValueError(
                    f"it was fitted by {kept} and cannot go on by {type(optimiser).__name__}; leave --optimizer out"
                )
            parameters = dict(model.named_parameters())
            for name, parameter in parameters.items():
                stored = file.get_tensor(f"weights.{name}")
                if stored.shape != parameter.shape:
                    raise ValueError(
                        f"{name} has the shape {tuple(stored.shape)} there and {tuple(parameter.shape)} in these options"
                    )
                if not (stored.is_floating_point() and bool(stored.isfinite().all())):
                    raise ValueError(f"{name} holds what is no number there; the file is broken")
                parameter.copy_(stored)
            for stored_as in file.keys():  # noqa: SIM118 (safe_open is no dict)
                kind, _, kept_as = stored_as.partition(".")
                if kind == "carried":
                    trainer.carried = file.get_tensor(stored_as)
                elif kind != "weights":  # "optimizer", or "adam" in older states
                    key, _, name = kept_as.partition(".")
                    parameter = parameters[name]
                    optimiser.state[parameter][key] = file.get_tensor(stored_as).to(
                        parameter.device
                    )
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"cannot resume from {path}: {error}") from None
    trainer.refresh()
    return progress


def _check_same_data(before: Mapping[str, str], now: Mapping[str, str], path: Path) -> None:
    for part in before.keys() & now.keys():
        if before[part] != now[part]:
            raise ValueError(
                f"the {part} is not what it was (sha256 {before[part][:12]}... then, {now[part][:12]}... now), so the place in it "
                f"means nothing; put it back, or begin anew: --start-from {path.parent / 'checkpoint'} --out ANOTHER_FOLDER"
            )
