import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from dialogue import checkpoint
from dialogue.agent import DialogueAgent
from training import evaluate
from training.corpora.transcript import Transcript
from training.metrics import decoding, talks
from training.metrics.evaluation import evaluate as measure
from training.report import page

NASTY = '<script>alert("&")</script>'
ROW = dict.fromkeys(decoding.COLUMNS, 0.5)


@pytest.fixture(scope="module")
def found(talker, conversations):
    """An evaluation of two corpora, one of which has long conversations and hostile markup."""
    long = [
        Transcript(f"{NASTY}{n}", f"{NASTY}c", (NASTY, "hi", "hello <b>", "yes & no") * 4)
        for n in range(2)
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(talks, "TALKS", 2)
        return measure(DialogueAgent(talker), [*conversations, *long])


@pytest.fixture(scope="module")
def html(found):
    rows = [
        {"settings": f"method={NASTY}", **ROW},
        {"settings": "method=top-k", **ROW, "token_f1": 0.75, "ms": 0.25},
    ]
    return page.page(found, facts={NASTY: NASTY}, by_method=rows)


class Outline(HTMLParser):
    """What a browser would make of the page: elements, what they refer to, and the text of table
    cells.
    """

    def __init__(self):
        super().__init__()
        self.tags, self.references, self.open, self.cells = [], [], [], []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.references += [value for name, value in attributes if name in ("src", "href")]
        assert not [name for name, _ in attributes if name.startswith("on")]
        if tag not in ("meta", "img"):
            self.open.append(tag)
        if tag == "td":
            self.cells.append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "td" in self.open:
            self.cells[-1] += data


@pytest.fixture(scope="module")
def outline(html):
    found = Outline()
    found.feed(html)
    assert not found.open, "every element is closed"
    return found


def test_it_needs_nothing_but_itself_and_runs_nothing(html, outline):
    assert {"script", "link", "iframe"}.isdisjoint(outline.tags)
    assert len(outline.references) == len(page.PLOTS)
    assert all(
        reference.startswith("data:image/png;base64,iVBORw0KGgo")
        for reference in outline.references
    )
    assert not re.search(r"https?:|@import|url\(", html)


def test_whatever_the_corpora_hold_is_text(outline):
    assert outline.tags.count("b") == len(page.TILES), "no other bold text than the page's own"
    assert NASTY in outline.cells
    assert "yes & no" in outline.cells
    assert f"method={NASTY}".removeprefix("method=") in outline.cells


def test_every_figure_stands_in_it_with_its_meaning(found, outline):
    for name in found.figures:
        place = outline.cells.index(name)
        assert outline.cells[place + 1] == page.three_digits(found.figures[name])
        assert outline.cells[place + 2] == page.MEANINGS[name]


def test_replies_stand_beside_what_was_truly_said(found, outline):
    for exchange, reply in list(zip(found.chosen, found.replies, strict=True))[: page.EXCHANGES]:
        turns = found.transcripts[exchange.conversation].turns
        before = [
            turns[exchange.turn - 2],
            turns[exchange.turn - 1],
            reply.text,
            turns[exchange.turn],
        ]
        assert before in [outline.cells[place : place + 4] for place in range(len(outline.cells))]
    for talk in found.talks:
        for number, reply in enumerate(talk.replies[: page.TALK_REPLIES]):
            row = [
                talk.transcript.turns[2 * number],
                reply.text,
                talk.transcript.turns[2 * number + 1],
            ]
            cells = [cell.removesuffix(" said before") for cell in outline.cells]
            assert row in [cells[place : place + 3] for place in range(len(cells))]


def test_the_best_of_a_column_stands_out_and_less_is_better_where_it_is(html):
    assert re.findall(r'<td class="number best">([^<]*)</td>', html) == ["0.750", "0.250"], (
        "and nothing where all are the same"
    )


def test_where_no_conversation_is_long_enough_none_is_shown(found, html):
    without = page.page(replace(found, talks=[]), facts={})
    for part in ("<h2>Whole conversations", f"<span>{page.TILES['repeated_replies']}</span>"):
        assert part in html
        assert part not in without


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0.0, "0"),
        (0.123456, "0.123"),
        (0.1, "0.100"),
        (2.5, "2.50"),
        (56.14, "56.1"),
        (1, "1"),
        (712, "712"),
        (12345.6, "12,346"),
    ],
)
def test_numbers_have_three_figures(value, expected):
    assert page.three_digits(value) == expected


def test_the_command_writes_the_page(talker, conversations, tmp_path, capsys):
    checkpoint.save(tmp_path / "model", talker)
    lines = [json.dumps({"id": t.id, "turns": t.turns}) for t in conversations]
    (tmp_path / "talk.jsonl").write_text("\n".join(lines))
    data = [
        "--checkpoint",
        str(tmp_path / "model"),
        "--data",
        str(tmp_path / "talk.jsonl"),
        "--split",
        "all",
        "--limit",
        "3",
    ]
    assert evaluate.main([*data, "--report", str(tmp_path / "new" / "report")]) == 0
    assert "<!DOCTYPE html>" in (tmp_path / "new" / "report" / "index.html").read_text(
        encoding="utf-8"
    )
    assert [path.name for path in (tmp_path / "new" / "report").iterdir()] == ["index.html"]
    capsys.readouterr()
    assert evaluate.main([*data, "--report", str(tmp_path / "talk.jsonl")]) == 2
    assert capsys.readouterr().err.startswith("error: ")
