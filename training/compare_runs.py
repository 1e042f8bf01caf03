"""python -m training.compare_runs RUN...: runs of training.fit side by side, as a table and as curves.

Where a run's folder holds what `python -m training.evaluate --checkpoint RUN/checkpoint --json RUN/figures.json` has measured,
the table has it, too.
"""

from __future__ import annotations

import argparse
import json
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
    "perplexity_per_word_all", "perplexity_per_word_u3", "perplexity_per_word_from_u4", "word_error_rate", "distinct_2",
    "repeated_2gram", "repeated_3gram", "hits_at_1_of_20", "replies",
)  # fmt: skip


@dataclass(frozen=True)
class RunLog:
    """A run as its folder tells it. settings: of model and fitting; rows: its validations, one at least; manifest: run.json.

    figures: of training.evaluate; none where it was not evaluated.
    """

    settings: dict[str, Any]
    parameters: int
    vocabulary: str
    rows: list[dict[str, Any]]
    manifest: dict[str, Any]
    figures: dict[str, Any]

    @property
    def best(self) -> dict[str, Any]:
        """The validation with the lowest perplexity."""
        return min(self.rows, key=lambda row: float(row["perplexity"]))


def read_run(folder: Path) -> RunLog:
    """Read a run's folder. Raises ValueError where it is none, or was not validated yet."""
    config, log = folder / "checkpoint" / CONFIG, folder / "log.jsonl"
    for path in (config, log, folder / "checkpoint" / WEIGHTS):
        if not path.is_file():
            raise ValueError(
                f"{folder} is no run of training.fit that has been validated: it lacks {path.relative_to(folder)}"
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
                _product(weights.get_slice(name).get_shape())
                for name in weights.keys()  # noqa: SIM118
            )
    except (ValueError, KeyError, TypeError, AttributeError, OSError, SafetensorError) as error:
        raise ValueError(
            f"{folder} is no run of training.fit: {type(error).__name__}: {error}"
        ) from None
    if not rows or not all(complete):
        raise ValueError(
            f"{folder} is no run of training.fit: {log.name} has {len(rows)} lines, {sum(complete)} of them validations"
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
    """How a run went that is older than a setting: as today's default has it, but where WITHOUT knows better."""
    every = [*fields(ModelConfig), *fields(FitConfig)]
    return {
        setting.name: setting.default for setting in every if setting.default is not MISSING
    } | WITHOUT


def _product(shape: Sequence[int]) -> int:
    count = 1
    for size in shape:
        count *= size
    return count


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
    """Lay runs out by their names: what they learnt from, the settings that differ, and how it went."""
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
    """Name runs by their folders, or by whole paths where two folders are called the same."""
    short = [folder.resolve().name for folder in folders]
    return short if len(set(short)) == len(short) else [str(folder) for folder in folders]


@command
def main(arguments: list[str] | None = None) -> int:
    """Compare runs from the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m training.compare_runs", description="Runs of training.fit, side by side."
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
    folders = list(
        {folder.resolve(): folder for folder in options.runs}.values()
    )  # one named twice is one
    runs = {name: read_run(folder) for name, folder in zip(names_of(folders), folders, strict=True)}
    if options.png:
        drawn = plots.curves({name: run.rows for name, run in runs.items()})
        replace_file(options.png, lambda path: path.write_bytes(drawn))
    console = Console()
    console.print(side_by_side(runs))
    if len({run.vocabulary for run in runs.values()}) > 1:
        console.print(
            "The vocabularies differ, so the perplexities, a token each, do not compare; training.evaluate has them a word."
        )
    if len({run.settings["data"] for run in runs.values()}) > 1:
        console.print(
            "The corpora differ, and with them what was validated on; training.evaluate measures all on the same."
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
