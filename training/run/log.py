"""What a run shows of itself: figures beside the progress bar, a line a validation, curves, samples of what it says."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, TextIO, cast

import torch
from tqdm import tqdm

from dialogue.agent import DialogueAgent
from dialogue.atomic_file import replace_file
from dialogue.checkpoint import Checkpoint
from dialogue.conversation import Conversation
from dialogue.generate import generate
from dialogue.models import ReadsOn
from dialogue.text_files import read_text
from training.run import manifest
from training.run.state import Progress
from training.run.trainer import StepMetrics

SAMPLE_TOKENS, SAMPLE_TEMPERATURE = 200, 0.8
OPENINGS = ("hi", "how are you?", "what's your favorite movie?", "do you like music?")


def means(figures: list[StepMetrics], step: int) -> tuple[float, float, float]:
    """Give the mean loss, gradient norm and accuracy of the steps up to this one.

    Raises ValueError where one of them had no number for its loss or norm: its weights are none either, or soon will be.
    """
    loss, norm, accuracy = (
        torch.stack(values).float().mean().item() for values in zip(*figures, strict=True)
    )
    if not (math.isfinite(loss) and math.isfinite(norm)):
        raise ValueError(
            f"the loss is {loss} at step {step} and the gradient's norm {norm}, as means of {len(figures)} steps; lower "
            "--learning-rate; --resume goes on from the last state, whose weights are sound"
        )
    return loss, norm, accuracy


def beside_the_bar(figures: list[StepMetrics], progress: Progress) -> str:
    """Word the last steps' figures. Raises ValueError where they are no numbers."""
    loss, norm, accuracy = means(figures, progress.step)
    rate = progress.tokens / max(progress.seconds, 1e-9)
    return f"{rate:,.0f} tokens/s, loss {loss:.3f}, norm {norm:.2f}, accuracy {accuracy:.3f}"


@contextmanager
def showing(*, shown: bool) -> Iterator[None]:
    """Let nothing that is printed end a run: not a full disk, nor a reader or a terminal that has gone.

    shown: whether standard output is printed at all; of several processes one speaks.
    """
    out, err = (cast(TextIO, _Lasting(stream)) for stream in (sys.stdout, sys.stderr))
    with redirect_stdout(out if shown else None), redirect_stderr(err):
        yield


class _Lasting:
    """A stream to which one can always write: what it does not take is lost, and nothing else is."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with suppress(OSError, ValueError):  # a closed stream is a ValueError
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OSError, ValueError):
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def harmless(what: str) -> Iterator[None]:
    """Let a block that shows something fail without ending the run, which has saved by then."""
    try:
        yield
    except Exception as error:
        tqdm.write(f"{what} cannot be shown: {type(error).__name__}: {error}")


def write_down(
    out: Path, *, progress: Progress, loss: float, perplexity: float, accuracy: float
) -> None:
    """Append a validation to log.jsonl, and bring run.json up to date."""
    row = {**asdict(progress), "loss": loss, "perplexity": perplexity, "accuracy": accuracy}
    log = out / "log.jsonl"
    rows = (log.read_bytes() if log.exists() else b"") + json.dumps(row).encode() + b"\n"
    replace_file(
        log, lambda path: path.write_bytes(rows)
    )  # no half row, even where the disk is full
    manifest.bring_up_to_date(out, progress)


def show_validation(out: Path) -> None:
    """Print the last validation of log.jsonl, and draw the curves anew.

    Nothing that fails here ends the run.
    """
    with harmless("the validation"):
        row = read_rows(out / "log.jsonl")[-1]
        tqdm.write(
            f"step {row['step']:,}, {row['seconds'] / 60:.1f} min: training loss {row['loss']:.3f}, validation perplexity "
            f"{row['perplexity']:.2f} a token, accuracy {row['accuracy']:.3f}{'' if row['bad_validations'] else ' (best)'}"
        )
    with harmless("loss.png"):
        draw_curves(out)


def read_rows(log: Path) -> list[dict[str, Any]]:
    """Read the validations of a log.jsonl. A last line without an end, which a run may be writing, is left out.

    Raises ValueError that names the file and the line where one is no validation.
    """
    found = []
    for number, line in enumerate(read_text(log).splitlines(keepends=True), start=1):
        if not line.endswith("\n"):
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            row = None
        if not isinstance(row, dict) or not isinstance(row.get("step"), int):
            raise ValueError(
                f"{log}, line {number}: no validation as training.fit writes one; take the line out"
            )
        found.append(row)
    return found


def forget_rows_after(step: int, out: Path) -> None:
    """Drop the validations of log.jsonl that a run, killed before it saved its state, will take again."""
    log = out / "log.jsonl"
    if log.exists():
        kept = "".join(json.dumps(row) + "\n" for row in read_rows(log) if row["step"] <= step)
        replace_file(log, lambda path: path.write_text(kept, encoding="utf-8"))


def show_sample(model: Checkpoint) -> None:
    """Print what a model says now: a text, where it is a model of texts, else replies to a few openings."""
    model.model.eval()
    with harmless("a sample"):
        if isinstance(model.model, ReadsOn):
            lines = generate(model, "", length=SAMPLE_TOKENS, temperature=SAMPLE_TEMPERATURE).split(
                "\n"
            )
        else:
            replies = DialogueAgent(model).answer([Conversation()] * len(OPENINGS), OPENINGS)
            lines = [
                f"{opening}  ->  {reply.text}"
                for opening, reply in zip(OPENINGS, replies, strict=True)
            ]
        tqdm.write("\n".join(f"    {line}" for line in lines))
    model.model.train()


def draw_curves(out: Path) -> None:
    """Draw perplexity a token over the steps, in training and validation, into loss.png."""
    from matplotlib.figure import Figure  # takes a second to import, and only here

    rows = read_rows(out / "log.jsonl")
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    steps = [row["step"] for row in rows]
    axes.plot(
        steps,
        [math.exp(min(row["loss"], 20)) for row in rows],
        "o-",
        label="training (with dropout)",
    )
    axes.plot(steps, [row["perplexity"] for row in rows], "o-", label="validation")
    axes.set(xlabel="step", ylabel="perplexity a token", yscale="log")
    for axis in (axes.yaxis.set_major_formatter, axes.yaxis.set_minor_formatter):
        axis(lambda value, _: f"{value:g}")  # 40, not 4 x 10^1
    axes.legend()
    axes.grid(alpha=0.3, which="both")
    replace_file(out / "loss.png", lambda path: figure.savefig(path, format="png", dpi=120))
