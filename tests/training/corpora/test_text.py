import gzip

import pytest

from training import corpora
from training.corpora.transcript import SPLITS, Complaints

NEWS = """"Class Index","Title","Description"
"3","Oil is up","Brent rose \\\\to a high; it#39;s &lt;b&gt;news&lt;/b&gt;."
"1","Two lines","the first
and the second"
"2","Short"
"x","No class","it is not a number"
"""


def load(path, split, complaints=None):
    return corpora.load([str(path)], split, complaints or Complaints())


def test_a_texts_splits_are_its_lines_in_their_order_nine_tenths_of_them_for_training(tmp_path):
    path = tmp_path / "book.txt"
    lines = [f"line {number:03}" for number in range(100)]
    path.write_text("\n\n".join(lines) + "\n", encoding="utf-8")
    parts = [load(path, split) for split in SPLITS]
    assert [len(part) for part in parts] == [1, 1, 1], "each split is one long conversation"
    assert [part[0].turns for part in parts] == [
        tuple(lines[:90]),
        tuple(lines[90:95]),
        tuple(lines[95:]),
    ]
    assert len({part[0].id for part in parts}) == 3


def test_a_text_may_be_packed_and_begin_with_a_byte_order_mark(tmp_path):
    path = tmp_path / "book.txt.gz"
    path.write_bytes(gzip.compress("\ufeffone line\n".encode()))
    assert load(path, "train")[0].turns == ("one line",)
    with pytest.raises(ValueError, match="has no conversation in its split 'test'"):
        load(path, "test")


def test_bytes_that_are_no_text_are_named(tmp_path):
    path = tmp_path / "book.txt"
    path.write_bytes(b"good\n\xff bad\nmore\n")
    with pytest.raises(ValueError, match=r"book\.txt, line 2: invalid UTF-8"):
        load(path, "train")
    assert load(path, "train", Complaints(skip=True))[0].turns == ("good", "more")


def test_each_row_of_news_is_a_title_and_a_text_as_one_reads_them(tmp_path):
    path = tmp_path / "news.csv"
    path.write_text(NEWS, encoding="utf-8")
    complaints = Complaints(skip=True)
    found = {
        turns
        for split in SPLITS
        for turns in (t.turns for t in corpora._read(str(path), split, complaints))
    }
    assert found == {
        ("Oil is up", "Brent rose   to a high; it's <b>news</b>."),
        ("Two lines", "the first\nand the second"),
    }
    assert complaints.count == 2, "once a line, though the file is read for each split"
    assert "line 5: found 2 columns; expected class, title and text" in complaints.first


def test_a_row_is_in_one_split_by_the_rule_of_all_ids(tmp_path):
    path = tmp_path / "news.csv"
    path.write_text("".join(f'"1","title {n}","text"\n' for n in range(300)), encoding="utf-8")
    parts = [{t.id for t in load(path, split)} for split in SPLITS]
    assert sum(map(len, parts)) == len(set.union(*parts)) == 300
    assert len(parts[0]) > 240


@pytest.mark.parametrize("ends", ["\n", "\r\n", "\r", "\f", "\n\f", "\u2028"])
def test_lines_end_in_whatever_way_a_text_ends_them(tmp_path, ends):
    """With CR alone, or form feeds between pages, a text was one line and rejected for its size."""
    path, lines = tmp_path / "book.txt", [f"line {number:03}" for number in range(100)]
    path.write_bytes((ends.join(lines) + ends).encode())
    assert [turn for split in SPLITS for turn in load(path, split)[0].turns] == lines


def test_a_text_in_one_line_is_cut_at_its_spaces_and_nothing_is_lost(tmp_path):
    """text8 is 100 MB in one line: one turn, hence no validation split, and was rejected as too few
    conversations.
    """
    path, words = tmp_path / "text8.txt", [f"word{number}" for number in range(30_000)]
    path.write_text(" ".join(words), encoding="utf-8")
    parts = [load(path, split)[0].turns for split in SPLITS]
    turns = [turn for part in parts for turn in part]
    assert " ".join(turns).split() == words
    assert max(map(len, turns)) <= 1000
    shares = [sum(map(len, part)) / sum(map(len, turns)) for part in parts]
    assert shares == pytest.approx([0.9, 0.05, 0.05], abs=0.01)


def test_a_long_line_without_a_space_is_cut_all_the_same(tmp_path):
    path, text = (
        tmp_path / "han.txt",
        "".join(chr(0x4E00 + number % 5000) for number in range(40_000)),
    )
    path.write_text(text, encoding="utf-8")
    assert "".join(turn for split in SPLITS for turn in load(path, split)[0].turns) == text


def test_a_long_paragraph_stays_one_turn(tmp_path):
    path, paragraph = tmp_path / "book.txt", "so it goes " * 800
    path.write_text(f"{paragraph}\n" * 40, encoding="utf-8")
    assert load(path, "validation")[0].turns[0] == paragraph.strip()


def test_a_text_that_is_too_short_is_refused_for_what_it_is(tmp_path):
    path = tmp_path / "book.txt"
    path.write_text("one line\n", encoding="utf-8")
    with pytest.raises(
        ValueError,
        match=r"too small to fill every split .*of a text, the last two twentieths of its lines",
    ):
        load(path, "test")
