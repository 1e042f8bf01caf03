"""MovieTriples as its authors pickled it, read without running anything that a pickle may name.

X.triples.pkl    a list of triples, each a list of token ids, every utterance of it as <s> ... </s>
Training.dict.pkl    a list of (token, id, frequency, document frequency)

The files come from Python 2, whose texts are bytes: they are read as UTF-8, and as Latin-1 where they are not.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dialogue.vocabulary import BOS, EOS, Vocabulary
from training.corpora.transcript import Complain

ADMITTED = "lists, tuples, texts and whole numbers are all that is admitted"


class _Plain(pickle.Unpickler):
    """An unpickler that imports nothing: whatever else a pickle could do begins with an import."""

    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"it asks for {module}.{name}; {ADMITTED}")

    def persistent_load(self, pid: object) -> Any:
        raise pickle.UnpicklingError("it refers to an object outside of the file, which is not admitted")


def load_plain(path: Path) -> Any:
    """Read a pickle of lists, tuples, str, bytes and int. Raises ValueError on anything else, before it can run."""
    try:
        with path.open("rb") as file:
            found = _Plain(file, encoding="bytes").load()
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error}") from None
    except Exception as error:  # a broken pickle raises whatever its bytes happen to mean
        raise ValueError(f"{path} is not read: {error or type(error).__name__}") from None
    waiting = [found]
    seen: set[int] = set()
    while waiting:
        value = waiting.pop()
        if type(value) in (list, tuple):
            if id(value) not in seen:  # a list may hold itself
                seen.add(id(value))
                waiting.extend(value)
        elif type(value) not in (str, bytes, int):
            raise ValueError(f"{path} holds a {type(value).__name__}; {ADMITTED}")
    return found


def read_words(path: Path) -> list[str]:
    """Read Training.dict.pkl: its words in the order of their ids. Raises ValueError where ids lack or stand twice."""
    words: dict[int, str] = {}
    entries = load_plain(path)
    for entry in entries if isinstance(entries, list) else [entries]:
        token, token_id, *_ = entry if isinstance(entry, tuple | list) and len(entry) > 1 else (None, None)
        if not isinstance(token, str | bytes) or not isinstance(token_id, int):
            raise ValueError(f"{path}: an entry is {str(entry)[:60]}; (token, id, frequency, document frequency) is expected")
        if token_id in words:
            raise ValueError(f"{path}: the id {token_id} stands twice")
        words[token_id] = _text(token)
    if sorted(words) != list(range(len(words))):
        raise ValueError(f"{path}: {len(words)} words whose ids are not 0 to {len(words) - 1}")
    return [words[token_id] for token_id in range(len(words))]


def vocabulary(path: Path) -> Vocabulary:
    """Read Training.dict.pkl as a vocabulary with its own ids. Raises ValueError where it is none."""
    words = read_words(path)
    try:
        return Vocabulary.of_words(words)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def triples(path: Path, words: list[str], complain: Complain) -> Iterator[tuple[int, tuple[str, ...]]]:
    """Yield the number of each triple and its three utterances, as words apart by spaces."""
    begin, end = (words.index(mark) if mark in words else -1 for mark in (BOS, EOS))
    if min(begin, end) < 0:
        raise ValueError(f"the words of {path.parent} lack {BOS} or {EOS}, which open and close each utterance")
    found = load_plain(path)
    for number, ids in enumerate(found if isinstance(found, list) else [found], start=1):
        if not isinstance(ids, list | tuple) or not all(isinstance(token_id, int) for token_id in ids):
            complain(f"{path}, triple {number}: not a list of token ids")
            continue
        if any(not 0 <= token_id < len(words) for token_id in ids):
            complain(f"{path}, triple {number}: a token id is out of range; the list has {len(words)} words")
            continue
        turns = list(_utterances(list(ids), begin, end))
        if len(turns) != 3:
            complain(f"{path}, triple {number}: {len(turns)} utterances where three are expected, each from {BOS} to {EOS}")
        elif not all(turns):
            complain(f"{path}, triple {number}: utterance {turns.index([]) + 1} is empty")
        else:
            yield number, tuple(" ".join(words[token_id] for token_id in turn) for turn in turns)


def _utterances(ids: list[int], begin: int, end: int) -> Iterator[list[int]]:
    utterance: list[int] = []
    for token_id in ids:
        if token_id == end:
            yield utterance
            utterance = []
        elif token_id != begin:
            utterance.append(token_id)
    if utterance:
        yield utterance


def _text(token: str | bytes) -> str:
    if isinstance(token, str):
        return token
    try:
        return token.decode("utf-8")
    except UnicodeDecodeError:
        return token.decode("latin-1")
