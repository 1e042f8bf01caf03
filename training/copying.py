"""python -m training.copying: how well a model copies digits (training/corpora/subsequence.py)."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import torch
from rich.console import Console
from rich.table import Table
from torch.nn.utils.rnn import pad_sequence

from dialogue import checkpoint
from dialogue.checkpoint import Checkpoint
from dialogue.command_line import add_device, add_model, command
from dialogue.device import choose_device
from training.corpora import subsequence
from training.corpora.transcript import Transcript


@torch.no_grad()
def measure(source: Checkpoint, transcripts: Sequence[Transcript]) -> tuple[float, list[float]]:
    """Return the share of answers copied without a mistake, and the mean loss per position.

    An answer is decoded greedily up to </s>; the losses are those of the true tokens given the true
    ones before them.
    """
    model, vocabulary = source.model, source.vocabulary
    device = next(model.parameters()).device
    questions, answers = (
        [
            [*ids, vocabulary.eos_id]
            for ids in vocabulary.encode_all([t.turns[turn] for t in transcripts], spaced=True)
        ]
        for turn in (0, 1)
    )
    steps, rows = max(map(len, answers)), torch.arange(len(answers), device=device)
    true = pad_sequence(
        [torch.tensor(answer, device=device) for answer in answers],
        batch_first=True,
        padding_value=vocabulary.pad_id,
    )
    # Answers differ in length: positions after an answer's end count neither as right nor wrong.
    real = (
        torch.arange(steps, device=device)
        < torch.tensor([len(answer) for answer in answers], device=device)[:, None]
    )
    history = model.encode_turn(
        torch.tensor(questions, device=device), torch.tensor([len(ids) for ids in questions]), None
    )
    # Two decoders run side by side: `own` reads its own tokens, `read` the true ones.
    right, losses = torch.ones_like(rows, dtype=torch.bool), []
    own_state = read_state = model.start(history)
    own = read = torch.full_like(rows, vocabulary.bos_id)
    for step in range(steps):
        log_probs, own_state = model.step(own, own_state)
        own = log_probs.argmax(-1)
        right &= (own == true[:, step]) | ~real[:, step]
        log_probs, read_state = model.step(read, read_state)
        read = true[:, step]
        losses.append(-log_probs[rows, read][real[:, step]].mean().item())
    return right.double().mean().item(), losses


@command
def main(arguments: list[str] | None = None) -> int:
    """Measure a checkpoint from the command line, on the 2,000 questions of the test split."""
    parser = argparse.ArgumentParser(
        prog="python -m training.copying", description="Measure how well a model copies digits."
    )
    add_model(parser, required=True)
    add_device(parser)
    options = parser.parse_args(arguments)
    source = checkpoint.load(
        options.checkpoint, device=choose_device(options.device), model_name=options.model
    )
    exact, losses = measure(source, list(subsequence.read("test")))
    table = Table("position", "loss")
    for position, loss in enumerate(losses, start=1):
        table.add_row(str(position), f"{loss:.4f}")
    console = Console()
    console.print(table)
    console.print(
        f"copied without a mistake: {exact:.2%} of {subsequence.SIZES['test']:,}", highlight=False
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
