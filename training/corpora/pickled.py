"""Conversations as MovieTriples' authors pickle them, read without running any code in the pickle.

X.triples.pkl      a list of triples: lists of token ids, each utterance as <s> ... </s>
X.dialogues.pkl    from hed-dlg-truncated: a list of dialogues, each a list of token ids with </s>
                   after every turn and perhaps </d> at its end; or all dialogues in one list,
                   separated by </d> or by a second </s>
Training.dict.pkl  a list of (token, id, frequency, document frequency); so is Dataset.dict.pkl

The files come from Python 2, where texts are bytes: they are read as UTF-8, else as Latin-1.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any

from dialogue.vocabulary import BOS, EOS, Vocabulary
from training.corpora.transcript import Complain

TURN_ENDS = (EOS, "__eot__")  # the latter in the Ubuntu dialogues of hed-dlg-truncated
DIALOGUE_END = "</d>"
ADMITTED = "only lists, tuples, texts and whole numbers are allowed"


class _NotAdmitted(pickle.UnpicklingError):
    """A pickle asks for something that is not allowed."""


class _Plain(pickle.Unpickler):
    """An unpickler that imports nothing; without imports a pickle can do no harm."""

    def find_class(self, module: str, name: str) -> Any:
        raise _NotAdmitted(f"it asks for {module}.{name}; {ADMITTED}")

    def persistent_load(self, pid: object) -> Any:
        raise _NotAdmitted("it refers to an object outside the file, which is not allowed")


def load_plain(path: Path) -> Any:
    """Load a pickle of lists, tuples, str, bytes and int.

    Raises ValueError on anything else, before it can run.
    """
    try:
        with path.open("rb") as file:
            found = _Plain(file, encoding="bytes").load()
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error}") from None
    except _NotAdmitted as error:
        raise ValueError(f"cannot read {path}: {error}") from None
    except Exception as error:  # corrupt bytes may decode to any operation, hence any exception
        raise ValueError(
            f"cannot read {path}: it is not a pickle, or a corrupt one "
            f"({error or type(error).__name__})"
        ) from None
    # Without recursion, which a deeply nested pickle could exhaust.
    waiting = [found]
    seen: set[int] = set()
    while waiting:
        value = waiting.pop()
        # `type`, not isinstance: True is an int, and is refused.
        if type(value) in (list, tuple):
            if id(value) not in seen:  # a list may contain itself
                seen.add(id(value))
                waiting.extend(value)
        elif type(value) not in (str, bytes, int):
            raise ValueError(f"{path} holds a {type(value).__name__}; {ADMITTED}")
    return found


def read_words(path: Path) -> list[str]:
    """Read the words of Training.dict.pkl in the order of their ids.

    Raises ValueError if an id is missing or occurs twice.
    """
    words: dict[int, str] = {}
    entries = load_plain(path)
    for entry in entries if isinstance(entries, list) else [entries]:
        token, token_id, *_ = (
            entry if isinstance(entry, tuple | list) and len(entry) > 1 else (None, None)
        )
        if not isinstance(token, str | bytes) or not isinstance(token_id, int):
            raise ValueError(
                f"{path}: found the entry {str(entry)[:60]}; "
                "expected (token, id, frequency, document frequency)"
            )
        if token_id in words:
            raise ValueError(f"{path}: the id {token_id} occurs twice")
        words[token_id] = _text(token)
    # A gap would shift every later word, and a model would learn nonsense without an error.
    if sorted(words) != list(range(len(words))):
        raise ValueError(f"{path}: {len(words)} words whose ids are not 0 to {len(words) - 1}")
    return [words[token_id] for token_id in range(len(words))]


def vocabulary(path: Path) -> Vocabulary:
    """Load Training.dict.pkl as a vocabulary with its own ids.

    Raises ValueError if it is not one.
    """
    words = read_words(path)
    try:
        return Vocabulary.of_words(words)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def triples(
    path: Path, words: list[str], complain: Complain
) -> Iterator[tuple[int, tuple[str, ...]]]:
    """Yield the number of each triple and its three utterances as space-separated words."""
    found = load_plain(path)
    for number, ids in _lists_of_ids(
        path, found if isinstance(found, list) else [found], "triple", words, complain
    ):
        turns = _turns(path, ids, words)
        if len(turns) != 3:
            complain(
                f"{path}, triple {number}: found {len(turns)} utterances; "
                f"expected three, each from {BOS} to {EOS}"
            )
        elif not all(turns):
            complain(f"{path}, triple {number}: utterance {turns.index('') + 1} is empty")
        else:
            yield number, tuple(turns)


def dialogues(
    path: Path, words: list[str], complain: Complain
) -> Iterator[tuple[int, tuple[str, ...]]]:
    """Yield the number of each dialogue and its turns as space-separated words."""
    found = load_plain(path)
    end = words.index(DIALOGUE_END) if DIALOGUE_END in words else -1
    if isinstance(found, list) and found and all(isinstance(token_id, int) for token_id in found):
        found = _dialogues_of(found, words, end)
    for number, ids in _lists_of_ids(
        path, found if isinstance(found, list) else [found], "dialogue", words, complain
    ):
        turns = _turns(path, [token_id for token_id in ids if token_id != end], words)
        # The scripts of hed-dlg-truncated also put a </s> before the first turn.
        turns = turns[1:] if turns and not turns[0] else turns
        if not turns or not all(turns):
            complain(f"{path}, dialogue {number}: an empty utterance, or no turn at all")
        else:
            yield number, tuple(turns)


def _dialogues_of(ids: list[int], words: list[str], end: int) -> list[list[int]]:
    """Split one list into dialogues: at </d> if there is any, else where two turn ends meet."""
    if end in ids:
        return [
            list(part)
            for is_end, part in groupby(ids, lambda token_id: token_id == end)
            if not is_end
        ]
    # Without </d>, a dialogue starts where one turn end directly follows another.
    ends = _turn_ends(words)
    starts = [
        place for place in range(1, len(ids)) if ids[place] in ends and ids[place - 1] in ends
    ]
    return [ids[start:stop] for start, stop in pairwise([0, *starts, len(ids)])]


def _turn_ends(words: list[str]) -> set[int]:
    return {token_id for token_id, word in enumerate(words) if word in TURN_ENDS}


def _lists_of_ids(
    path: Path, found: list[Any], kind: str, words: list[str], complain: Complain
) -> Iterator[tuple[int, list[int]]]:
    """Yield each list of valid word ids with its number; report anything else."""
    for number, ids in enumerate(found, start=1):
        if not isinstance(ids, list | tuple) or not all(
            isinstance(token_id, int) for token_id in ids
        ):
            complain(f"{path}, {kind} {number}: not a list of token ids")
        elif any(not 0 <= token_id < len(words) for token_id in ids):
            complain(
                f"{path}, {kind} {number}: a token id is out of range; "
                f"the word list has {len(words)} words"
            )
        else:
            yield number, list(ids)


def _turns(path: Path, ids: list[int], words: list[str]) -> list[str]:
    """Split ids at turn ends and return each turn as space-separated words.

    Raises ValueError if no word ends a turn.
    """
    ends = _turn_ends(words)
    if not ends:
        raise ValueError(f"the words of {path.parent} lack {EOS}, which closes each utterance")
    turns: list[list[str]] = [[]]
    for token_id in ids:
        if token_id in ends:
            turns.append([])
        elif words[token_id] != BOS:
            turns[-1].append(words[token_id])
    if not turns[-1]:  # the last turn end opens no new turn
        turns.pop()
    return [" ".join(turn) for turn in turns]


def _text(token: str | bytes) -> str:
    if isinstance(token, str):
        return token
    try:
        return token.decode("utf-8")
    except UnicodeDecodeError:
        return token.decode("latin-1")
