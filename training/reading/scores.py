"""What readers found: sensible, specific and their mean, with intervals, and readers' agreement."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from training.reading.sheet import Judgement

RESAMPLES = 2000
ALL = "all"


@dataclass(frozen=True)
class Score:
    """The shares for one source in one set; ssa is their mean, low to high its 95 % interval."""

    set: str
    source: str
    replies: int
    sensible: float
    specific: float
    ssa: float
    low: float
    high: float


def scores(key: Mapping[str, Any], found: Mapping[str, Judgement], *, seed: int = 0) -> list[Score]:
    """Score every source in every set and over all sets, from the replies that were judged."""
    by: dict[tuple[str, str], list[Judgement]] = {}
    for name, source, judgement, _ in _rows(key, found):
        by.setdefault((name, source), []).append(judgement)
        by.setdefault((ALL, source), []).append(judgement)
    sets = {name for name, _ in by}
    if len(sets) == 2:  # ALL and a single set would be the same
        by = {at: judged for at, judged in by.items() if at[0] != ALL}
    rng = random.Random(seed)
    return [_score(name, source, judged, rng) for (name, source), judged in sorted(by.items())]


def differences(
    key: Mapping[str, Any], found: Mapping[str, Judgement], base: str, *, seed: int = 0
) -> dict[tuple[str, str], tuple[float, float, float]]:
    """Compare every source with a base on the contexts that both have.

    Return (set, source) -> gain in SSA, low, high.
    """
    at: dict[tuple[str, str], dict[int, float]] = {}
    for name, source, judgement, context in _rows(key, found):
        for group in (name, ALL):
            at.setdefault((group, source), {})[context] = _ssa(judgement)
    rng, gains = random.Random(seed), {}
    for (name, source), values in sorted(at.items()):
        others = at.get((name, base), {})
        if source != base and (both := sorted(values.keys() & others.keys())):
            # Paired differences: how hard a context is cancels out, and the interval narrows.
            gain = [values[context] - others[context] for context in both]
            gains[name, source] = (_mean(gain), *_interval(gain, rng))
    return gains


def kappa(one: Sequence[bool], other: Sequence[bool]) -> float:
    """Return Cohen's kappa (1960) of two readers' marks on the same replies.

    It is taken as 1 if they would always agree by chance alone.
    """
    agreed = sum(a == b for a, b in zip(one, other, strict=True)) / len(one)
    first, second = sum(one) / len(one), sum(other) / len(other)
    by_chance = first * second + (1 - first) * (1 - second)
    return 1.0 if by_chance == 1 else (agreed - by_chance) / (1 - by_chance)


def agreement(readers: Mapping[str, Mapping[str, Judgement]]) -> list[dict[str, Any]]:
    """Compare every pair of readers on what both have judged."""
    rows = []
    for (one, ours), (other, theirs) in combinations(readers.items(), 2):
        both = sorted(ours.keys() & theirs.keys())
        if both:
            marks = {
                name: (
                    [getattr(ours[label], name) for label in both],
                    [getattr(theirs[label], name) for label in both],
                )
                for name in ("sensible", "specific")
            }
            rows.append(
                {"readers": f"{one}, {other}", "replies": len(both)}
                | {f"kappa_{name}": kappa(*pair) for name, pair in marks.items()}
                | {
                    f"same_{name}": _mean([a == b for a, b in zip(*pair, strict=True)])
                    for name, pair in marks.items()
                }
            )
    return rows


def _rows(
    key: Mapping[str, Any], found: Mapping[str, Judgement]
) -> Iterable[tuple[str, str, Judgement, int]]:
    for number, context in enumerate(key["contexts"]):
        for label, sources in context["replies"].items():
            if label in found:
                for source in sources:
                    yield context["set"], source, found[label], number


def _score(name: str, source: str, judged: Sequence[Judgement], rng: random.Random) -> Score:
    ssa = [_ssa(judgement) for judgement in judged]
    sensible = _mean([judgement.sensible for judgement in judged])
    specific = _mean([judgement.specific for judgement in judged])
    return Score(name, source, len(judged), sensible, specific, _mean(ssa), *_interval(ssa, rng))


def _ssa(judgement: Judgement) -> float:
    return (judgement.sensible + judgement.specific) / 2


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _interval(values: Sequence[float], rng: random.Random) -> tuple[float, float]:
    """Return the 95 % interval of a mean by the bootstrap (Efron 1979), resampling contexts."""
    means = sorted(_mean(rng.choices(values, k=len(values))) for _ in range(RESAMPLES))
    return means[round(0.025 * RESAMPLES)], means[round(0.975 * RESAMPLES) - 1]
