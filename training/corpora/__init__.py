"""Corpora as transcripts: what was said in each conversation, in order, one split at a time.

The rest of training calls only `load`. Each corpus has its own module, which knows one format.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from training.corpora import chitchat, movie_triples, self_dialogue, subsequence, text, topical
from training.corpora.transcript import SPLITS, Complain, Complaints, Transcript

COMPANION = Path(__file__).with_name("companion.jsonl.gz")  # ours, so it comes with the project
# Corpora stored as a JSONL file of that name in the corpora folder.
JSONL = (
    "self_dialogue",
    "empathetic",
    "synthetic_persona",
    "personachat",
    "photochat",
    "meena",
    "smalltalk",
)
NAMES = ("companion", "chitchat", *JSONL, "topical", "movie_triples", "subsequence")
SPLIT_BY_ANSWER = frozenset({"smalltalk"})  # single exchanges, many with the same answer
MOST_TIMES = 1000  # anything larger is surely a typing mistake


def corpora_folder() -> Path:
    """Return the folder that holds the corpora: the environment's CORPORA, else data/."""
    return Path(os.environ.get("CORPORA") or "data")


def default_names() -> list[str]:
    """Return the corpora to use if none are named: MovieTriples if it is there, else chitchat."""
    return ["movie_triples"] if movie_triples.find(corpora_folder()) else ["chitchat"]


def load(names: list[str], split: str, complaints: Complaints) -> list[Transcript]:
    """Load one split of some corpora, given by name or path, in file order.

    names: one of NAMES, a MovieTriples folder, a JSONL file of conversations, plain text (.txt) or
    AG News' table (.csv), each with an optional weight (see `weighted`). split: train, validation,
    test or all. Raises ValueError on an unknown name, an invalid weight, a missing or empty corpus,
    or a malformed line.
    """
    if split not in (*SPLITS, "all"):
        raise ValueError(f"unknown split {split!r}; it is one of {', '.join(SPLITS)}, all")
    transcripts: list[Transcript] = []
    for name, times in map(weighted, names):
        wanted = [split] if split != "all" else list(SPLITS)
        found = [transcript for part in wanted for transcript in _read(name, part, complaints)]
        if not found:
            raise ValueError(
                f"the corpus {name} has no conversation in its split {split!r}: it is empty, or "
                "too small to fill every split (one conversation in twenty, chosen by its id, is "
                "for validation and one for the test; of a text, the last two twentieths of its "
                "lines); use a larger corpus"
            )
        transcripts.extend(found if times == 1 else (replace(one, times=times) for one in found))
    return transcripts


def held_out(names: Sequence[str]) -> list[Transcript]:
    """Load the test splits of some corpora, without reporting malformed lines: `load` does."""
    complaints = Complaints(skip=True)
    return [found for name, _ in map(weighted, names) for found in _read(name, "test", complaints)]


def weighted(name: str) -> tuple[str, int]:
    """Split `companion:4` into a corpus and how many times a pass reads it (once by default).

    An existing path is taken as it is, and the colon of a drive letter starts no weight. Raises
    ValueError on a weight that is not a whole number of at least 1.
    """
    corpus, colon, times = name.rpartition(":")
    if not colon or Path(name).exists() or times.startswith(("/", "\\")):
        return name, 1
    if re.fullmatch(r"[1-9][0-9]*", times) and int(times) <= MOST_TIMES:
        return corpus, int(times)
    raise ValueError(
        f"--data {name}: the weight {times!r} is not a whole number from 1 to {MOST_TIMES}; "
        f"{corpus}:4 reads {corpus or 'a corpus'} four times per pass"
    )


def path_of(name: str) -> Path:
    """Return where a corpus named by a path, or movie_triples, should be. It need not exist."""
    folder = corpora_folder()
    return (
        movie_triples.find(folder) or folder / "movie_triples"
        if name == "movie_triples"
        else Path(name)
    )


def files_of(name: str) -> list[Path]:
    """List the files a corpus is read from; none if it is generated or missing."""
    name, _ = weighted(name)
    if name == "subsequence":
        return []
    if name == "chitchat":
        return [chitchat.find()]
    if name == "companion":
        return [COMPANION]
    if name == "topical":
        return [topical.FILE]
    if name in JSONL:
        return [self_dialogue.find(corpora_folder(), name)]
    path = path_of(name)
    return movie_triples.files_of(path) if path.is_dir() else [path] if path.is_file() else []


def word_list_of(names: Sequence[str]) -> Path:
    """Find MovieTriples' word list: in the first folder that is named, else in its usual place.

    Raises ValueError if there is none.
    """
    folders = [path for path in (path_of(weighted(name)[0]) for name in names) if path.is_dir()]
    return movie_triples.dict_of(folders[0] if folders else path_of("movie_triples"))


def _read(name: str, split: str, complaints: Complain) -> Iterator[Transcript]:
    if name == "chitchat":
        return chitchat.read(split, complaints)
    if name == "subsequence":
        return subsequence.read(split)
    if name == "topical":
        return topical.read(split, complaints)
    if name == "companion" or name in JSONL:
        path = COMPANION if name == "companion" else self_dialogue.find(corpora_folder(), name)
        by_answer = name in SPLIT_BY_ANSWER
        return self_dialogue.read(path, split, complaints, corpus=name, by_answer=by_answer)
    path = path_of(name)
    if path.is_dir():
        return movie_triples.read(path, split, complaints)
    if path.is_file() and text.is_text(path):
        return text.read(path, split, complaints)
    if path.is_file():
        return self_dialogue.read(path, split, complaints, corpus=path.name.split(".")[0])
    raise ValueError(
        f"there is no corpus {name!r} (looked for {path}); --data takes {', '.join(NAMES)}, "
        "a MovieTriples folder, a JSONL file of conversations, plain text (.txt) or "
        "AG News' table (.csv)"
    )
