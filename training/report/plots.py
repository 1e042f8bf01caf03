"""The plots of a report page and of a comparison of runs, as PNG."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from dialogue.words import words
from training.metrics.evaluation import Evaluation
from training.metrics.prediction import perplexity
from training.metrics.ranking import CANDIDATES

BLUE, ORANGE, GREY = "#2460a7", "#d9772b", "#8a94a0"
COLOURS = (BLUE, ORANGE, "#3a8f5c", "#b0406f", "#6d56a5", "#93702f", GREY)
LEAST_TURNS = 20  # figures from fewer turns are noise
SHOWN_TURNS, SHOWN_WORDS = 20, 30


def by_turn(found: Evaluation) -> bytes:
    """Plot perplexity per word by turn, given the true history and another conversation's."""
    figure, axes = _axes("turn of the conversation", "perplexity per word")
    later = found.prediction.where(found.prediction.turn > 0)
    numbers = [turn for turn in range(1, SHOWN_TURNS) if (later.turn == turn).sum() >= LEAST_TURNS]
    for log_probs, colour, label in (
        (later.shuffled, ORANGE, "another conversation's history"),
        (later.log_probs, BLUE, "its own"),
    ):
        values = [
            perplexity(log_probs[later.turn == turn], later.counted[later.turn == turn])
            for turn in numbers
        ]
        axes.plot(
            [turn + 1 for turn in numbers], values, "o-", color=colour, label=label, markersize=4
        )
    axes.set_ylim(bottom=0)
    if numbers:
        axes.legend()
    axes.xaxis.get_major_locator().set_params(integer=True)
    return png(figure)


def by_length(found: Evaluation) -> bytes:
    """Plot the value of the history, in nats per word, by the number of words in the turn."""
    figure, axes = _axes("words of the turn, its end included", "nats per word")
    later = found.prediction.where(found.prediction.turn > 0)
    gain = later.log_probs - later.shuffled
    lengths = [n for n in range(2, SHOWN_WORDS + 1) if (later.counted == n).sum() >= LEAST_TURNS]
    axes.bar(
        lengths,
        [
            gain[later.counted == n].sum().item() / (n * int((later.counted == n).sum()))
            for n in lengths
        ],
        color=BLUE,
    )
    axes.axhline(0, color=GREY, linewidth=0.8)
    return png(figure)


def ranks(found: Evaluation) -> bytes:
    """Plot how often the true reply gets each rank among 20."""
    figure, axes = _axes("rank of the true reply among 20", "share of histories")
    shares = torch.bincount(found.ranks, minlength=CANDIDATES + 1)[1:].double() / len(found.ranks)
    axes.bar(
        range(1, CANDIDATES + 1), shares.tolist(), color=[BLUE, *["#8fb3d9"] * (CANDIDATES - 1)]
    )
    axes.axhline(1 / CANDIDATES, color=ORANGE, linestyle="--", label="chance")
    axes.set_xticks([1, 5, 10, 15, 20])
    axes.legend()
    return png(figure)


def lengths(found: Evaluation) -> bytes:
    """Plot the lengths of the replies and of the true ones."""
    figure, axes = _axes("words of a reply", "share of replies")
    truth = [found.turn(exchange) for exchange in found.chosen]
    edges = [edge - 0.5 for edge in range(SHOWN_WORDS + 2)]
    kinds = (
        ([reply.text for reply in found.replies], BLUE, "the agent's"),
        (truth, ORANGE, "the true ones"),
    )
    for texts, colour, label in kinds:
        counts = [min(len(words(text)), SHOWN_WORDS) for text in texts]
        style = (
            {"histtype": "stepfilled", "alpha": 0.45}
            if colour == BLUE
            else {"histtype": "step", "linewidth": 1.8}
        )
        axes.hist(
            counts,
            bins=edges,
            weights=[1 / len(counts)] * len(counts),
            color=colour,
            label=label,
            **style,
        )
    axes.legend()
    axes.set_xlim(-0.5, SHOWN_WORDS + 0.5)
    axes.set_xticks(
        [*range(0, SHOWN_WORDS, 5), SHOWN_WORDS],
        [*map(str, range(0, SHOWN_WORDS, 5)), f"{SHOWN_WORDS}+"],
    )
    return png(figure)


def curves(runs: Mapping[str, Sequence[Mapping[str, Any]]]) -> bytes:
    """Plot the validation perplexity of runs over tokens and over minutes.

    runs: the rows of their log.jsonl, by name.
    """
    figure, axes = _axes(
        "million tokens", "validation perplexity per token", size=(11, 4.4), columns=2
    )
    axes[1].set_xlabel("minutes")
    for number, (name, rows) in enumerate(runs.items()):
        perplexities, colour = [row["perplexity"] for row in rows], COLOURS[number % len(COLOURS)]
        axes[0].plot(
            [row["tokens"] / 1e6 for row in rows],
            perplexities,
            "o-",
            color=colour,
            label=plain(name),
            markersize=4,
        )
        axes[1].plot(
            [row["seconds"] / 60 for row in rows], perplexities, "o-", color=colour, markersize=4
        )
    for one in axes:
        one.set_yscale("log")
        for axis in (one.yaxis.set_major_formatter, one.yaxis.set_minor_formatter):
            axis(lambda value, _: f"{value:g}")  # 40, not 4 x 10^1
    axes[0].legend()
    return png(figure)


def plain(text: str) -> str:
    """Keep matplotlib from reading text as mathematics, or a leading underscore as "hide this"."""
    return text.replace("$", r"\$").lstrip("_") or "run"


def png(figure: Any) -> bytes:
    """Render a figure as PNG."""
    written = io.BytesIO()
    figure.savefig(written, format="png", dpi=144)
    return written.getvalue()


def _axes(
    across: str, up: str, *, size: tuple[float, float] = (5.6, 3.3), columns: int = 1
) -> tuple[Any, Any]:
    from matplotlib.figure import Figure  # imported here because it takes a second

    figure = Figure(figsize=size, layout="constrained")
    found = figure.subplots(1, columns)
    for axes in [found] if columns == 1 else found:
        axes.set(xlabel=across, ylabel=up)
        axes.grid(alpha=0.25, which="both")
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
    return figure, found
