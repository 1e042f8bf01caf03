"""A toy task: of eight digits, copy the ones that an index and a length select.

    3 4 7 1 9 2 5 5 8 1   ->   2 5 5 8          (from index 3, four digits of 7 1 9 2 5 5 8 1)

Select it with `--data subsequence`. The examples are generated from a fixed seed, so everybody gets
the same ones. `python -m training.copying --checkpoint RUN/checkpoint` shows how well the task was
learnt. It comes from github.com/almostimplemented/seq2seq_shenanigans, which pads with zeros where
this module ends with </s>.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

from training.corpora.transcript import Transcript

DIGITS = 8
LAST_INDEX, LEAST_LENGTH = 5, 2
EPOCH, EPOCHS = 4096, 16  # as in that project, which draws new examples every epoch
SIZES = {"train": EPOCH * EPOCHS, "validation": 512, "test": 2000}


def read(split: str) -> Iterator[Transcript]:
    """Yield the examples of one split, each a question (input) and an answer (target).

    No question occurs twice, in one split or in two.
    """
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
    """Draw a question and its answer: space-separated digits from 1 to 9."""
    index = rng.randint(0, LAST_INDEX)
    length = rng.randint(LEAST_LENGTH, DIGITS - index)
    digits = [str(rng.randint(1, 9)) for _ in range(DIGITS)]
    return " ".join([str(index), str(length), *digits]), " ".join(digits[index : index + length])
