"""MovieTriples (Serban et al. 2016) as text: three utterances a line, apart by tabs, already split."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from training.corpora.transcript import Complain, Transcript, numbered_lines

_PREFIXES = {"train": "Training_", "validation": "Validation_", "test": "Test_"}


def read(folder: Path, split: str, complain: Complain) -> Iterator[Transcript]:
    """Yield the triples of one split, the id of each being its place in the file.

    Raises ValueError where the folder lacks the split's file; complains of a line that is no triple.
    """
    path = _find(folder, split)
    for number, turns in _triples(path, complain):
        yield Transcript(f"{folder.name}/{split}/{number}", folder.name, turns)


def _find(folder: Path, split: str) -> Path:
    found = sorted(path for path in folder.glob(_PREFIXES[split] + "*") if path.suffix != ".pkl" and path.is_file())
    if len(found) != 1:
        names = ", ".join(path.name for path in found) or "none"
        raise ValueError(f"{folder}: expected one file {_PREFIXES[split]}*, plain or .gz, for this split; found {names}")
    return found[0]


def _triples(path: Path, complain: Complain) -> Iterator[tuple[int, tuple[str, ...]]]:
    for number, line in numbered_lines(path):
        try:
            turns = tuple(part.strip() for part in line.decode("utf-8").rstrip("\r\n").split("\t"))
        except UnicodeDecodeError as error:
            complain(f"{path}, line {number}: invalid UTF-8 ({error.reason} at byte {error.start})")
            continue
        if len(turns) != 3:
            complain(f"{path}, line {number}: {len(turns)} utterances where three, apart by tabs, are expected")
        elif not all(turns):
            complain(f"{path}, line {number}: utterance {turns.index('') + 1} is empty")
        else:
            yield number, turns
