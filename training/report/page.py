"""The page that training.evaluate --report writes: one self-contained HTML file.

page.html lays it out; this module collects what it shows.
"""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2

from dialogue.atomic_file import replace_file
from dialogue.words import words
from training.metrics import decoding, prediction, ranking, replies, talks
from training.metrics.evaluation import MEANINGS, Evaluation
from training.metrics.replies import token_f1
from training.metrics.talks import Talk
from training.report import plots

FILE = "index.html"
TILES = {
    "perplexity_per_word": "perplexity per word",
    "word_error_rate": "word error rate",
    "hits_at_1_of_20": "true reply first of 20",
    "token_f1": "F1 with the true reply",
    "distinct_2": "distinct pairs of words",
    "repeated_replies": "replies said before",
}
PARTS = {
    "How well it predicts": prediction.MEANINGS,
    "How well it tells the true reply from others": ranking.MEANINGS,
    "What it answers": replies.MEANINGS,
    "How often it repeats itself in whole conversations": talks.MEANINGS,
}
PLOTS = {
    "Prediction, turn by turn": plots.by_turn,
    "What the history is worth, by length of the turn": plots.by_length,
    "Ranking the true reply": plots.ranks,
    "Length of replies": plots.lengths,
}
LOWEST_IS_BEST = ("repeated_2gram", "repeated_3gram", "fallbacks", "reply_perplexity", "ms")
NEITHER_IS_BEST = ("mean_length",)
EXCHANGES, TALKS, TALK_REPLIES, COMMONEST = 12, 4, 8, 8


def write(
    folder: Path,
    found: Evaluation,
    *,
    facts: Mapping[str, str],
    by_method: Sequence[Mapping[str, Any]] = (),
) -> Path:
    """Write the page into a folder, replacing it atomically, and return its path."""
    text = page(found, facts=facts, by_method=by_method)
    folder.mkdir(parents=True, exist_ok=True)
    replace_file(folder / FILE, lambda path: path.write_text(text, encoding="utf-8"))
    return folder / FILE


def page(
    found: Evaluation, *, facts: Mapping[str, str], by_method: Sequence[Mapping[str, Any]] = ()
) -> str:
    """Lay out an evaluation.

    facts: what was evaluated, and how. by_method: rows of decoding.side_by_side.
    """
    counts = Counter(" ".join(words(reply.text)) for reply in found.replies)
    return _template().render(
        facts=facts,
        tiles=[
            (title, found.figures[name])
            for name, title in TILES.items()
            if found.talks or name not in talks.MEANINGS
        ],
        plots=[(title, base64.b64encode(draw(found)).decode()) for title, draw in PLOTS.items()],
        by_method=_by_method(by_method),
        column_heads=[name.replace("_", " ") for name in decoding.COLUMNS],
        column_meanings=decoding.MEANINGS,
        parts=[
            (
                title,
                [
                    (name, found.figures[name], MEANINGS[name])
                    for name in meanings
                    if name in found.figures
                ],
            )
            for title, meanings in PARTS.items()
        ],
        different=len(counts),
        total=len(found.replies),
        commonest=[pair for pair in counts.most_common(COMMONEST) if pair[1] > 1],
        candidates=ranking.CANDIDATES,
        exchanges=_exchanges(found),
        talk_replies=TALK_REPLIES,
        talks=[
            (f"{talk.transcript.corpus}, {talk.transcript.id}", _talk(talk))
            for talk in found.talks[:TALKS]
        ],
        bleu_signature=found.bleu_signature,
    )


def _template() -> jinja2.Template:
    """Return page.html. It escapes what it prints, since the corpora may contain anything."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["three_digits"] = three_digits
    return environment.get_template("page.html")


def _by_method(
    rows: Sequence[Mapping[str, Any]],
) -> list[tuple[str, list[tuple[float, bool]]]]:
    """Return each row's settings, and its values with whether each is its column's best."""
    best = {}
    for name in decoding.COLUMNS if rows else ():
        values = [row[name] for row in rows]
        if name not in NEITHER_IS_BEST and len(set(values)) > 1:
            best[name] = min(values) if name in LOWEST_IS_BEST else max(values)
    return [
        (
            row["settings"].removeprefix("method="),
            [(row[name], row[name] == best.get(name)) for name in decoding.COLUMNS],
        )
        for row in rows
    ]


def _exchanges(found: Evaluation) -> list[dict[str, Any]]:
    shown = list(zip(found.chosen, found.replies, found.ranks.tolist(), strict=True))[:EXCHANGES]
    return [
        {
            "before": found.turn(exchange, before=2),
            "heard": found.turn(exchange, before=1),
            "reply": reply.text,
            "truth": found.turn(exchange),
            "f1": token_f1(reply.text, found.turn(exchange)),
            "rank": rank,
        }
        for exchange, reply, rank in shown
    ]


def _talk(talk: Talk) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    said = set()
    for number, (heard, reply) in enumerate(zip(talk.heard, talk.replies, strict=True)):
        spoken = tuple(words(reply.text))
        truth = talk.transcript.turns[2 * number + 1 : 2 * number + 2]
        rows.append(
            {
                "heard": heard,
                "reply": reply.text,
                "again": spoken in said,
                "truth": "".join(truth),
            }
        )
        said.add(spoken)
    return rows[:TALK_REPLIES]


def three_digits(value: float) -> str:
    """Format a number so that a column lines up: three digits, or all of a whole number."""
    if value == int(value):
        return f"{value:,.0f}"
    decimals = 3 if abs(value) < 1 else 2 if abs(value) < 10 else 1 if abs(value) < 100 else 0
    return f"{value:,.{decimals}f}"
