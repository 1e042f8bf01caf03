"""python -m dialogue.safety FILE|-: report what the lists find in a text, line by line."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator

from rich.console import Console
from rich.table import Table

from dialogue.command_line import command
from dialogue.safety import lists, topics
from dialogue.text_files import decoded, read_text


def findings(lines: Iterable[str]) -> Iterator[tuple[int, str, str, str]]:
    """Yield number, category, listed word and text of each hit; a topic is a category without a word."""
    for number, line in enumerate(lines, start=1):
        text = line.rstrip("\n")
        for hit in lists.hits(text):
            yield number, hit.category, hit.word, text
        if about := topics.topic(text):
            yield number, about, "", text


def read_input(file: str) -> str:
    """Read a file, or standard input where it is -.

    Raises ValueError where either cannot be read.
    """
    if file != "-":
        return read_text(file)
    content = getattr(sys.stdin, "buffer", None)  # the bytes, whatever encoding the terminal has
    return sys.stdin.read() if content is None else decoded(content.read())


@command
def main(arguments: list[str] | None = None) -> int:
    """Report from the command line; 1 where anything was found, 2 where the file cannot be read."""
    parser = argparse.ArgumentParser(
        prog="python -m dialogue.safety", description="Report what the lists find in a text."
    )
    parser.add_argument(
        "file", metavar="FILE", help="a text file, one utterance a line; - reads standard input"
    )
    options = parser.parse_args(arguments)
    lines = read_input(options.file).splitlines()
    table, found = Table("line", "category", "found", "text"), list(findings(lines))
    for number, category, word, line in found:
        table.add_row(str(number), category, word, line)
    console = Console(markup=False, highlight=False)
    if found:
        console.print(table)
    affected = len({number for number, *_ in found})
    versions = f"version {lists.version()} of the lists and {topics.version()} of the topics"
    console.print(f"{affected} of {len(lines)} lines hold something, by {versions}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
