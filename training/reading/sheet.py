"""Sheets to read: contexts with shuffled replies, as text and as a page, and what readers marked.

    ## 7
    person: my dog died last week.
    7a [  ] i'm so sorry. what was his name?
    7b [  ] that sounds like fun!

Between the brackets a reader writes two letters, y or n: is it sensible, is it specific. What is
not sensible is not specific. A word about the fault may follow: [nn wrong feeling].
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from html import escape
from pathlib import Path
from typing import Any

from dialogue.atomic_file import replace_file
from dialogue.text_files import read_text
from dialogue.vocabulary import normalise, without_marks
from training.reading.contexts import Context

SHEET, PAGE, KEY = "sheet.txt", "index.html", "key.json"
TEMPLATE = Path(__file__).with_name("page.html")
INSTRUCTIONS = """\
Read each context, then each reply to its last line, and write two letters between the brackets:
first y or n for sensible: does all of it make sense here, to a strict reader? It does not if it
ignores or misreads what was said, contradicts it, asks what was just told, has the wrong feeling,
is broken English, or claims what a program cannot have (a body, a family, a past day).
Then y or n for specific: is it a reply to this, rather than one that fits almost anything?
What is not sensible is not specific. So write [yy], [yn] or [nn]; a word about the fault may
follow: [nn asks again].
"""
_LINE = re.compile(r"^(\d+)([a-z]+) \[([^\]]*)\]", re.MULTILINE)


@dataclass(frozen=True)
class Judgement:
    """One reader's judgement of one reply."""

    sensible: bool
    specific: bool
    fault: str = ""


def one_form(text: str) -> str:
    """Normalise a reply to the form that all sources share: lower case, plain punctuation."""
    text = re.sub(r"[^\w\s.,?!'-]|_|(?<=\s)-+(?=\s)", " ", normalise(without_marks(text)))
    text = re.sub(
        r"\s*([.,?!])[.,?!\s]*(?=[.,?!])|\s+", lambda match: " " if match[0].isspace() else "", text
    )
    text = re.sub(r"\s+(?=[.,?!])", "", text).strip(" ,-")
    return text if text.endswith((".", "?", "!")) else f"{text}."


def write(
    folder: Path,
    contexts: Sequence[Context],
    replies: Mapping[str, Sequence[str]],
    *,
    seed: int = 0,
    about: Mapping[str, Any] | None = None,
) -> None:
    """Write sheet.txt, index.html and key.json into a folder.

    replies: by source, one per context. A reply that two sources share is listed once and counts
    for both. about: how each source answered, for the key. Raises ValueError if the folder already
    holds a sheet, so that no reading ever loses its key.
    """
    if (folder / KEY).exists():
        raise ValueError(f"{folder} already holds a sheet; choose another folder with --out")
    rng = random.Random(seed)
    # Readers must not guess a source from its position: contexts and replies are both shuffled.
    order = rng.sample(range(len(contexts)), len(contexts))
    lines, key = [INSTRUCTIONS], []
    for number, index in enumerate(order, start=1):
        context = contexts[index]
        said: dict[str, list[str]] = {}
        for source, texts in replies.items():
            said.setdefault(one_form(texts[index]), []).append(source)
        shown = rng.sample(sorted(said), len(said))  # sorted: the same seed gives the same sheet
        lines.append(f"## {number}")
        lines += [f"{who}: {text}" for who, text in _spoken(context)]
        lines += [f"{number}{_letter(place)} [  ] {text}" for place, text in enumerate(shown)] + [
            ""
        ]
        key.append(
            {
                "set": context.set,
                "id": context.id,
                "replies": {
                    f"{number}{_letter(place)}": said[text] for place, text in enumerate(shown)
                },
            }
        )
    folder.mkdir(parents=True, exist_ok=True)
    text = "\n".join(lines) + "\n"
    page = read_text(TEMPLATE).replace("{{sheet}}", escape(text, quote=False))
    hidden = json.dumps(
        {"sources": dict(about or dict.fromkeys(replies)), "contexts": key}, indent=1
    )
    for name, content in ((SHEET, text), (PAGE, page), (KEY, hidden + "\n")):
        replace_file(folder / name, partial(Path.write_text, data=content, encoding="utf-8"))


def read_key(folder: Path) -> dict[str, Any]:
    """Read which source gave which reply. Raises ValueError if the folder holds no sheet."""
    try:
        key: dict[str, Any] = json.loads(read_text(folder / KEY))
        return key
    except ValueError as error:
        raise ValueError(f"{folder} holds no sheet of training.reading: {error}") from None


def read_filled(path: Path, labels: Sequence[str]) -> dict[str, Judgement]:
    """Read a filled-in sheet: judgements by label. Labels left empty are absent.

    Raises ValueError, naming file and label, if a mark is invalid or from another sheet.
    """
    known, found = set(labels), {}
    for match in _LINE.finditer(read_text(path)):
        label, (marks, _, fault) = match[1] + match[2], match[3].strip().partition(" ")
        if label not in known:
            raise ValueError(
                f"{path}: {label} is not a reply of this sheet; is it from another one?"
            )
        if not marks:
            continue
        if marks.lower() not in ("yy", "yn", "nn"):
            raise ValueError(
                f"{path}: {label} has [{match[3]}]; expected [yy], [yn] or [nn]: sensible, specific"
            )
        found[label] = Judgement(marks[0] in "yY", marks[1] in "yY", fault.strip())
    return found


def _spoken(context: Context) -> list[tuple[str, str]]:
    last = len(context.turns) - 1
    return [
        ("companion" if (last - at) % 2 else "person", one_form(turn))
        for at, turn in enumerate(context.turns)
    ]


def _letter(place: int) -> str:
    """Label a position by letters: a to z, then ba, bb, ..."""
    first, last = divmod(place, 26)
    return (_letter(first) if first else "") + chr(ord("a") + last)
