"""Topical replies as a corpus: each moment that a reply suits, with the reply as its last turn."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from dialogue.text_files import numbered_lines
from dialogue.vocabulary import normalise
from training.corpora.transcript import Complain, Transcript, split_of

FILE = Path(__file__).with_name("topical_replies.jsonl.gz")  # ours, so it comes with the project


def read(split: str, complain: Complain, path: Path = FILE) -> Iterator[Transcript]:
    """Yield the conversations of one split, chosen by the hash of the reply.

    Thus no reply occurs in two splits. Lines without lists of replies and moments are reported;
    further checks are left to training.ranking.topical.
    """
    for number, line in numbered_lines(path, complain):
        try:
            entry = json.loads(line)
            replies, moments = entry["replies"], entry["suits"]
            pairs = [(reply, (*map(str, moment), reply)) for reply in replies for moment in moments]
        except (ValueError, KeyError, TypeError, RecursionError):
            complain(
                f"{path}, line {number}: no topical replies; "
                'expected {"replies": ["..."], "suits": [["...", ...], ...]}'
            )
        else:
            for place, (reply, turns) in enumerate(pairs):
                if split_of(normalise(reply)) == split:
                    yield Transcript(f"{number}.{place}", "topical", turns)
