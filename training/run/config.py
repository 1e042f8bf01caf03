"""The settings of a training.fit run, which validate themselves, and its command line."""

from __future__ import annotations

import argparse
import math
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dialogue.checkpoint import DEFAULT_MODEL, OUR_MODELS
from dialogue.config import ModelConfig, add_settings, setting
from dialogue.models import Objective
from dialogue.text_files import decoded
from training.run.scheduled_sampling import WAYS
from training.run.trainer import OPTIMIZERS

SCHEDULES = ("plateau", "cosine", "constant")
PRECISIONS = ("auto", "fp32", "bf16")
RECIPES = Path(__file__).parents[1] / "recipes"


@dataclass(frozen=True)
class FitConfig:
    """The settings of a run, saved beside its weights. Each field is a command-line option."""

    data: tuple[str, ...]
    batch_tokens: int = setting(4000, "tokens per step")
    epochs: float = setting(10.0, "maximum number of passes over the data")
    minutes: float | None = setting(None, "stop after this many minutes of training")
    learning_rate: float = setting(1e-3, "of the optimizer, after a short warm-up")
    schedule: str = setting(
        "plateau",
        "plateau: halved when validation does not improve; "
        "cosine: to zero over --epochs or --minutes; constant",
    )
    label_smoothing: float = setting(0.0, "weight of the mean loss over the whole vocabulary")
    unlikelihood: float = setting(
        0.0, "penalty on repeating a token within a turn (Welleck et al. 2020)"
    )
    sampled_softmax: int | None = setting(
        None,
        "compute the softmax over a batch's targets and this many other tokens, drawn "
        "anew each time: faster if the vocabulary is large and the machine small "
        "(default: over the whole vocabulary)",
    )
    teacher: str | None = setting(
        None,
        "the folder of a larger model's checkpoint, whose probabilities are learnt beside the true "
        "words (Hinton et al. 2015); it must have the same vocabulary",
    )
    distilled: float = setting(0.5, "share of the loss that --teacher gives")
    validation_tokens: int | None = setting(
        None, "validate on this many tokens of the validation split (default: all of it)"
    )
    teacher_forcing: tuple[float, float] = setting(
        (1.0, 1.0),
        "share of true words that the decoder reads, at the first and the last step, "
        "linear in between",
        metavar=("START", "END"),
    )
    teacher_forcing_by: str = setting(
        "argmax", "the words it reads otherwise: its likeliest ones (argmax) or samples (sample)"
    )
    optimizer: str = setting("adam", "adam, adamw or sgd")
    bptt: int | None = setting(
        None,
        "for language-model: contiguous batches of this many tokens per row; the state "
        "is carried from batch to batch, gradients are not, and all conversations are one text "
        "(default: whole conversations in random order)",
    )
    truncate: int = setting(256, "maximum number of tokens per turn")
    recognised: float = setting(
        0.5,
        "share of conversations in which every other turn is read as a speech "
        "recogniser writes it; none with --bptt",
    )
    history_dropout: float = setting(
        0.1, "share of turns learnt without history, as log p(reply | no history) needs"
    )
    only_companion: bool = setting(
        False, "learn only the companion's turns if a corpus has one; just read the person's"
    )
    clean: bool = setting(True, "remove private details, and learn nothing offensive")
    validations: float = setting(2.0, "validations per epoch")
    sample_every: int | None = setting(
        None, "steps between samples of what it says (default: one at each validation)"
    )
    precision: str = setting("auto", "fp32, bf16, or auto: bf16 if the device is fast in it")
    word_vectors: str | None = setting(
        None, "a text file of word2vec or GloVe vectors with as many numbers as --embedding"
    )
    seed: int = setting(0, "random seed")

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
        for name in ("recognised", "history_dropout", "distilled"):
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
        if self.bptt is not None:
            if not 1 <= self.bptt <= self.batch_tokens:
                raise ValueError(
                    f"--bptt is {self.bptt}; "
                    f"it must be from 1 to --batch-tokens, {self.batch_tokens}"
                )
            object.__setattr__(self, "recognised", 0.0)  # a text is read as it is written
        if self.teacher is not None and self.sampled_softmax is not None:
            raise ValueError(
                "a teacher's probabilities are of the whole vocabulary; "
                "leave --sampled-softmax or --teacher out"
            )
        if not math.isfinite(self.epochs):
            raise ValueError(
                f"--epochs is {self.epochs}; it must be a number of passes over the data"
            )
        if self.minutes is not None and not self.minutes > 0:
            raise ValueError(f"--minutes is {self.minutes}; it must be above 0")
        if not 0 <= self.seed < 2**31:
            raise ValueError(f"--seed is {self.seed}; it must be from 0 to {2**31 - 1}")
        self._check_words()

    def _check_words(self) -> None:
        """Raise ValueError if a setting that takes one of a few words has another."""
        for name, known in (
            ("teacher_forcing_by", WAYS),
            ("optimizer", tuple(OPTIMIZERS)),
            ("schedule", SCHEDULES),
            ("precision", PRECISIONS),
        ):
            if getattr(self, name) not in known:
                *others, last = known
                raise ValueError(
                    f"--{name.replace('_', '-')} is {getattr(self, name)!r}; "
                    f"it must be {', '.join(others)} or {last}"
                )

    @property
    def objective(self) -> Objective:
        """Return what is added to cross-entropy."""
        return Objective(
            self.label_smoothing,
            self.unlikelihood,
            self.sampled_softmax,
            0.0 if self.teacher is None else self.distilled,
        )


def ask(arguments: Sequence[str], *, stage: str | None = None) -> dict[str, Any]:
    """Parse the command line over the recipe it names, and a stage over the recipe's top level.

    Raises ValueError on an invalid recipe.
    """
    parser = options()
    asked = parser.parse_args(arguments)
    if asked.recipe is None:
        return vars(asked)
    written = read_recipe(asked.recipe)
    stages = {one.pop("name", None): one for one in written.pop("stage", [])}
    written |= stages.get(stage, {})
    written.pop("teaches", None)  # it concerns the stages after this one
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
    _add_beginning(parser)
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
    for config in (FitConfig, ModelConfig):
        add_settings(parser, config)
    return parser


def _add_beginning(parser: argparse.ArgumentParser) -> None:
    """Add the options that say which model a run begins with, or resumes."""
    add = parser.add_argument
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
