"""Labels: which plain stock replies readers named for a context, or found right in it.

    {"replies": ["How old is she now?", "That took courage.", ...]}
    {"id": "...", "context": ["...", "..."], "specific": ["How old is she now?"], "plain": ["..."]}

A line of labels holds a context, which ends with the person's turn, and the replies that a reader
named for it: specific ones, which belong right there, and plain ones, which would also fit
elsewhere. A line of replies lists what the reader chose from in the lines after it; nothing is
learnt about replies that were not on offer. A context may be labelled twice, from two lists.
"judged" lists replies that the reader judged one by one. A context from a public corpus is stored
as "corpus", "id" and "turn", the index of the turn to answer.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dialogue.text_files import numbered_lines
from training import corpora
from training.corpora import excerpts
from training.corpora.transcript import Complaints

FILE = Path(corpora.__file__).parent / "stock_replies.jsonl.gz"
PLAIN = 0.55  # what a plain reply is worth if a specific one is worth 1, much as in the SSA


@dataclass(frozen=True)
class Labelled:
    """A context and the replies that a reader named for it, with what each is worth.

    offered: the replies to choose from. is_judged: whether the reader judged each of these, rather
    than naming those that suit best.
    """

    id: str
    turns: tuple[str, ...]
    suits: Mapping[str, float]
    offered: frozenset[str]
    is_judged: bool = False


def load(path: Path = FILE) -> tuple[list[Labelled], Counter[str]]:
    """Load labels. Also return how many contexts of each missing corpus were left out.

    Raises ValueError, naming the line, if one is not a labelled context.
    """
    entries: list[tuple[int, dict[str, Any]]] = []
    for number, line in numbered_lines(path, Complaints()):
        if line.strip():
            with _of_line(path, number):
                entry = json.loads(line)
                if "turn" in entry and not isinstance(entry["corpus"], str):
                    raise TypeError(f"the corpus is {entry['corpus']!r}, not a name")
                entries.append((number, entry))
    transcripts = excerpts.transcripts(entry for _, entry in entries)
    found: dict[tuple[str, tuple[str, ...]], Labelled] = {}
    missing: Counter[str] = Counter()
    offered: frozenset[str] = frozenset()
    for number, entry in entries:
        with _of_line(path, number):
            if "replies" in entry:
                offered = frozenset(_texts(entry, "replies"))
                continue
            one = _labelled(entry, offered, transcripts)
        if one is None:
            missing[entry["corpus"]] += 1
            continue
        before = found.get((one.id, one.turns))
        if before is not None:
            one = replace(
                one, suits={**before.suits, **one.suits}, offered=before.offered | one.offered
            )
        found[one.id, one.turns] = one
    return list(found.values()), missing


@contextmanager
def _of_line(path: Path, number: int) -> Iterator[None]:
    """Name the line in any error that the block raises."""
    try:
        yield
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path}, line {number}: not a labelled context ({error!r}); see {__name__}"
        ) from None


def _labelled(
    entry: Mapping[str, Any], offered: frozenset[str], transcripts: excerpts.Transcripts
) -> Labelled | None:
    """Parse one entry; None if its conversation is not available."""
    if "turn" in entry:
        there = excerpts.context(entry, transcripts)
        if there is None:
            return None
        turns, _ = there
    else:
        turns = tuple(_texts(entry, "context"))
    specific, plain = (_texts(entry, name) for name in ("specific", "plain"))
    if not turns:
        raise ValueError("the context has no turn")
    is_judged = "judged" in entry
    if is_judged:
        offered = frozenset(_texts(entry, "judged"))
    suits = dict.fromkeys(plain, PLAIN) | dict.fromkeys(specific, 1.0)
    if not suits.keys() <= offered:
        raise ValueError(f"{min(suits.keys() - offered)!r} was not among the replies on offer")
    return Labelled(str(entry["id"]), turns, suits, offered, is_judged)


def _texts(entry: Mapping[str, Any], name: str) -> list[str]:
    texts = entry[name]
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise TypeError(f"{name} is {texts!r}, not a list of texts")
    return texts
