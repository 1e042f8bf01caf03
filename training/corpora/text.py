"""Plain text, and AG News' table of class, title and text, for language models.

A text is one long conversation whose turns are its lines. The first nine tenths are the training
split, so that the text stays in one piece. A line too long for a turn, such as a whole book's, is
cut at spaces. In a table each row is a conversation of two turns, title and text.
"""

from __future__ import annotations

import csv
import html
import re
from collections.abc import Iterator
from pathlib import Path

from dialogue.text_files import numbered_lines
from training.corpora.transcript import Complain, Transcript, split_of

LONGEST_LINE = 10_000  # characters; a longer line is cut into turns of LONGEST_TURN
LONGEST_TURN = 1_000
# From and to which twentieth of a text's characters each split reaches.
TWENTIETHS = {"train": (0, 18), "validation": (18, 19), "test": (19, 20)}
_LOST_AMPERSAND = re.compile(r"(?<!&)#(\d+);")  # AG News writes its apostrophes as #39;


def is_text(path: Path) -> bool:
    """Return whether a file is plain text or a table, by its name: .txt or .csv, plain or .gz."""
    return path.name.removesuffix(".gz").endswith((".txt", ".csv"))


def read(path: Path, split: str, complain: Complain) -> Iterator[Transcript]:
    """Yield the conversations of one split of a file; report rows that are malformed.

    Raises ValueError on a broken file.
    """
    lines = numbered_lines(path, complain)
    return (
        _rows(path, lines, split, complain)
        if path.name.removesuffix(".gz").endswith(".csv")
        else _stream(path, lines, split)
    )


def _stream(path: Path, lines: Iterator[tuple[int, str]], split: str) -> Iterator[Transcript]:
    turns = [
        turn for _, line in lines for text in line.splitlines() for turn in _turns(text.strip())
    ]
    total, read_so_far = sum(map(len, turns)), 0
    begin, end = (total * share / 20 for share in TWENTIETHS[split])
    chosen = []
    for turn in turns:
        if begin <= read_so_far < end:
            chosen.append(turn)
        read_so_far += len(turn)
    name = path.name.split(".")[0]
    if chosen:
        yield Transcript(f"{name}/{split}", name, tuple(chosen))


def _turns(line: str) -> Iterator[str]:
    """Yield a line as it is, or in parts if it is too long for a turn. Skip an empty line."""
    start = 0
    if len(line) > LONGEST_LINE:
        while len(line) - start > LONGEST_TURN:
            space = line.rfind(" ", start, start + LONGEST_TURN)
            end = space if space > start else start + LONGEST_TURN
            yield line[start:end].strip()
            start = end
    if rest := line[start:].strip():
        yield rest


def _rows(
    path: Path, lines: Iterator[tuple[int, str]], split: str, complain: Complain
) -> Iterator[Transcript]:
    name, rows = path.name.split(".")[0], csv.reader(line for _, line in lines)
    while True:
        try:
            row = next(rows)
        except StopIteration:
            return
        except csv.Error as error:
            complain(f"{path}, line {rows.line_num}: {error}")
            continue
        where = f"{path}, line {rows.line_num}"
        if len(row) != 3:
            complain(f"{where}: found {len(row)} columns; expected class, title and text")
        elif not row[0].strip().isdigit():
            if rows.line_num > 1:  # the first row may be a header
                complain(f"{where}: the class is {row[0]!r}, not a number")
        elif split_of(key := f"{name}/{rows.line_num}") == split:
            turns = tuple(text for text in map(_mended, row[1:]) if text)
            if turns:
                yield Transcript(key, name, turns)


def _mended(text: str) -> str:
    """Decode HTML entities, even without their ampersand, and replace backslashes (line ends)."""
    return html.unescape(_LOST_AMPERSAND.sub(r"&#\1;", text)).replace("\\", " ").strip()
