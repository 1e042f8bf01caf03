"""The settings of a training.fit run, which validate themselves, and its command line."""

from __future__ import annotations

import argparse
import math
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from dialogue.checkpoint import DEFAULT_MODEL, OUR_MODELS
from dialogue.config import ModelConfig
from dialogue.models import Objective
from dialogue.text_files import decoded
from training.run.scheduled_sampling import WAYS
from training.run.trainer import OPTIMIZERS

RECIPES = Path(__file__).parents[1] / "recipes"


@dataclass(frozen=True)
class FitConfig:
    """The settings of a run, saved beside its weights. Each field is a command-line option."""

    data: tuple[str, ...]
    batch_tokens: int = field(default=4000, metadata={"help": "tokens per step"})
    epochs: float = field(default=10.0, metadata={"help": "maximum number of passes over the data"})
    minutes: float | None = field(
        default=None, metadata={"help": "stop after this many minutes of training"}
    )
    learning_rate: float = field(
        default=1e-3, metadata={"help": "of the optimizer, after a short warm-up"}
    )
    schedule: str = field(
        default="plateau",
        metadata={
            "help": "plateau: halved when validation does not improve; "
            "cosine: to zero over --epochs or --minutes; constant"
        },
    )
    label_smoothing: float = field(
        default=0.0, metadata={"help": "weight of the mean loss over the whole vocabulary"}
    )
    unlikelihood: float = field(
        default=0.0,
        metadata={"help": "penalty on repeating a token within a turn (Welleck et al. 2020)"},
    )
    sampled_softmax: int | None = field(
        default=None,
        metadata={
            "help": "compute the softmax over a batch's targets and this many other tokens, drawn "
            "anew each time: faster if the vocabulary is large and the machine small "
            "(default: over the whole vocabulary)"
        },
    )
    validation_tokens: int | None = field(
        default=None,
        metadata={
            "help": "validate on this many tokens of the validation split (default: all of it)"
        },
    )
    teacher_forcing: tuple[float, float] = field(
        default=(1.0, 1.0),
        metadata={
            "help": "share of true words that the decoder reads, at the first and the last step, "
            "linear in between"
        },
    )
    teacher_forcing_by: str = field(
        default="argmax",
        metadata={
            "help": "the words it reads otherwise: its likeliest ones (argmax) or samples (sample)"
        },
    )
    optimizer: str = field(default="adam", metadata={"help": "adam, adamw or sgd"})
    bptt: int | None = field(
        default=None,
        metadata={
            "help": "for language-model: contiguous batches of this many tokens per row; the state "
            "is carried from batch to batch, gradients are not, and all conversations are one text "
            "(default: whole conversations in random order)"
        },
    )
    truncate: int = field(default=256, metadata={"help": "maximum number of tokens per turn"})
    recognised: float = field(
        default=0.5,
        metadata={
            "help": "share of conversations in which every other turn is read as a speech "
            "recogniser writes it; none with --bptt"
        },
    )
    history_dropout: float = field(
        default=0.1,
        metadata={
            "help": "share of turns learnt without history, as log p(reply | no history) needs"
        },
    )
    only_companion: bool = field(
        default=False,
        metadata={
            "help": "learn only the companion's turns if a corpus has one; just read the person's"
        },
    )
    clean: bool = field(
        default=True, metadata={"help": "remove private details, and learn nothing offensive"}
    )
    validations: float = field(default=2.0, metadata={"help": "validations per epoch"})
    sample_every: int | None = field(
        default=None,
        metadata={
            "help": "steps between samples of what it says (default: one at each validation)"
        },
    )
    precision: str = field(
        default="auto",
        metadata={"help": "fp32, bf16, or auto: bf16 if the device is fast in it"},
    )
    word_vectors: str | None = field(
        default=None,
        metadata={
            "help": "a text file of word2vec or GloVe vectors with as many numbers as --embedding"
        },
    )
    seed: int = field(default=0, metadata={"help": "random seed"})

    def __post_init__(self) -> None:
        # It is a list in JSON and on the command line.
        object.__setattr__(self, "teacher_forcing", tuple(self.teacher_forcing))
        for name, least in (
            ("batch_tokens", 1),
            ("truncate", 2),
            ("learning_rate", 1e-12),
            ("epochs", 1e-6),
            ("validations", 1e-6),
            ("sample_every", 1),
            ("sampled_softmax", 1),
            ("validation_tokens", 1),
        ):
            if getattr(self, name) is not None and not getattr(self, name) >= least:
                raise ValueError(
                    f"--{name.replace('_', '-')} is {getattr(self, name)}; "
                    f"it must be at least {least}"
                )
        for name in ("recognised", "history_dropout"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(
                    f"--{name.replace('_', '-')} is {getattr(self, name)}; "
                    "it must be a share from 0 to 1"
                )
        if not 0 <= self.label_smoothing < 1:
            raise ValueError(
                f"--label-smoothing is {self.label_smoothing}; it must be from 0 to below 1"
            )
        if not 0 <= self.unlikelihood < math.inf:
            raise ValueError(f"--unlikelihood is {self.unlikelihood}; it must be 0 or more")
        if (
            not all(0 <= share <= 1 for share in self.teacher_forcing)
            or len(self.teacher_forcing) != 2
        ):
            raise ValueError(
                f"--teacher-forcing is {' '.join(map(str, self.teacher_forcing))}; it must be two "
                "shares from 0 to 1: for the first and the last step"
            )
        for name, known in (("teacher_forcing_by", WAYS), ("optimizer", tuple(OPTIMIZERS))):
            if getattr(self, name) not in known:
                raise ValueError(
                    f"--{name.replace('_', '-')} is {getattr(self, name)!r}; "
                    f"it must be {' or '.join(known)}"
                )
        if self.bptt is not None:
            if not 1 <= self.bptt <= self.batch_tokens:
                raise ValueError(
                    f"--bptt is {self.bptt}; "
                    f"it must be from 1 to --batch-tokens, {self.batch_tokens}"
                )
            object.__setattr__(self, "recognised", 0.0)  # a text is read as it is written
        if not math.isfinite(self.epochs):
            raise ValueError(
                f"--epochs is {self.epochs}; it must be a number of passes over the data"
            )
        if self.minutes is not None and not self.minutes > 0:
            raise ValueError(f"--minutes is {self.minutes}; it must be above 0")
        if not 0 <= self.seed < 2**31:
            raise ValueError(f"--seed is {self.seed}; it must be from 0 to {2**31 - 1}")
        if self.schedule not in ("plateau", "cosine", "constant"):
            raise ValueError(
                f"--schedule is {self.schedule!r}; it must be plateau, cosine or constant"
            )
        if self.precision not in ("auto", "fp32", "bf16"):
            raise ValueError(f"--precision is {self.precision!r}; it must be auto, fp32 or bf16")

    @property
    def objective(self) -> Objective:
        """Return what is added to cross-entropy."""
        return Objective(self.label_smoothing, self.unlikelihood, self.sampled_softmax)


def ask(arguments: Sequence[str], *, stage: str | None = None) -> dict[str, Any]:
    """Parse the command line over the recipe it names, and the recipe's stage over its top part.

    Raises ValueError on an invalid recipe.
    """
    parser = options()
    asked = parser.parse_args(arguments)
    if asked.recipe is None:
        return vars(asked)
    written = read_recipe(asked.recipe)
    stages = {one.pop("name", None): one for one in written.pop("stage", [])}
    written |= stages.get(stage, {})
    for name, elsewhere in (("data", asked.data), ("vocabulary", asked.start_from or asked.resume)):
        if elsewhere:
            written.pop(name, None)
    known = {action.dest for action in parser._actions}
    unknown = sorted(set(written) - known)
    if unknown:
        raise ValueError(
            f"the recipe {asked.recipe} names {', '.join(unknown)}; "
            "training.fit has no such option (see --help)"
        )
    return vars(parser.parse_args([*as_arguments(written), *arguments]))


def recipes() -> list[str]:
    """List the recipes that come with the project."""
    return sorted(path.stem for path in RECIPES.glob("*.toml"))


def read_recipe(name: str) -> dict[str, Any]:
    """Read a recipe by name or path. Raises ValueError if it is missing or not TOML."""
    path = RECIPES / f"{name}.toml" if name in recipes() else Path(name)
    try:
        return tomllib.loads(decoded(path.read_bytes()))
    except OSError as error:
        raise ValueError(
            f"cannot read the recipe {path}: {error.strerror}; "
            f"name a file, or one of: {', '.join(recipes())}"
        ) from None
    except ValueError as error:
        raise ValueError(
            f"{path} is not a recipe: {error}; expected TOML, one option of training.fit per line"
        ) from None


def as_arguments(written: dict[str, Any]) -> list[str]:
    """Convert a recipe to command-line arguments: learning_rate = 1e-4 to --learning-rate 1e-4."""
    arguments = []
    for name, value in written.items():
        option = f"--{name.replace('_', '-')}"
        if isinstance(value, bool):
            arguments.append(option if value else f"--no-{option[2:]}")
        elif name == "data":
            arguments += [part for corpus in value for part in (option, str(corpus))]
        else:
            arguments += [option, *map(str, value if isinstance(value, list) else [value])]
    return arguments


def options() -> argparse.ArgumentParser:
    """Build the parser. Options not given are absent, so that --resume keeps their values."""
    parser = argparse.ArgumentParser(
        prog="python -m training.fit", description="Fit a model to conversations."
    )
    add = parser.add_argument
    add(
        "--data",
        action="append",
        metavar="NAME|PATH",
        help="a corpus, any number of times "
        "(default: movie_triples if data/ has it, else chitchat)",
    )
    add(
        "--vocabulary",
        type=Path,
        metavar="FILE|dict",
        help="a vocabulary from training.build_vocabulary; or dict, or such a file: MovieTriples' "
        "own word list, with its ids (default: built from the training split)",
    )
    add(
        "--recipe",
        metavar="NAME|FILE",
        help=f"a TOML file of options, or one of: {', '.join(recipes())}",
    )
    add(
        "--stage",
        metavar="NAME",
        help="for a recipe in stages: start with this one, from the weights of --start-from",
    )
    add(
        "--out",
        type=Path,
        metavar="DIR",
        help="the run's folder (default: runs/NAME, named after the data)",
    )
    add(
        "--start-from",
        type=Path,
        metavar="CHECKPOINT",
        help="start from the weights of a checkpoint's folder; its sizes are kept, and its "
        "vocabulary unless --vocabulary names another",
    )
    add(
        "--model",
        metavar="NAME|MODULE:CLASS",
        help=f"the model to fit: {', '.join(OUR_MODELS)}, or a class of your own "
        f"(default: {DEFAULT_MODEL})",
    )
    add(
        "--resume",
        action="store_true",
        help="continue the run in --out; options that are not given again stay as they were",
    )
    add(
        "--skip-bad-lines",
        action="store_true",
        help="skip and count lines that are not conversations",
    )
    add(
        "--no-cache",
        action="store_true",
        help="tokenise the corpora again, and store nothing in runs/.cache",
    )
    add("--device", help="cuda, mps or cpu (default: the best available)")
    kinds = {
        "int": int,
        "str": str,
        "float": float,
        "int | None": int,
        "float | None": float,
        "str | None": str,
    }
    for setting in (*fields(FitConfig)[1:], *fields(ModelConfig)[1:]):
        name, default = f"--{setting.name.replace('_', '-')}", setting.default
        words = setting.metadata["help"]
        if isinstance(default, bool):
            add(
                name,
                action=argparse.BooleanOptionalAction,
                default=argparse.SUPPRESS,
                help=f"{words} (default: {default})",
            )
        elif isinstance(default, tuple):
            shown = " ".join(map(str, default))
            metavar = ("START", "END")
            add(
                name,
                type=float,
                nargs=2,
                metavar=metavar,
                default=argparse.SUPPRESS,
                help=f"{words} (default: {shown})",
            )
        else:
            add(
                name,
                type=kinds[str(setting.type)],
                default=argparse.SUPPRESS,
                help=f"{words} (default: {default})",
            )
    return parser
