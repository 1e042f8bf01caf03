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
    """Yield line number, category, listed word and text of each hit; a topic has no listed word."""
    for number, line in enumerate(lines, start=1):
        text = line.rstrip("\n")
        for hit in lists.hits(text):
            yield number, hit.category, hit.word, text
        if about := topics.topic(text):
            yield number, about, "", text


def read_input(file: str) -> str:
    """Return the text of a file, or of standard input if the file is -.

    Raises ValueError if it cannot be read.
    """
    if file != "-":
        return read_text(file)
    content = getattr(sys.stdin, "buffer", None)  # raw bytes, whatever the terminal's encoding
    return sys.stdin.read() if content is None else decoded(content.read())


@command
def main(arguments: list[str] | None = None) -> int:
    """Report from the command line; return 1 if anything was found, 2 if the file is unreadable."""
    parser = argparse.ArgumentParser(
        prog="python -m dialogue.safety", description="Report what the lists find in a text."
    )
    parser.add_argument(
        "file", metavar="FILE", help="a text file, one utterance per line; - reads standard input"
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
    console.print(f"{affected} of {len(lines)} lines have hits, by {versions}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
