"""The state of a run between two processes: one safetensors file, replaced atomically."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from dialogue.checkpoint import replace_file
from dialogue.models import ModelModule


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


def save_state(path: Path, model: ModelModule[Any], optimiser: torch.optim.Optimizer, progress: Progress) -> None:
    """Write weights, what the optimiser keeps of each and the progress into one file."""
    tensors = {}
    for name, parameter in model.named_parameters():
        tensors[f"weights.{name}"] = parameter.detach().cpu()
        for key, value in optimiser.state.get(parameter, {}).items():
            if isinstance(value, torch.Tensor):
                tensors[f"optimizer.{key}.{name}"] = value.detach().cpu()
    metadata = {"progress": json.dumps(asdict(progress)), "optimizer": type(optimiser).__name__}
    replace_file(path, lambda partial: save_file(tensors, partial, metadata=metadata))


def load_state(path: Path, model: ModelModule[Any], optimiser: torch.optim.Optimizer) -> Progress:
    """Read what save_state wrote into a model and its optimiser.

    Raises ValueError where there is no such file, or where it belongs to a model of other sizes or to another optimiser.
    """
    try:
        with safe_open(path, framework="pt") as file, torch.no_grad():
            progress = Progress(**json.loads(file.metadata()["progress"]))
            kept = file.metadata().get("optimizer", "Adam")  # there was no other
            if kept != type(optimiser).__name__:
                raise ValueError(f"it was fitted by {kept} and cannot go on by {type(optimiser).__name__}; leave --optimizer out")
            parameters = dict(model.named_parameters())
            for name, parameter in parameters.items():
                stored = file.get_tensor(f"weights.{name}")
                if stored.shape != parameter.shape:
                    raise ValueError(
                        f"{name} has the shape {tuple(stored.shape)} there and {tuple(parameter.shape)} in these options"
                    )
                parameter.copy_(stored)
            for stored_as in file.keys():  # noqa: SIM118 (safe_open is no dict)
                kind, _, kept_as = stored_as.partition(".")
                if kind != "weights":  # "optimizer", or "adam" in older states
                    key, _, name = kept_as.partition(".")
                    parameter = parameters[name]
                    optimiser.state[parameter][key] = file.get_tensor(stored_as).to(parameter.device)
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"cannot resume from {path}: {error}") from None
    return progress
