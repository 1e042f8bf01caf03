"""What a run shows: figures on the progress bar, a line per validation, curves and samples."""

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
    """Return the mean loss, gradient norm and accuracy of the steps up to this one.

    Raises ValueError if a loss or norm is not finite: then the weights are not either, or soon will
    not be.
    """
    loss, norm, accuracy = (
        torch.stack(values).float().mean().item() for values in zip(*figures, strict=True)
    )
    if not (math.isfinite(loss) and math.isfinite(norm)):
        raise ValueError(
            f"at step {step} the loss is {loss} and the gradient's norm {norm}, averaged over "
            f"{len(figures)} steps; lower --learning-rate and --resume: the last state is sound"
        )
    return loss, norm, accuracy


def beside_the_bar(figures: list[StepMetrics], progress: Progress) -> str:
    """Format the last steps' figures. Raises ValueError if they are not finite."""
    loss, norm, accuracy = means(figures, progress.step)
    rate = progress.tokens / max(progress.seconds, 1e-9)
    return f"{rate:,.0f} tokens/s, loss {loss:.3f}, norm {norm:.2f}, accuracy {accuracy:.3f}"


@contextmanager
def showing(*, shown: bool) -> Iterator[None]:
    """Keep a run alive when its output fails: a full disk, or a reader or terminal that has gone.

    shown: whether to print to standard output at all; of several processes only one does.
    """
    out, err = (cast(TextIO, _Lasting(stream)) for stream in (sys.stdout, sys.stderr))
    with redirect_stdout(out if shown else None), redirect_stderr(err):
        yield


class _Lasting:
    """A stream whose writes never fail: what cannot be written is lost."""

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
    """Run a block that shows something; report its failure and go on. The run has saved by then."""
    try:
        yield
    except Exception as error:
        tqdm.write(f"{what} cannot be shown: {type(error).__name__}: {error}")


def write_down(
    out: Path, *, progress: Progress, loss: float, perplexity: float, accuracy: float
) -> None:
    """Append a validation to log.jsonl and update run.json."""
    row = {**asdict(progress), "loss": loss, "perplexity": perplexity, "accuracy": accuracy}
    log = out / "log.jsonl"
    rows = (log.read_bytes() if log.exists() else b"") + json.dumps(row).encode() + b"\n"
    # Replaced as a whole: even a full disk leaves no half row.
    replace_file(log, lambda path: path.write_bytes(rows))
    manifest.bring_up_to_date(out, progress)


def show_validation(out: Path) -> None:
    """Print the last validation of log.jsonl and redraw the curves.

    No failure in here ends the run.
    """
    with harmless("the validation"):
        row = read_rows(out / "log.jsonl")[-1]
        tqdm.write(
            f"step {row['step']:,}, {row['seconds'] / 60:.1f} min: "
            f"training loss {row['loss']:.3f}, "
            f"validation perplexity {row['perplexity']:.2f} per token, "
            f"accuracy {row['accuracy']:.3f}{'' if row['bad_validations'] else ' (best)'}"
        )
    with harmless("loss.png"):
        draw_curves(out)


def read_rows(log: Path) -> list[dict[str, Any]]:
    """Read the validations of a log.jsonl.

    A last line without a line end is skipped: a run may be writing it. Raises ValueError, naming
    the file and the line, if one is not a validation.
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
                f"{log}, line {number}: not a validation that training.fit wrote; remove the line"
            )
        found.append(row)
    return found


def forget_rows_after(step: int, out: Path) -> None:
    """Drop validations that come after the saved state: the resumed run will repeat them."""
    log = out / "log.jsonl"
    if log.exists():
        kept = "".join(json.dumps(row) + "\n" for row in read_rows(log) if row["step"] <= step)
        replace_file(log, lambda path: path.write_text(kept, encoding="utf-8"))


def show_sample(model: Checkpoint) -> None:
    """Print what a model says now: some text from a language model, else replies to openings."""
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
    """Plot perplexity per token over the steps, in training and validation, as loss.png."""
    from matplotlib.figure import Figure  # imported here because it takes a second

    rows = read_rows(out / "log.jsonl")
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    steps = [row["step"] for row in rows]
    axes.plot(
        steps,
        [math.exp(min(row["loss"], 20)) for row in rows],  # an early loss may be huge
        "o-",
        label="training (with dropout)",
    )
    axes.plot(steps, [row["perplexity"] for row in rows], "o-", label="validation")
    axes.set(xlabel="step", ylabel="perplexity per token", yscale="log")
    for axis in (axes.yaxis.set_major_formatter, axes.yaxis.set_minor_formatter):
        axis(lambda value, _: f"{value:g}")  # 40, not 4 x 10^1
    axes.legend()
    axes.grid(alpha=0.3, which="both")
    replace_file(out / "loss.png", lambda path: figure.savefig(path, format="png", dpi=120))
