"""What a run of training.fit is asked for: its settings, which check themselves, and the command line that gives them."""

from __future__ import annotations

import argparse
import math
from dataclasses import dataclass, field, fields
from pathlib import Path

from dialogue.config import ModelConfig


@dataclass(frozen=True)
class FitConfig:
    """What a run was asked for; it stands beside the weights. Each field is an option of the command line."""

    data: tuple[str, ...]
    batch_tokens: int = field(default=4000, metadata={"help": "tokens a step"})
    epochs: float = field(default=10.0, metadata={"help": "passes over the data, at most"})
    minutes: float | None = field(default=None, metadata={"help": "stop after so many minutes of training"})
    learning_rate: float = field(default=1e-3, metadata={"help": "of Adam"})
    schedule: str = field(
        default="plateau", metadata={"help": "plateau: halved when validation gains nothing; cosine: to zero over --epochs"}
    )
    truncate: int = field(default=256, metadata={"help": "tokens of a turn, at most"})
    recognised: float = field(
        default=0.5, metadata={"help": "share of conversations whose every other turn is read as a speech recogniser writes it"}
    )
    clean: bool = field(default=True, metadata={"help": "leave private details out, and learn nothing offensive"})
    validations: float = field(default=2.0, metadata={"help": "how many an epoch"})
    precision: str = field(default="auto", metadata={"help": "fp32, bf16, or auto: bf16 where the device is fast in it"})
    seed: int = field(default=0, metadata={"help": "of everything random"})

    def __post_init__(self) -> None:
        for name, least in (
            ("batch_tokens", 1),
            ("truncate", 2),
            ("learning_rate", 1e-12),
            ("epochs", 1e-6),
            ("validations", 1e-6),
        ):
            if not getattr(self, name) >= least:
                raise ValueError(f"--{name.replace('_', '-')} is {getattr(self, name)}; it must be at least {least}")
        if not 0 <= self.recognised <= 1:
            raise ValueError(f"--recognised is {self.recognised}; it is a share, from 0 to 1")
        if not math.isfinite(self.epochs):
            raise ValueError(f"--epochs is {self.epochs}; it must be a number of passes over the data")
        if self.minutes is not None and not self.minutes > 0:
            raise ValueError(f"--minutes is {self.minutes}; it must be above 0")
        if not 0 <= self.seed < 2**31:
            raise ValueError(f"--seed is {self.seed}; it must be from 0 to {2**31 - 1}")
        if self.schedule not in ("plateau", "cosine"):
            raise ValueError(f"--schedule is {self.schedule!r}; it is plateau or cosine")
        if self.precision not in ("auto", "fp32", "bf16"):
            raise ValueError(f"--precision is {self.precision!r}; it is auto, fp32 or bf16")


def options() -> argparse.ArgumentParser:
    """Describe the command line. What is not given is absent, so that --resume can tell it from a wish."""
    parser = argparse.ArgumentParser(prog="python -m training.fit", description="Fit a model to conversations.")
    add = parser.add_argument
    add(
        "--data",
        action="append",
        metavar="NAME|PATH",
        help="a corpus, any number of times (default: movie_triples if data/ has it, else chitchat)",
    )
    add(
        "--vocabulary",
        type=Path,
        metavar="FILE",
        help="a vocabulary of training.build_vocabulary (default: built from the training split)",
    )
    add("--out", type=Path, metavar="DIR", help="where the run lives (default: runs/NAME, by the names of the data)")
    add(
        "--start-from",
        type=Path,
        metavar="CHECKPOINT",
        help="begin with the weights of a checkpoint's folder, whose vocabulary and sizes are kept",
    )
    add("--model", metavar="MODULE:CLASS", help="the model's class, where it is not HRED: docs/your_own_model.md builds one")
    add("--resume", action="store_true", help="go on with the run in --out; options that are not given again stay as they were")
    add("--skip-bad-lines", action="store_true", help="leave out lines that are no conversation, and count them")
    add("--device", help="cuda, mps or cpu (default: the best there is)")
    kinds = {"int": int, "str": str, "float": float, "float | None": float}
    for setting in (*fields(FitConfig)[1:], *fields(ModelConfig)[1:]):
        name, default = f"--{setting.name.replace('_', '-')}", setting.default
        words = setting.metadata.get("help", "of the model")
        if isinstance(default, bool):
            add(name, action=argparse.BooleanOptionalAction, default=argparse.SUPPRESS, help=f"{words} (default: {default})")
        else:
            add(name, type=kinds[str(setting.type)], default=argparse.SUPPRESS, help=f"{words} (default: {default})")
    return parser
