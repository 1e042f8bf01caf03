"""A task that a model can be seen to learn: of eight digits, copy those that an index and a length name.

    3 4 7 1 9 2 5 5 8 1   ->   2 5 5 8          (from place 3, four digits of 7 1 9 2 5 5 8 1)

It is read as `--data subsequence`: made up anew each time, from a fixed seed, and the same for everybody;
`python -m training.copying --checkpoint RUN/checkpoint` tells how well it was learnt. The task is that of
github.com/almostimplemented/seq2seq_shenanigans, with </s> where that pads with zeros.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

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
                yield Transcript(
                    f"subsequence/{split}/{number}",
                    "subsequence",
                    (question, answer),
                    frozenset({0}),
                    spaced=True,
                )
        if name == split:
            return


def example(rng: random.Random) -> tuple[str, str]:
    """Draw a question and its answer: digits from 1 to 9, apart by spaces."""
    index = rng.randint(0, LAST_INDEX)
    length = rng.randint(LEAST_LENGTH, DIGITS - index)
    digits = [str(rng.randint(1, 9)) for _ in range(DIGITS)]
    return " ".join([str(index), str(length), *digits]), " ".join(digits[index : index + length])
