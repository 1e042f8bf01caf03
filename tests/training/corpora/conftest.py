"""What tests of corpora share: an empty folder of corpora, and how to fill and read it."""

import gzip
import json
from pathlib import Path

import pytest

from training import corpora
from training.corpora.transcript import Complaints, split_of


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder of corpora, set as CORPORA."""
    monkeypatch.setenv("CORPORA", str(tmp_path))
    return tmp_path


def load(
    name: str | Path, split: str = "train", *, skip: bool = False
) -> tuple[list[tuple[str, ...]], Complaints]:
    complaints = Complaints(skip=skip)
    return [
        transcript.turns for transcript in corpora.load([str(name)], split, complaints)
    ], complaints


def write(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    content = content if isinstance(content, bytes) else content.encode()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def jsonl(*entries: object) -> str:
    return "".join(json.dumps(entry, ensure_ascii=False) + "\n" for entry in entries)


def ids_of(split: str, count: int) -> list[str]:
    return [key for key in map(str, range(10_000)) if split_of(key) == split][:count]
