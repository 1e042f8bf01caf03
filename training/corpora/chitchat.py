"""The BYU chit-chat corpus (MIT licence), from the PyPI package chitchat-dataset.

Two strangers type to each other.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from dialogue.text_files import read_text
from dialogue.vocabulary import CONTINUED
from training.corpora.transcript import Complain, Transcript, split_of


def find() -> Path:
    """Return the path of the corpus in its package. Raises ValueError if it is not installed."""
    spec = find_spec("chitchat_dataset")
    if spec is None or spec.origin is None:
        raise ValueError(
            "the chitchat corpus is not installed: python -m pip install -r requirements-train.txt"
        )
    return Path(spec.origin).with_name("dataset.json")


def read(split: str, complain: Complain) -> Iterator[Transcript]:
    """Yield the conversations of one split, chosen by the hash of their ids.

    Consecutive messages by one sender become one turn, joined by <continued_utterance> as in
    MovieTriples. Raises ValueError if the package is not installed; reports conversations that have
    no text.
    """
    path = find()
    for key, conversation in json.loads(read_text(path)).items():
        if split_of(key) != split:
            continue
        turns = tuple(_turns(conversation))
        if turns:
            yield Transcript(key, "chitchat", turns)
        else:
            complain(f"{path}, conversation {key}: no message with text")


def _turns(conversation: dict[str, Any]) -> Iterator[str]:
    sender: str | None = None
    texts: list[str] = []
    for turn in conversation["messages"]:
        for message in turn:
            text = message["text"].strip()
            if not text:
                continue
            if message["sender"] != sender and texts:
                yield f" {CONTINUED} ".join(texts)
                texts = []
            sender = message["sender"]
            texts.append(text)
    if texts:  # the last speaker's
        yield f" {CONTINUED} ".join(texts)
