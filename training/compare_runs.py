"""python -m training.compare_runs RUN...: runs of training.fit side by side, as a table and curves.

If a run's folder has the figures of `python -m training.evaluate --checkpoint RUN/checkpoint --json
RUN/figures.json`, the table includes them.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from safetensors import SafetensorError, safe_open

from dialogue.atomic_file import replace_file
from dialogue.checkpoint import CONFIG, WEIGHTS
from dialogue.command_line import check_writable_file, command
from dialogue.config import ModelConfig
from dialogue.text_files import decoded, read_text
from training.report import plots
from training.run import manifest
from training.run.config import FitConfig
from training.run.log import read_rows
from training.run.setup import WITHOUT

ABSENT = "–"
EVALUATION = "figures.json"
EVALUATED = (
    "perplexity_per_word_all", "perplexity_per_word_u3", "perplexity_per_word_from_u4",
    "word_error_rate", "distinct_2", "repeated_2gram", "repeated_3gram", "hits_at_1_of_20",
    "replies",
)  # fmt: skip


@dataclass(frozen=True)
class RunLog:
    """A run as its folder describes it.

    settings: of model and fitting. rows: its validations, at least one. manifest: run.json.
    figures: of training.evaluate; empty if it was not evaluated.
    """

    settings: dict[str, Any]
    parameters: int
    vocabulary: str
    rows: list[dict[str, Any]]
    manifest: dict[str, Any]
    figures: dict[str, Any]

    @property
    def best(self) -> dict[str, Any]:
        """Return the validation with the lowest perplexity."""
        return min(self.rows, key=lambda row: float(row["perplexity"]))


def read_run(folder: Path) -> RunLog:
    """Read a run's folder. Raises ValueError if it is not one, or has no validation yet."""
    config, log = folder / "checkpoint" / CONFIG, folder / "log.jsonl"
    for path in (config, log, folder / "checkpoint" / WEIGHTS):
        if not path.is_file():
            raise ValueError(
                f"{folder} is not a run of training.fit that has been validated: "
                f"it lacks {path.relative_to(folder)}"
            )
    try:
        written = json.loads(decoded(config.read_bytes()))
        rows = read_rows(log)
        settings = _defaults() | written["model"] | written["training"]["config"]
        complete = [
            {"step", "tokens", "seconds", "epoch", "perplexity", "accuracy"} <= row.keys()
            for row in rows
        ]
        with safe_open(folder / "checkpoint" / WEIGHTS, framework="pt") as weights:
            parameters = sum(
                math.prod(weights.get_slice(name).get_shape())
                for name in weights.keys()  # noqa: SIM118
            )
    except (ValueError, KeyError, TypeError, AttributeError, OSError, SafetensorError) as error:
        raise ValueError(
            f"{folder} is not a run of training.fit: {type(error).__name__}: {error}"
        ) from None
    if not rows or not all(complete):
        raise ValueError(
            f"{folder} is not a run of training.fit: {log.name} has {len(rows)} lines, "
            f"{sum(complete)} of them validations"
        )
    settings["data"] = ", ".join(settings["data"])
    vocabulary = str(written.get("vocabulary_sha256", ""))[:8]
    return RunLog(
        settings, parameters, vocabulary, rows, manifest.read(folder), _figures(folder / EVALUATION)
    )


