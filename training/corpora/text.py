"""Plain text, and AG News' table of class, title and text: what a language model reads.

A text is one long conversation whose turns are its lines; its first nine tenths are the training split, so that what
follows what stays as it was. A line that no turn could hold, such as a whole book's, is cut at its spaces.
In a table each row is a conversation of its own, title and text.
"""

from __future__ import annotations

import csv
import html
import re
from collections.abc import Iterator
from pathlib import Path

from dialogue.text_files import numbered_lines
from training.corpora.transcript import Complain, Transcript, split_of

LONGEST_LINE = 10_000  # characters; what is longer is cut into turns of LONGEST_TURN
LONGEST_TURN = 1_000
TWENTIETHS = {
    "train": (0, 18),
    "validation": (18, 19),
    "test": (19, 20),
}  # of the characters of a text
_LOST_AMPERSAND = re.compile(r"(?<!&)#(\d+);")  # AG News: its apostrophes are #39;


def is_text(path: Path) -> bool:
    """Tell by its name whether a file is plain text or a table: .txt or .csv, or either of them as .gz."""
    return path.name.removesuffix(".gz").endswith((".txt", ".csv"))


def read(path: Path, split: str, complain: Complain) -> Iterator[Transcript]:
    """Yield what a file holds for one split. Raises ValueError on a broken file; complains of what is no text, or no row."""
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
    """Yield a line as it is, or in parts where it is too long for a turn; of an empty one nothing."""
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
            complain(f"{where}: {len(row)} columns where class, title and text are expected")
        elif not row[0].strip().isdigit():
            if rows.line_num > 1:  # the first may be a heading
                complain(f"{where}: the class is {row[0]!r}, not a number")
        elif split_of(key := f"{name}/{rows.line_num}") == split:
            turns = tuple(text for text in map(_mended, row[1:]) if text)
            if turns:
                yield Transcript(key, name, turns)


def _mended(text: str) -> str:
    """Read HTML's entities, also those that lost their ampersand, and backslashes, which stand for line ends."""
    return html.unescape(_LOST_AMPERSAND.sub(r"&#\1;", text)).replace("\\", " ").strip()
