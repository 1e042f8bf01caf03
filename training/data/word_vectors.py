"""Initialise an embedding from word vectors in the text formats of word2vec and GloVe."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dialogue.text_files import numbered_lines
from dialogue.vocabulary import Vocabulary
from training.corpora.transcript import Complain, Complaints

_SPACE_MARK = "\u2581"  # sentencepiece's, before a piece that begins a word
_BEGINNING = 100  # lines to infer the size of a file's vectors from


def initialise(
    embedding: Tensor, path: Path, vocabulary: Vocabulary, left_out: Complaints | None = None
) -> float:
    """Copy a file's vectors into an embedding (V, E), in place; return the share of tokens found.

    Each line is a word and its E numbers. word2vec's header, "words numbers", is skipped; .gz works
    too. Everything before the last E numbers is the word, even with spaces in it. left_out counts
    the lines without a vector. A token takes the vector of its word, preferably in the same case.
    All vectors are then shifted and scaled together to the embedding's current mean and standard
    deviation, which the layers above it were initialised for. Raises ValueError if the file is
    missing, is not in this format, has vectors of another size, or has no word of the vocabulary.
    """
    rows: dict[str, list[int]] = {}
    for token_id in range(len(vocabulary)):
        rows.setdefault(vocabulary.piece(token_id).removeprefix(_SPACE_MARK), []).append(token_id)
    size = embedding.shape[1]
    check(path, size)
    left_out = left_out or Complaints(skip=True)
    vectors = np.zeros(embedding.shape, dtype=np.float32)
    found = np.zeros(len(vocabulary), dtype=np.int8)  # 2: exact match, 1: match in another case
    for where, word, numbers in _entries(path, size, left_out):
        waiting = [(token_id, 2) for token_id in rows.get(word, ())] + [
            (token_id, 1) for token_id in rows.get(word.lower(), ())
        ]
        waiting = [
            (token_id, preference)
            for token_id, preference in waiting
            if found[token_id] < preference
        ]
        if not waiting:
            continue
        vector = _vector(numbers)
        if vector is None:  # parsed only for words of the vocabulary: files have millions of lines
            left_out(f"{where}: {word!r} is not followed by {size} numbers")
            continue
        for token_id, preference in waiting:
            vectors[token_id], found[token_id] = vector, max(preference, found[token_id])
    # Shift and scale all found vectors together: that keeps the geometry between them.
    known = torch.from_numpy(found > 0)
    taken = torch.from_numpy(vectors)[known]
    if not len(taken) or not float(taken.std()) > 0:
        raise ValueError(
            f"{path} has no word of this vocabulary, or all its vectors are the same; "
            "is it in another language or format?"
            + (
                f" {left_out.count:,} lines were left out, the first: {left_out.first}"
                if left_out.count
                else ""
            )
        )
    with torch.no_grad():
        scaled = (
            taken - taken.mean()
        ) / taken.std() * embedding.std().cpu() + embedding.mean().cpu()
        embedding[known.to(embedding.device)] = scaled.to(embedding)
    return float(known.double().mean())


def check(path: Path, size: int) -> None:
    """Check from its first lines that a file holds vectors of this size.

    Raises ValueError if it does not.
    """
    lines = islice(numbered_lines(path, Complaints(skip=True)), _BEGINNING)
    parts = [
        line.split()
        for number, line in lines
        if line.strip() and not (number == 1 and _is_heading(line))
    ]
    widths = Counter(map(_numbers_at_the_end, parts))
    width = max(widths, key=widths.__getitem__, default=0)
    if not width:
        raise ValueError(
            f"{path}: found no words with numbers in the first lines; "
            "expected the text format of word2vec or GloVe"
        )
    if width != size:
        raise ValueError(
            f"{path}: found {width} numbers per word; --embedding asks for {size}: "
            f"use --embedding {width}, or other vectors"
        )


def _entries(path: Path, size: int, complain: Complain) -> Iterator[tuple[str, str, list[str]]]:
    """Yield where each vector is, its word and its numbers."""
    for number, line in numbered_lines(path, complain):
        if not line.strip() or (number == 1 and _is_heading(line)):
            continue
        word, *numbers = line.rstrip().rsplit(None, size)
        if len(numbers) == size:
            yield f"{path}, line {number}", word.strip(), numbers
        else:
            complain(
                f"{path}, line {number}: found {len(numbers) + 1} parts; "
                f"expected a word and {size} numbers"
            )


def _is_heading(line: str) -> bool:
    """Return whether a first line is word2vec's header, "words numbers-per-word"."""
    parts = line.split()
    return len(parts) == 2 and all(part.isdecimal() for part in parts)


def _numbers_at_the_end(parts: list[str]) -> int:
    """Count the numbers that end a line; its first part is the word."""
    count = 0
    for part in reversed(parts[1:]):
        if _vector([part]) is None:
            break
        count += 1
    return count


def _vector(numbers: list[str]) -> np.ndarray | None:
    """Parse numbers; None if they are not numbers, or not finite."""
    try:
        vector = np.asarray(numbers, dtype=np.float32)
    except ValueError:
        return None
    return vector if np.isfinite(vector).all() else None
