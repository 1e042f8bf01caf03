"""What tests of corpora share: an empty folder of corpora, and how to fill and read it."""

import gzip
import json

import pytest

from training import corpora
from training.corpora.transcript import Complaints, split_of


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty folder of corpora, set as CORPORA."""
    monkeypatch.setenv("CORPORA", str(tmp_path))
    return tmp_path


def load(name, split="train", *, skip=False):
    complaints = Complaints(skip=skip)
    return [
        transcript.turns for transcript in corpora.load([str(name)], split, complaints)
    ], complaints


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    content = content if isinstance(content, bytes) else content.encode()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def jsonl(*entries):
    return "".join(json.dumps(entry, ensure_ascii=False) + "\n" for entry in entries)


def ids_of(split, count):
    return [key for key in map(str, range(10_000)) if split_of(key) == split][:count]
