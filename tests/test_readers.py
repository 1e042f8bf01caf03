"""Whatever reads text reads it in every encoding with a byte order mark, and rejects UTF-16 without
one.
"""

import ast
import codecs
import json
from pathlib import Path

import pytest
import torch

from dialogue import checkpoint
from dialogue.__main__ import read_openings
from dialogue.bench.fidelity import read_exchanges
from dialogue.limits import read_phrases
from dialogue.safety.__main__ import read_input
from dialogue.vocabulary import Vocabulary
from skill.replay import read_talks
from training import compare_runs, corpora
from training.corpora import published
from training.corpora.transcript import Complaints, split_of
from training.data import word_vectors
from training.reading import contexts, sheet
from training.run import manifest
from training.run.config import read_recipe
from training.run.log import read_rows

ROOT = Path(__file__).parent.parent
ENCODINGS = {
    "utf-8-sig": lambda text: codecs.BOM_UTF8 + text.encode(),
    "utf-16-le": lambda text: codecs.BOM_UTF16_LE + text.encode("utf-16-le"),
    "utf-16-be": lambda text: codecs.BOM_UTF16_BE + text.encode("utf-16-be"),
}
TRAIN = [key for key in map(str, range(200)) if split_of(key) == "train"]


def corpus(path):
    return [transcript.turns for transcript in corpora.load([str(path)], "train", Complaints())]


def movie_triples(path):
    return corpus(path.parent)


def vectors(path):
    vocabulary = Vocabulary.of_words(["<unk>", "schön", "the"])
    embedding = torch.randn(len(vocabulary), 2, generator=torch.Generator().manual_seed(0))
    return word_vectors.initialise(embedding, path, vocabulary), embedding.tolist()


def vocabulary(path):
    return Vocabulary.load(path).encode("schön the")


CORPORA = {
    "JSONL": (
        "talk.jsonl",
        "".join(
            json.dumps({"id": key, "turns": [f"schön {key}", "ja ☃"]}, ensure_ascii=False) + "\n"
            for key in TRAIN
        ),
        corpus,
    ),
    "MovieTriples": ("Training_Shuffled.txt", "schön .\twhy ?\tso ☃\na\tb\tc\n", movie_triples),
    "a text": ("book.txt", "schön so\n\nwhy ☃\n" * 20, corpus),
    "a table": ("news.csv", "".join(f'"{n}","schön {n}","why ☃"\n' for n in range(1, 60)), corpus),
}  # fmt: skip
OTHERS = {
    "word vectors": ("vectors.txt", "schön 1 2\nthe 3 -1\n", vectors),
    "a recipe": ("recipe.toml", '# schön ☃\nepochs = 2\ndata = ["ä.txt"]\n', read_recipe),
    "phrases": (
        "phrases.txt",
        "schön so\nnever ☃\n",
        lambda path: list(read_phrases(str(path)).values()),
    ),
    "openings": ("openings.txt", "schön so\nwhy ☃\n", read_openings),
    "a text to report on": ("said.txt", "schön so\nwhy ☃\n", lambda path: read_input(str(path))),
    "a talk to replay": ("script.txt", "schön so\nwhy ☃\n\nand so on\n", read_talks),
    "the bench's conversations": ("held.tsv", "schön so\twhy ☃\na\tb\tc\n", read_exchanges),
    "contexts": (
        "mine.jsonl",
        '{"turns": ["schön so ☃"], "reply": "ja"}\n',
        lambda path: contexts.load(str(path)),
    ),
    "a filled-in sheet": (
        "sheet.txt",
        "1a [yy schön] so ☃\n1b [nn] ja\n",
        lambda path: sheet.read_filled(path, ["1a", "1b"]),
    ),
    "a sheet's key": (
        "key.json",
        '{"sources": {"schön": ""}}',
        lambda path: sheet.read_key(path.parent),
    ),
    "a published corpus": (
        "human.txt",
        "Human 1: schön so ☃\nHuman 2: ja\n",
        lambda path: list(published.meena(path)),
    ),
    "a log": ("log.jsonl", '{"step": 1, "loss": 2.0}\n{"step": 2}\n', read_rows),
    "measured figures": ("figures.json", '{"schön": 1.0}', compare_runs._figures),
    "a run's manifest": ("run.json", '{"schön": 1.0}', lambda path: manifest.read(path.parent)),
}


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("kind", [*CORPORA, *OTHERS])
def test_a_text_means_the_same_in_every_encoding_with_a_mark(tmp_path, kind, encoding):
    """A byte order mark made the first line invalid or its first word unknown; UTF-16 was read as
    spaced letters.
    """
    name, text, read = (CORPORA | OTHERS)[kind]
    (tmp_path / "plain").mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "plain" / name).write_text(text, encoding="utf-8")
    (tmp_path / "other" / name).write_bytes(ENCODINGS[encoding](text))
    expected = read(tmp_path / "plain" / name)
    assert expected
    assert read(tmp_path / "other" / name) == expected


@pytest.mark.parametrize("skip", [False, True], ids=["strictly", "skipping bad lines"])
@pytest.mark.parametrize("codec", ["utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("kind", CORPORA)
def test_a_corpus_in_utf_16_without_a_mark_is_refused_even_where_bad_lines_are_skipped(
    tmp_path, kind, codec, skip
):
    """With --skip-bad-lines a model was trained on what was left: spaced letters."""
    name, text, _ = CORPORA[kind]
    (tmp_path / name).write_bytes(text.encode(codec))
    place = tmp_path if kind == "MovieTriples" else tmp_path / name
    with pytest.raises(
        ValueError,
        match=rf"cannot read .*{name}: .*it looks like {codec[:-3].upper()}.*; save it as UTF-8",
    ):
        corpora.load([str(place)], "train", Complaints(skip=skip))


@pytest.mark.parametrize("kind", [kind for kind in OTHERS if kind != "a run's manifest"])
def test_another_text_in_utf_16_without_a_mark_is_refused(tmp_path, kind):
    name, text, read = OTHERS[kind]
    (tmp_path / name).write_bytes(text.encode("utf-16-le"))
    with pytest.raises(ValueError, match=rf"{name}.*it looks like UTF-16LE"):
        read(tmp_path / name)


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_checkpoint_whose_configuration_was_saved_by_another_editor_loads(
    talker, tmp_path, encoding
):
    checkpoint.save(tmp_path, talker)
    config = tmp_path / checkpoint.CONFIG
    config.write_bytes(ENCODINGS[encoding](config.read_text(encoding="utf-8")))
    assert checkpoint.load(tmp_path).config == talker.config


def test_a_list_of_words_may_begin_with_a_mark(tmp_path):
    path = tmp_path / "words.json"
    path.write_bytes(
        codecs.BOM_UTF8
        + json.dumps(
            ["<unk>", "<pad>", "<s>", "</s>", "<person>", "<number>", "<continued_utterance>"]
        ).encode()
    )
    assert len(Vocabulary.load(path)) == 7


def test_nothing_else_decodes_a_file_by_itself():
    """Every reader used to, and each forgot something."""
    for path in [
        path for package in ("dialogue", "training") for path in (ROOT / package).rglob("*.py")
    ]:
        if path.name == "text_files.py":
            continue
        calls = [
            node
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(node, ast.Call)
        ]
        names = {node.func.attr for node in calls if isinstance(node.func, ast.Attribute)}
        assert not names & {"read_text", "TextIOWrapper"}, path