def _figures(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    try:
        found = json.loads(read_text(path))
    except (ValueError, OSError) as error:
        raise ValueError(
            f"cannot read {path}: {error}; write it with python -m training.evaluate --json"
        ) from None
    if not isinstance(found, dict):
        raise ValueError(
            f"{path} holds no figures; write it with python -m training.evaluate --json"
        )
    return found


def _defaults() -> dict[str, Any]:
    """Return settings for runs older than a setting: today's default, or what WITHOUT says."""
    every = [*fields(ModelConfig), *fields(FitConfig)]
    return {
        setting.name: setting.default for setting in every if setting.default is not MISSING
    } | WITHOUT


FACTS: dict[str, Callable[[RunLog], str]] = {
    "model": lambda run: str(run.manifest.get("model", ABSENT)).rpartition(":")[2],
    "data": lambda run: str(run.settings["data"]),
    "data sha256": lambda run: (run.manifest.get("data_sha256") or {}).get("train", ABSENT)[:8],
    "vocabulary": lambda run: f"{run.settings['vocab_size']:,} tokens, {run.vocabulary}",
    "parameters": lambda run: f"{run.parameters:,}",
}
COURSE: dict[str, Callable[[RunLog], str]] = {
    "steps": lambda run: f"{run.rows[-1]['step']:,}",
    "million tokens": lambda run: f"{run.rows[-1]['tokens'] / 1e6:.2f}",
    "minutes": lambda run: f"{run.rows[-1]['seconds'] / 60:.1f}",
    "tokens/s": lambda run: f"{run.rows[-1]['tokens'] / max(run.rows[-1]['seconds'], 1e-9):,.0f}",
    "device": lambda run: (
        f"{run.manifest['ranks']} x {run.manifest['device']}" if run.manifest else ABSENT
    ),
    "commit": lambda run: ((run.manifest.get("code") or {}).get("commit") or ABSENT)[:8],
    "best at step": lambda run: f"{run.best['step']:,}",
    "best validation perplexity": lambda run: f"{run.best['perplexity']:.2f}",
    "token accuracy there": lambda run: f"{run.best['accuracy']:.3f}",
}


def side_by_side(runs: dict[str, RunLog]) -> Table:
    """Lay runs out as columns: their data, the settings that differ, and how they went."""
    table = Table("", *runs)
    for name, fact in FACTS.items():
        table.add_row(name, *map(fact, runs.values()))
    table.add_section()
    for name in sorted(
        {name for run in runs.values() for name in run.settings} - {"data", "vocab_size"}
    ):
        found = [run.settings.get(name, ABSENT) for run in runs.values()]
        values = [
            " ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
            for value in found
        ]
        if len(set(values)) > 1:
            table.add_row(name, *values)
    table.add_section()
    for name, fact in COURSE.items():
        table.add_row(name, *map(fact, runs.values()))
    table.add_section()
    for name in EVALUATED:
        if any(name in run.figures for run in runs.values()):
            table.add_row(
                name,
                *(
                    f"{run.figures[name]:,.4g}" if name in run.figures else ABSENT
                    for run in runs.values()
                ),
            )
    return table


def names_of(folders: Sequence[Path]) -> list[str]:
    """Name runs by their folders, or by their paths if two folders have the same name."""
    short = [folder.resolve().name for folder in folders]
    return short if len(set(short)) == len(short) else [str(folder) for folder in folders]


@command
def main(arguments: list[str] | None = None) -> int:
    """Compare runs from the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m training.compare_runs",
        description="Compare runs of training.fit side by side.",
    )
    parser.add_argument(
        "runs", nargs="+", type=Path, metavar="RUN", help="a folder that training.fit has written"
    )
    parser.add_argument(
        "--png",
        type=Path,
        metavar="FILE",
        help="draw validation perplexity over tokens and minutes into FILE",
    )
    options = parser.parse_args(arguments)
    if options.png:
        check_writable_file(options.png, option="--png")
    # A folder named twice counts once.
    folders = list({folder.resolve(): folder for folder in options.runs}.values())
    runs = {name: read_run(folder) for name, folder in zip(names_of(folders), folders, strict=True)}
    if options.png:
        drawn = plots.curves({name: run.rows for name, run in runs.items()})
        replace_file(options.png, lambda path: path.write_bytes(drawn))
    console = Console()
    console.print(side_by_side(runs))
    if len({run.vocabulary for run in runs.values()}) > 1:
        console.print(
            "The vocabularies differ, so per-token perplexities cannot be compared; "
            "training.evaluate reports them per word."
        )
    if len({run.settings["data"] for run in runs.values()}) > 1:
        console.print(
            "The corpora differ, and so do the validation splits; "
            "training.evaluate can measure all runs on the same split."
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
