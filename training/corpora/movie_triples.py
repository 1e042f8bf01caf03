"""MovieTriples (Serban et al. 2016), as text or as pickled token ids.

The text has three tab-separated utterances per line, and is preferred if a folder has both forms of
a split. pickled.py reads the other form, and the dialogues of hed-dlg-truncated, which come in the
same kind of folder.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from dialogue.text_files import numbered_lines
from training.corpora.pickled import dialogues, read_words, triples
from training.corpora.transcript import Complain, Transcript

FOLDERS = (
    "data/MovieTriples_Dataset",
    "dat/MovieTriples_Dataset",
    "data/movie_triples",
    "dat/movie_triples",
)
DICTS = ("Training.dict.pkl", "Dataset.dict.pkl")
_PICKLED = {"triples": triples, "dialogues": dialogues}
_NAMES = {"train": "Training", "validation": "Validation", "test": "Test"}


def find(folder: Path) -> Path | None:
    """Find MovieTriples: as movie_triples in the folder of corpora, or as one of FOLDERS."""
    places = [folder / "movie_triples", folder / "MovieTriples_Dataset", *map(Path, FOLDERS)]
    return next((place for place in places if place.is_dir()), None)


def read(folder: Path, split: str, complain: Complain) -> Iterator[Transcript]:
    """Yield the triples of one split. A triple's id is its position in the file.

    Raises ValueError if the split's file is missing; reports lines that are not triples.
    """
    path = _find(folder, split)
    if path.suffix == ".pkl":
        found = _PICKLED[path.name.split(".")[1]](path, read_words(dict_of(folder)), complain)
    else:
        found = _triples(path, complain)
    for number, turns in found:
        yield Transcript(f"{folder.name}/{split}/{number}", folder.name, turns, spaced=True)


def files_of(folder: Path) -> list[Path]:
    """List every file that `read` may use: the splits in both forms, and the word list."""
    names = (*_NAMES.values(), DICTS[1])
    return sorted(path for name in names for path in folder.glob(f"{name}*") if path.is_file())


def dict_of(folder: Path) -> Path:
    """Find the word list. Raises ValueError if the folder has none."""
    found = next((folder / name for name in DICTS if (folder / name).is_file()), None)
    if found is None:
        raise ValueError(
            f"{folder} has no {' or '.join(DICTS)}, MovieTriples' list of words and their ids"
        )
    return found


def _find(folder: Path, split: str) -> Path:
    name = _NAMES[split]
    found = sorted(
        path for path in folder.glob(f"{name}_*") if path.suffix != ".pkl" and path.is_file()
    )
    # Pickles only if there is no text: text needs no word list.
    found = found or [path for kind in _PICKLED for path in folder.glob(f"{name}.{kind}.pkl")]
    if len(found) != 1:
        names = ", ".join(path.name for path in found) or "none"
        pickles = " or ".join(f"{name}.{kind}.pkl" for kind in _PICKLED)
        raise ValueError(
            f"{folder}: expected one file {name}_*, plain or .gz, or {pickles} for this split; "
            f"found {names}"
        )
    return found[0]


def _triples(path: Path, complain: Complain) -> Iterator[tuple[int, tuple[str, ...]]]:
    for number, line in numbered_lines(path, complain):
        turns = tuple(part.strip() for part in line.rstrip("\r\n").split("\t"))
        if len(turns) != 3:
            complain(
                f"{path}, line {number}: found {len(turns)} utterances; "
                "expected three, tab-separated"
            )
        elif not all(turns):
            complain(f"{path}, line {number}: utterance {turns.index('') + 1} is empty")
        else:
            yield number, turns
