"""A task that a model can be seen to learn: of eight digits, copy those that an index and a length name.

    3 4 7 1 9 2 5 5 8 1   ->   2 5 5 8          (from place 3, four digits of 7 1 9 2 5 5 8 1)

It is read as `--data subsequence`: made up anew each time, from a fixed seed, and the same for everybody;
`python -m training.corpora.subsequence --checkpoint RUN/checkpoint` tells how well it was learnt. The task is that of
github.com/almostimplemented/seq2seq_shenanigans, with </s> where that pads with zeros.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from dialogue import checkpoint
from dialogue.checkpoint import Checkpoint
from dialogue.device import choose_device
from training.corpora.transcript import Transcript

DIGITS = 8
LAST_INDEX, LEAST_LENGTH = 5, 2
EPOCH, EPOCHS = 4096, 16  # of that project: it draws as many new examples an epoch
SIZES = {"train": EPOCH * EPOCHS, "validation": 512, "test": 2000}


def read(split: str) -> Iterator[Transcript]:
    """Yield the examples of one split, each a question that is heard and an answer that is learnt; none is in two splits."""
    rng, seen = random.Random("subsequence"), set[str]()
    for name in ("test", "validation", "train"):
        number = 0
        while number < SIZES[name]:
            question, answer = example(rng)
            if question in seen:
                continue
            seen.add(question)
            number += 1
            if name == split:
                yield Transcript(f"subsequence/{split}/{number}", "subsequence", (question, answer), frozenset({0}), spaced=True)
        if name == split:
            return


def example(rng: random.Random) -> tuple[str, str]:
    """Draw a question and its answer: digits from 1 to 9, apart by spaces."""
    index = rng.randint(0, LAST_INDEX)
    length = rng.randint(LEAST_LENGTH, DIGITS - index)
    digits = [str(rng.randint(1, 9)) for _ in range(DIGITS)]
    return " ".join([str(index), str(length), *digits]), " ".join(digits[index : index + length])


@torch.no_grad()
def measure(source: Checkpoint, transcripts: Sequence[Transcript]) -> tuple[float, list[float]]:
    """Give the share of answers that are copied without a mistake, and the mean loss of the true token at each position.

    An answer is what the likeliest token makes of it at each step, up to </s>; for the losses the true ones are read.
    """
    model, vocabulary = source.model, source.vocabulary
    device = next(model.parameters()).device
    questions, answers = (
        [[*ids, vocabulary.eos_id] for ids in vocabulary.encode_all([t.turns[turn] for t in transcripts], spaced=True)]
        for turn in (0, 1)
    )
    steps, rows = max(map(len, answers)), torch.arange(len(answers), device=device)
    true = torch.tensor([[*answer, *[vocabulary.pad_id] * (steps - len(answer))] for answer in answers], device=device)
    real = torch.arange(steps, device=device) < torch.tensor([len(answer) for answer in answers], device=device)[:, None]
    history = model.encode_turn(torch.tensor(questions, device=device), torch.tensor([len(ids) for ids in questions]), None)
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


def main(arguments: list[str] | None = None) -> int:
    """Measure a checkpoint from the command line, on the 2,000 questions of the test split."""
    parser = argparse.ArgumentParser(prog="python -m training.corpora.subsequence", description="How well digits are copied.")
    parser.add_argument("--checkpoint", type=Path, required=True, help="the model's folder")
    parser.add_argument("--model", metavar="MODULE:CLASS", help="the model's class, where it is not of this project")
    parser.add_argument("--device", help="cuda, mps or cpu (default: the best there is)")
    options = parser.parse_args(arguments)
    try:
        source = checkpoint.load(options.checkpoint, device=choose_device(options.device), model_name=options.model)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    exact, losses = measure(source, list(read("test")))
    table = Table("position", *map(str, range(1, len(losses) + 1)))
    table.add_row("loss", *(f"{loss:.4f}" for loss in losses))
    console = Console()
    console.print(table)
    console.print(f"copied without a mistake: {exact:.2%} of {SIZES['test']:,}", highlight=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
