"""The page that training.evaluate --report writes: one self-contained HTML file.

Whatever the corpora contain is escaped.
"""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from dialogue.atomic_file import replace_file
from dialogue.text_files import read_text
from dialogue.words import words
from training.metrics import decoding, prediction, ranking, replies, talks
from training.metrics.evaluation import MEANINGS, Evaluation
from training.metrics.replies import token_f1
from training.report import plots

FILE = "index.html"
STYLE = Path(__file__).parent / "page.css"
TILES = {
    "perplexity_per_word": "perplexity a word",
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
    "What it says again in whole conversations": talks.MEANINGS,
}
PLOTS = {
    "Predicting, turn by turn": plots.by_turn,
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
    about = "".join(
        f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in facts.items()
    )
    tiles = "".join(
        f"<div><b>{_number(found.figures[name])}</b><span>{words_for}</span></div>"
        for name, words_for in TILES.items()
        if found.talks or name not in talks.MEANINGS
    )
    drawn = "".join(
        f"<figure><figcaption>{title}</figcaption>{_image(draw(found), title)}</figure>"
        for title, draw in PLOTS.items()
    )
    return f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>Evaluation</title><style>{read_text(STYLE)}</style></head><body><main>
<h1>How well it predicts, answers and ranks</h1>
<p>Measured on conversations that the model was not fitted to, unless the split says otherwise.</p>
<dl class="facts">{about}</dl>
<div class="tiles">{tiles}</div>
<h2>In pictures</h2><div class="plots">{drawn}</div>
{_by_method(by_method)}
<h2>All figures</h2>{"".join(_part(title, meanings, found.figures) for title, meanings in PARTS.items())}
{_commonest(found)}{_exchanges(found)}{_talks(found)}
<footer>BLEU as sacrebleu computes it: {escape(found.bleu_signature)}</footer>
</main></body></html>
"""


def _part(title: str, meanings: Mapping[str, str], figures: Mapping[str, float]) -> str:
    rows = [
        [
            _cell(name, "name"),
            _cell(_number(figures[name]), "number"),
            _cell(MEANINGS[name], "meaning"),
        ]
        for name in meanings
        if name in figures
    ]
    return f"<h3>{title}</h3>{_table(rows)}"


def _by_method(rows: Sequence[Mapping[str, Any]]) -> str:
    if not rows:
        return ""
    best = {}
    for name in decoding.COLUMNS:
        values = [row[name] for row in rows]
        if name not in NEITHER_IS_BEST and len(set(values)) > 1:
            best[name] = min(values) if name in LOWEST_IS_BEST else max(values)
    cells = [
        [
            _cell(row["settings"].removeprefix("method="), "name"),
            *(
                _cell(
                    _number(row[name]), "number best" if row[name] == best.get(name) else "number"
                )
                for name in decoding.COLUMNS
            ),
        ]
        for row in rows
    ]
    heads = ["settings", *(name.replace("_", " ") for name in decoding.COLUMNS)]
    meanings = ". ".join(
        f"{name.replace('_', ' ').capitalize()}: {meaning}"
        for name, meaning in decoding.MEANINGS.items()
    )
    return (
        f"<h2>Ways to decode</h2><p>All on the same histories; the best of a column stands out. {escape(meanings)}.</p>"
        + _table(cells, heads, numbers=True)
    )


def _commonest(found: Evaluation) -> str:
    counts = Counter(" ".join(words(reply.text)) for reply in found.replies)
    shown = [(text, count) for text, count in counts.most_common(COMMONEST) if count > 1]
    rows = [
        [
            _cell(f"{count}x", "number"),
            f'<td class="bars"><div style="width:{100 * count / shown[0][1]:.0f}%"></div></td>',
            _cell(text),
        ]
        for text, count in shown
    ]
    told = f"{len(counts):,} different ones of {len(found.replies):,}, each to another history" + (
        "." if shown else ", none twice."
    )
    return f"<h2>What it says most</h2><p>{told}</p>" + (_table(rows) if rows else "")


def _exchanges(found: Evaluation) -> str:
    shown = list(zip(found.chosen, found.replies, found.ranks.tolist(), strict=True))[:EXCHANGES]
    rows = [
        [
            _cell(found.turn(exchange, before=2), "before"),
            _cell(found.turn(exchange, before=1)),
            _cell(reply.text, "said"),
            _cell(found.turn(exchange)),
            _cell(f"{token_f1(reply.text, found.turn(exchange)):.2f}", "number"),
            _cell(str(rank), "number"),
        ]
        for exchange, reply, rank in shown
    ]
    heads = ["before", "heard", "the agent", "the transcript", "F1", "rank"]
    told = "The first ones by the hash of their ids, unselected; with the rank of the true reply among 20."
    return f"<h2>Replies to true histories</h2><p>{told}</p>{_table(rows, heads)}"


def _talks(found: Evaluation) -> str:
    if not found.talks:
        return ""
    tables = []
    for talk in found.talks[:TALKS]:
        rows, said = [], set()
        for number, (heard, reply) in enumerate(zip(talk.heard, talk.replies, strict=True)):
            again = (
                ' <span class="again">said before</span>'
                if tuple(words(reply.text)) in said
                else ""
            )
            said.add(tuple(words(reply.text)))
            truth = talk.transcript.turns[2 * number + 1 : 2 * number + 2]
            rows.append(
                [
                    _cell(heard),
                    f'<td class="said">{escape(reply.text)}{again}</td>',
                    _cell("".join(truth)),
                ]
            )
        title = f"<h3>{escape(talk.transcript.corpus)}, {escape(talk.transcript.id)}</h3>"
        tables.append(
            title
            + _table(
                rows[:TALK_REPLIES], ["one speaker", "the agent", "the other speaker"], kind="talk"
            )
        )
    return (
        "<h2>Whole conversations</h2><p>The agent hears one speaker of a transcript, who cannot hear it: what the other one truly "
        f"said stands beside. The first {TALK_REPLIES} replies of each.</p>" + "".join(tables)
    )


def _table(
    rows: Iterable[Sequence[str]],
    heads: Sequence[str] = (),
    *,
    kind: str = "",
    numbers: bool = False,
) -> str:
    head = "".join(
        f'<th class="{"number" if numbers and place else ""}">{escape(name)}</th>'
        for place, name in enumerate(heads)
    )
    head = f"<thead><tr>{head}</tr></thead>" if head else ""
    body = "".join(f"<tr>{''.join(cells)}</tr>" for cells in rows)
    return f'<div class="sheet"><table class="{kind}">{head}<tbody>{body}</tbody></table></div>'


def _cell(text: str, kind: str = "") -> str:
    return f'<td class="{kind}">{escape(text)}</td>'


def _number(value: float) -> str:
    """Format a number so that a column lines up: three digits, or all of a whole number."""
    if value == int(value):
        return f"{value:,.0f}"
    return f"{value:,.{3 if abs(value) < 1 else 2 if abs(value) < 10 else 1 if abs(value) < 100 else 0}f}"


def _image(png: bytes, title: str) -> str:
    return (
        f'<img alt="{escape(title)}" src="data:image/png;base64,{base64.b64encode(png).decode()}">'
    )
