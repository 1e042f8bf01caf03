"""Word vectors out of a text file, as the first embedding of a model: the formats of word2vec and of GloVe."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dialogue.text_files import numbered_lines
from dialogue.vocabulary import Vocabulary
from training.corpora.transcript import Complaints

_SPACE_MARK = "\u2581"  # sentencepiece's, before a piece that begins a word


def initialise(embedding: Tensor, path: Path, vocabulary: Vocabulary) -> float:
    """Put the vectors of a file into the rows of an embedding (V, E), in place, and return the share of tokens found.

    A line is a word and its E numbers; word2vec's first line, "words numbers", may stand before them; .gz is read, too.
    A token takes the vector of its word, where one is written so, in capitals or not. The vectors are moved and scaled as a
    whole to the mean and standard deviation that the embedding has already: those are what its layers were built for.
    Raises ValueError where the file is missing, broken, of another size, or has no word of the vocabulary.
    """
    rows: dict[str, list[int]] = {}
    for token_id in range(len(vocabulary)):
        rows.setdefault(vocabulary.piece(token_id).removeprefix(_SPACE_MARK), []).append(token_id)
    size = embedding.shape[1]
    vectors = np.zeros(embedding.shape, dtype=np.float32)
    found = np.zeros(len(vocabulary), dtype=np.int8)  # 2: written just so, 1: found in other case
    for number, line in numbered_lines(path, Complaints()):
        word, *numbers = line.rstrip().split(" ")
        if number == 1 and len(numbers) == 1 and word.isdigit():
            continue
        if len(numbers) != size:
            raise ValueError(f"{path}, line {number}: {len(numbers)} numbers; --embedding asks for {size} a word")
        for written, rank in ((word, 2), (word.lower(), 1)):
            for token_id in rows.get(written, ()):
                if found[token_id] < rank:
                    try:
                        vectors[token_id] = np.asarray(numbers, dtype=np.float32)
                    except ValueError:
                        raise ValueError(f"{path}, line {number}: {word!r} is not followed by {size} numbers") from None
                    found[token_id] = rank
    known = torch.from_numpy(found > 0)
    taken = torch.from_numpy(vectors)[known]
    if not len(taken) or not bool(torch.isfinite(taken).all()) or not float(taken.std()) > 0:
        raise ValueError(f"{path} has no word of this vocabulary, or no vectors that differ; is it of another language or format?")
    with torch.no_grad():
        scaled = (taken - taken.mean()) / taken.std() * embedding.std().cpu() + embedding.mean().cpu()
        embedding[known.to(embedding.device)] = scaled.to(embedding)
    return float(known.double().mean())
