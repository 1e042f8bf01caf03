"""python -m training.average: average the weights of related checkpoints.

python -m training.average --checkpoint runs/a/checkpoint:0.7 --checkpoint dialogue/pretrained:0.3 \
    --out runs/averaged

The average of models fine-tuned from the same weights often predicts better than any of them
("model soups", Wortsman et al. 2022, https://arxiv.org/abs/2203.05482). Models without such a
common origin average to nonsense, so measure the result.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

from torch import Tensor

from dialogue import checkpoint
from dialogue.checkpoint import Checkpoint
from dialogue.command_line import check_writable, command


@command
def main(arguments: list[str] | None = None) -> int:
    """Average checkpoints from the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m training.average",
        description="Average the weights of related checkpoints.",
    )
    add = parser.add_argument
    add(
        "--checkpoint",
        action="append",
        required=True,
        metavar="DIR[:WEIGHT]",
        help="a checkpoint's folder, two or more times; its weight counts beside the others' "
        "(default: 1)",
    )
    add("--model", metavar="MODULE:CLASS", help="their class, where it is not of this project")
    add("--out", type=Path, required=True, metavar="DIR", help="the folder to write")
    options = parser.parse_args(arguments)
    check_writable(options.out)
    folders, shares = zip(*map(weighted, options.checkpoint), strict=True)
    found = average(
        [
            checkpoint.load(
                folder,
                model_name=options.model,
                with_ranker=False,
                with_recall=False,
                with_stock=False,
            )
            for folder in folders
        ],
        shares,
    )
    checkpoint.save(
        options.out, replace(found, training={**found.training, "averaged": options.checkpoint})
    )
    print(f"the average of {len(folders)} checkpoints, written to {options.out}")
    return 0


def weighted(name: str) -> tuple[Path, float]:
    """Split `runs/a/checkpoint:0.7` into a folder and its weight (1 by default).

    An existing folder is taken as it is. Raises ValueError on a weight that is no positive number.
    """
    folder, colon, weight = name.rpartition(":")
    if not colon or Path(name).exists() or weight.startswith(("/", "\\")):
        return Path(name), 1.0
    try:
        share = float(weight)
    except ValueError:
        share = math.nan
    if 0 < share < math.inf:
        return Path(folder), share
    raise ValueError(
        f"--checkpoint {name}: the weight {weight!r} is not a positive number; "
        f"{folder or 'DIR'}:0.7 counts a checkpoint 0.7 times"
    )


def average(found: Sequence[Checkpoint], shares: Sequence[float]) -> Checkpoint:
    """Set the first checkpoint's weights to the weighted mean of all, and return it.

    shares: one per checkpoint; they need not add up to 1. Raises ValueError if there is only one
    checkpoint, or if one differs from the first in class, sizes or vocabulary.
    """
    first = found[0]
    if len(found) < 2:
        raise ValueError("there is one checkpoint; averaging takes two or more")
    for other in found[1:]:
        if _of(other) != _of(first):
            raise ValueError(
                f"checkpoints of one model are averaged; found {_of(first)} and {_of(other)}"
            )
    states = [one.model.state_dict() for one in found]
    weights: dict[str, Tensor] = {
        name: sum(
            share / sum(shares) * state[name] for state, share in zip(states, shares, strict=True)
        )
        for name in states[0]
    }
    first.model.load_state_dict(weights)
    return first


def _of(one: Checkpoint) -> dict[str, object]:
    sizes = {name: value for name, value in asdict(one.config).items() if name != "dropout"}
    return {
        "class": type(one.model).__qualname__,
        "vocabulary": one.vocabulary.sha256[:8],
        **sizes,
    }


if __name__ == "__main__":
    sys.exit(main())
