"""What a run shows of itself: figures beside the progress bar, a line a validation, curves, samples of what it says."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from pathlib import Path

import torch
from tqdm import tqdm

from dialogue.agent import DialogueAgent
from dialogue.checkpoint import Checkpoint, replace_file
from dialogue.conversation import Conversation
from dialogue.generate import generate
from dialogue.models import ReadsOn
from training import record
from training.state import Progress
from training.trainer import StepFigures

SAMPLE_TOKENS, SAMPLE_TEMPERATURE = 200, 0.8
OPENINGS = ("hi", "how are you?", "what's your favorite movie?", "do you like music?")


def means(figures: list[StepFigures], step: int) -> tuple[float, float, float]:
    """Give the mean loss, gradient norm and accuracy of the steps up to this one.

    Raises ValueError where one of them had no number for its loss or norm: its weights are none either, or soon will be.
    """
    loss, norm, accuracy = (torch.stack(values).float().mean().item() for values in zip(*figures, strict=True))
    if not (math.isfinite(loss) and math.isfinite(norm)):
        raise ValueError(
            f"the loss is {loss} at step {step} and the gradient's norm {norm}, as means of {len(figures)} steps; lower "
            "--learning-rate; --resume goes on from the last state, whose weights are sound"
        )
    return loss, norm, accuracy


def beside_the_bar(figures: list[StepFigures], progress: Progress) -> str:
    """Word the last steps' figures. Raises ValueError where they are no numbers."""
    loss, norm, accuracy = means(figures, progress.step)
    rate = progress.tokens / max(progress.seconds, 1e-9)
    return f"{rate:,.0f} tokens/s, loss {loss:.3f}, norm {norm:.2f}, accuracy {accuracy:.3f}"


def report(out: Path, model: Checkpoint, *, progress: Progress, loss: float, perplexity: float, accuracy: float) -> None:
    """Print a validation, append it to log.jsonl, bring run.json up to date, and draw the curves anew."""
    row = {**asdict(progress), "loss": loss, "perplexity": perplexity, "accuracy": accuracy}
    log = out / "log.jsonl"
    rows = (log.read_text(encoding="utf-8") if log.exists() else "") + json.dumps(row) + "\n"
    replace_file(log, lambda path: path.write_text(rows, encoding="utf-8"))  # no half row, even where the disk is full
    record.bring_up_to_date(out, progress)
    tqdm.write(
        f"step {progress.step:,}, {progress.seconds / 60:.1f} min: training loss {loss:.3f}, "
        f"validation perplexity {perplexity:.2f} a token, accuracy {accuracy:.3f}" + ("" if progress.bad_validations else " (best)")
    )
    draw_curves(out)


def forget_rows_after(step: int, out: Path) -> None:
    """Drop the validations of log.jsonl that a run, killed before it saved its state, will take again."""
    log = out / "log.jsonl"
    if log.exists():
        rows = log.read_text(encoding="utf-8").splitlines(keepends=True)
        kept = [row for row in rows if row.endswith("\n") and json.loads(row)["step"] <= step]
        replace_file(log, lambda path: path.write_text("".join(kept), encoding="utf-8"))


def show_sample(model: Checkpoint) -> None:
    """Print what a model says now: a text, where it is a model of texts, else replies to a few openings."""
    model.model.eval()
    if isinstance(model.model, ReadsOn):
        lines = generate(model, "", length=SAMPLE_TOKENS, temperature=SAMPLE_TEMPERATURE).split("\n")
    else:
        replies = DialogueAgent(model).answer([Conversation()] * len(OPENINGS), OPENINGS)
        lines = [f"{opening}  ->  {reply.text}" for opening, reply in zip(OPENINGS, replies, strict=True)]
    model.model.train()
    tqdm.write("\n".join(f"    {line}" for line in lines))


def draw_curves(out: Path) -> None:
    """Draw perplexity a token over the steps, in training and validation, into loss.png."""
    from matplotlib.figure import Figure  # takes a second to import, and only here

    rows = [json.loads(line) for line in (out / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    steps = [row["step"] for row in rows]
    axes.plot(steps, [math.exp(min(row["loss"], 20)) for row in rows], "o-", label="training (with dropout)")
    axes.plot(steps, [row["perplexity"] for row in rows], "o-", label="validation")
    axes.set(xlabel="step", ylabel="perplexity a token", yscale="log")
    for axis in (axes.yaxis.set_major_formatter, axes.yaxis.set_minor_formatter):
        axis(lambda value, _: f"{value:g}")  # 40, not 4 x 10^1
    axes.legend()
    axes.grid(alpha=0.3, which="both")
    replace_file(out / "loss.png", lambda path: figure.savefig(path, format="png", dpi=120))
