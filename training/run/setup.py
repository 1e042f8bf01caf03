"""Set a run up: its folder, and its settings when it starts and when it resumes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, cast

import torch

from dialogue import checkpoint
from dialogue.checkpoint import Checkpoint
from dialogue.command_line import check_writable
from dialogue.config import ModelConfig, given
from dialogue.models import ModelClass
from training import corpora
from training.data import word_vectors
from training.data.vocabulary import load_vocabulary
from training.data.vocabulary_transfer import transfer
from training.run.config import FitConfig
from training.run.log import read_rows
from training.run.trainer import check_abilities

# How runs behaved before these settings existed.
WITHOUT = {
    "recognised": 0.0,
    "clean": False,
    "history_dropout": 0.1,
    "only_companion": False,
}
PLACEHOLDER_WORDS = 16  # vocabulary size of a model built only to be checked

Asked = Mapping[str, Any]  # the command line; settings that were not given are absent


@dataclass(frozen=True)
class Run:
    """What to fit, and where.

    sizes: ModelConfig without vocab_size. vocabulary: None if it is still to be built.
    """

    out: Path
    config: FitConfig
    sizes: dict[str, Any]
    vocabulary: Path | None
    kind: ModelClass
    start_from: Checkpoint | None = None  # provides the initial weights
    before: Checkpoint | None = None  # the run's own, if it resumes


def wanted(asked: Asked) -> Run:
    """Decide what to do, without writing anything.

    Raises ValueError on settings that are wrong or contradict each other, and on a folder that is
    not writable.
    """
    names = tuple(asked["data"] or ())
    out = folder_of(asked)
    run = (
        _going_on(asked, out, names)
        if asked["resume"]
        else _begun(asked, out, names or tuple(corpora.default_names()))
    )
    check_settings(run.kind, given(asked, ModelConfig))
    _check_before_reading(run)
    check_writable(out)
    return run


def _check_before_reading(run: Run) -> None:
    """Check what would otherwise fail only after reading the corpora.

    Raises ValueError.
    """
    config = run.config
    sizes = ModelConfig(vocab_size=PLACEHOLDER_WORDS, **run.sizes)
    with torch.device("meta"):  # builds the model without allocating its weights
        model = run.kind.from_config(sizes, bos_id=0)
    own_words = config.teacher_forcing != (1, 1)
    check_abilities(
        model, objective=config.objective, own_words=own_words, carries=config.bptt is not None
    )
    if config.word_vectors and run.before is None:
        word_vectors.check(Path(config.word_vectors), sizes.embedding)
    if run.before is not None and (run.out / "log.jsonl").exists():
        read_rows(run.out / "log.jsonl")


def check_settings(kind: ModelClass, given: Iterable[str]) -> None:
    """Raise ValueError on settings that a model does not take, if its class says which it does."""
    taken = getattr(kind, "SETTINGS", None)
    if taken is None:
        return
    unknown = [name for name in given if name not in taken]
    if unknown:
        name = getattr(kind, "__name__", kind)
        raise ValueError(
            f"{name} has no {_as_options(unknown)}; it takes {_as_options(sorted(taken))}"
        )


def folder_of(asked: Asked) -> Path:
    """Return a run's folder: the one asked for, else one named after its data."""
    names = asked["data"] or corpora.default_names()
    return asked["out"] or Path("runs") / "-".join(Path(name).name.split(".")[0] for name in names)


def remember(out: Path, before: Checkpoint, config: FitConfig) -> None:
    """Save the settings, so that the next --resume uses the new ones too."""
    training = {**before.training, "config": asdict(config)}
    checkpoint.save_settings(out / "checkpoint", replace(before, training=training))


def _begun(asked: Asked, out: Path, names: tuple[str, ...]) -> Run:
    if _holds_a_run(out):
        raise ValueError(
            f"{out} already holds a run; continue it with --resume, "
            "or choose another folder with --out"
        )
    config = FitConfig(data=names, **given(asked, FitConfig))
    sizes, vocabulary, start_from = given(asked, ModelConfig), asked["vocabulary"], None
    if asked["start_from"]:
        if config.word_vectors:
            raise ValueError(
                "--start-from keeps the embedding of the checkpoint; leave --word-vectors out"
            )
        start_from = checkpoint.load(asked["start_from"], model_name=asked["model"])
        if vocabulary:
            start_from = transfer(start_from, load_vocabulary(vocabulary, names))
        else:
            vocabulary = asked["start_from"] / checkpoint.VOCABULARY
        kept = _sizes_of(start_from)
        for name, size in kept.items():
            # Dropout is the one size that the shapes of the weights do not depend on.
            if name != "dropout" and sizes.get(name, size) != size:
                raise ValueError(
                    f"--start-from keeps the checkpoint's sizes; leave --{name} out (it is {size})"
                )
        sizes = kept | sizes
    return Run(out, config, sizes, vocabulary, _kind(asked, start_from), start_from=start_from)


def _going_on(asked: Asked, out: Path, names: tuple[str, ...]) -> Run:
    if asked["start_from"]:
        raise ValueError("--resume keeps the run's own weights; leave --start-from out")
    if not _holds_a_run(out) and (out / "checkpoint").exists():
        raise ValueError(
            f"the run in {out} stopped before it saved a state; start it again without --resume"
        )
    before = checkpoint.load(out / "checkpoint", model_name=asked["model"])
    if "config" not in before.training:
        raise ValueError(f"{out} holds a checkpoint, but no run of training.fit to resume")
    if asked["vocabulary"]:
        raise ValueError("--resume keeps the vocabulary of the run; leave --vocabulary out")
    # In order of precedence: settings of older versions, the run's own, the command line's.
    settings = WITHOUT | before.training["config"]
    settings["data"] = names or tuple(settings["data"])
    config = FitConfig(**settings | given(asked, FitConfig))
    sizes = _sizes_of(before) | given(asked, ModelConfig)
    return Run(
        out,
        config,
        sizes,
        out / "checkpoint" / checkpoint.VOCABULARY,
        _kind(asked, before),
        before=before,
    )


def _holds_a_run(out: Path) -> bool:
    """Return whether there is anything to lose: a state, or a checkpoint that has been trained."""
    if (out / "state.safetensors").exists():
        return True
    try:
        training = checkpoint.load(out / "checkpoint").training
    except ValueError:  # partly written, or an unknown model
        return (out / "checkpoint" / checkpoint.WEIGHTS).exists()
    return "config" not in training or "progress" in training


def _sizes_of(model: Checkpoint) -> dict[str, Any]:
    sizes = asdict(model.config)
    del sizes["vocab_size"]
    return sizes


def _kind(asked: Asked, loaded: Checkpoint | None) -> ModelClass:
    """Return the model class: that of the checkpoint the run continues, else the one asked for."""
    if loaded is not None:
        return cast(ModelClass, type(loaded.model))
    return checkpoint.model_class(asked["model"] or checkpoint.DEFAULT_MODEL)


def _as_options(names: Iterable[str]) -> str:
    return ", ".join(f"--{name.replace('_', '-')}" for name in names)
