"""The saved state of a run: one safetensors file, replaced atomically."""

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
    """How far a run has come.

    epoch and batch: the position in the data. seconds: of training, over all resumes.
    """

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
    """Save weights, optimiser state, the carried state and the progress in one file.

    data: the sha256 of each part of the run's data. Raises ValueError if a weight is not finite or
    the file cannot be written; the previous state stays.
    """
    optimiser = trainer.optimiser
    tensors = {} if trainer.carried is None else {"carried": trainer.carried.cpu()}
    # Keys carry the parameters' names, so that a state survives a change of their order.
    for name, parameter in trainer.model.named_parameters():
        tensors[f"weights.{name}"] = weights = parameter.detach().cpu()
        if not weights.isfinite().all():
            raise ValueError(
                f"{name} is not finite at step {progress.step}; lower --learning-rate and --resume"
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
    """Load what save_state wrote into a trainer and its model; return the progress.

    Raises ValueError if the file is missing or belongs to a model of other sizes, another optimiser
    or other data. Data that either side does not name is taken to be the same (older states name
    none).
    """
    model, optimiser = trainer.model, trainer.optimiser
    try:
        with safe_open(path, framework="pt") as file, torch.no_grad():
            progress = Progress(**json.loads(file.metadata()["progress"]))
            _check_same_data(json.loads(file.metadata().get("data", "{}")), data, path)
            kept = file.metadata().get("optimizer", "Adam")  # the only one in older versions
            if kept != type(optimiser).__name__:
                raise ValueError(
                    f"it was fitted with {kept} and cannot continue with "
                    f"{type(optimiser).__name__}; leave --optimizer out"
                )
            parameters = dict(model.named_parameters())
            for name, parameter in parameters.items():
                stored = file.get_tensor(f"weights.{name}")
                if stored.shape != parameter.shape:
                    raise ValueError(
                        f"{name} has the shape {tuple(stored.shape)} in the file and "
                        f"{tuple(parameter.shape)} with these options"
                    )
                if not (stored.is_floating_point() and bool(stored.isfinite().all())):
                    raise ValueError(f"{name} is not finite in the file; it is damaged")
                parameter.copy_(stored)
            for stored_as in file.keys():  # noqa: SIM118 (safe_open is no dict)
                kind, _, kept_as = stored_as.partition(".")
                if kind == "carried":
                    trainer.carried = file.get_tensor(stored_as)
                elif kind != "weights":  # "optimizer", or "adam" in states of older versions
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
                f"the {part} has changed (sha256 {before[part][:12]}... then, "
                f"{now[part][:12]}... now), so the position in it is meaningless; restore it, or "
                f"start afresh: --start-from {path.parent / 'checkpoint'} --out ANOTHER_FOLDER"
            )
