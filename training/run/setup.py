"""A run: the folder that it lives in, and what was asked for, when it is begun and when it goes on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, cast

import torch

from dialogue import checkpoint
from dialogue.checkpoint import Checkpoint
from dialogue.command_line import check_writable
from dialogue.config import ModelConfig
from dialogue.models import ModelClass
from training import corpora
from training.data import word_vectors
from training.data.vocabulary import load_vocabulary
from training.data.vocabulary_transfer import transfer
from training.run.config import FitConfig
from training.run.log import read_rows
from training.run.trainer import check_abilities

WITHOUT = {
    "recognised": 0.0,
    "clean": False,
    "history_dropout": 0.1,
    "only_companion": False,
}  # how a run went that is older than these settings
PLACEHOLDER_WORDS = 16  # of a model that is built for its checks alone

Asked = Mapping[str, Any]  # the command line; settings that were not given are absent


@dataclass(frozen=True)
class Run:
    """What is to be fitted, and where. sizes: of ModelConfig, without vocab_size. vocabulary: None where it is to be built."""

    out: Path
    config: FitConfig
    sizes: dict[str, Any]
    vocabulary: Path | None
    kind: ModelClass
    start_from: Checkpoint | None = None  # whose weights are the first ones
    before: Checkpoint | None = None  # the run's own, where it goes on


def wanted(asked: Asked) -> Run:
    """Settle what is to be done. Nothing is written.

    Raises ValueError on settings that are wrong or do not go together, and on a folder that cannot be written into.
    """
    names = tuple(asked["data"] or ())
    out = folder_of(asked)
    run = (
        _going_on(asked, out, names)
        if asked["resume"]
        else _begun(asked, out, names or tuple(corpora.default_names()))
    )
    check_settings(run.kind, _given(asked, ModelConfig))
    _check_before_reading(run)
    check_writable(out)
    return run


def _check_before_reading(run: Run) -> None:
    """Refuse, before the corpora are read, what would be refused when they are.

    Raises ValueError.
    """
    config = run.config
    sizes = ModelConfig(vocab_size=PLACEHOLDER_WORDS, **run.sizes)
    with torch.device("meta"):
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
    """Refuse settings that a model does not take, where its class says which it does. Raises ValueError that names both."""
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
    """Say where a run lives: where it was asked to, else by the names of its data."""
    names = asked["data"] or corpora.default_names()
    return asked["out"] or Path("runs") / "-".join(Path(name).name.split(".")[0] for name in names)


def remember(out: Path, before: Checkpoint, config: FitConfig) -> None:
    """Write down what was asked for anew, so that it holds for the next --resume, too."""
    training = {**before.training, "config": asdict(config)}
    checkpoint.save_settings(out / "checkpoint", replace(before, training=training))


def _begun(asked: Asked, out: Path, names: tuple[str, ...]) -> Run:
    if _holds_a_run(out):
        raise ValueError(
            f"{out} holds a run already; go on with it by --resume, or name another folder with --out"
        )
    config = FitConfig(data=names, **_given(asked, FitConfig))
    sizes, vocabulary, start_from = _given(asked, ModelConfig), asked["vocabulary"], None
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
            if name != "dropout" and sizes.get(name, size) != size:
                raise ValueError(
                    f"--start-from keeps the checkpoint's sizes; leave --{name} out ({size} there)"
                )
        sizes = kept | sizes
    return Run(out, config, sizes, vocabulary, _kind(asked, start_from), start_from=start_from)


def _going_on(asked: Asked, out: Path, names: tuple[str, ...]) -> Run:
    if asked["start_from"]:
        raise ValueError("--resume goes on with the run's own weights; leave --start-from out")
    if not _holds_a_run(out) and (out / "checkpoint").exists():
        raise ValueError(
            f"the run in {out} was stopped before its first state; begin it again, without --resume"
        )
    before = checkpoint.load(out / "checkpoint", model_name=asked["model"])
    if "config" not in before.training:
        raise ValueError(f"{out} holds a checkpoint, but no run of training.fit that could go on")
    if asked["vocabulary"]:
        raise ValueError("--resume keeps the vocabulary of the run; leave --vocabulary out")
    settings = WITHOUT | before.training["config"]
    settings["data"] = names or tuple(settings["data"])
    config = FitConfig(**settings | _given(asked, FitConfig))
    sizes = _sizes_of(before) | _given(asked, ModelConfig)
    return Run(
        out,
        config,
        sizes,
        out / "checkpoint" / checkpoint.VOCABULARY,
        _kind(asked, before),
        before=before,
    )


def _holds_a_run(out: Path) -> bool:
    """Tell whether there is anything to lose: a state, or a checkpoint that is more than a run's untrained beginning."""
    if (out / "state.safetensors").exists():
        return True
    try:
        training = checkpoint.load(out / "checkpoint").training
    except ValueError:  # written in part, or another's model
        return (out / "checkpoint" / checkpoint.WEIGHTS).exists()
    return "config" not in training or "progress" in training


def _given(asked: Asked, settings: type[FitConfig] | type[ModelConfig]) -> dict[str, Any]:
    return {
        setting.name: asked[setting.name]
        for setting in fields(settings)
        if setting.name != "data" and setting.name in asked
    }


def _sizes_of(model: Checkpoint) -> dict[str, Any]:
    sizes = asdict(model.config)
    del sizes["vocab_size"]
    return sizes


def _kind(asked: Asked, loaded: Checkpoint | None) -> ModelClass:
    """Settle the class: that of the checkpoint that the run comes from, else the one that was asked for."""
    if loaded is not None:
        return cast(ModelClass, type(loaded.model))
    return checkpoint.model_class(asked["model"] or checkpoint.DEFAULT_MODEL)


def _as_options(names: Iterable[str]) -> str:
    return ", ".join(f"--{name.replace('_', '-')}" for name in names)
