"""Conversations as JSONL, and the converter of the Self-dialogue Corpus."""

import csv
import gzip
import json

import pytest

from tests.training.corpora.conftest import ids_of, jsonl, load, write
from training import corpora
from training.corpora import self_dialogue
from training.corpora.transcript import Complaints

# --- JSONL ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", [".jsonl", ".jsonl.gz"])
def test_self_dialogue_is_read_plain_and_packed(folder, ending):
    one, two = ids_of("train", 2)
    text = jsonl(
        {"id": one, "topic": "movies", "turns": ["Hi – you", "Né?"]}, {"id": two, "turns": ["x"]}
    )
    write(folder / f"self_dialogue{ending}", text)
    assert load("self_dialogue")[0] == [("Hi – you", "Né?"), ("x",)]
    found = corpora.load([str(folder / f"self_dialogue{ending}")], "train", Complaints())
    assert [(t.id, t.corpus) for t in found] == [(one, "self_dialogue"), (two, "self_dialogue")]


BAD_CONVERSATIONS = {
    "no JSON": (b"{", "not a conversation"),
    "an empty line": (b"", "not a conversation"),
    "a list": (b'["a", "b"]', "not a conversation"),
    "a number": (b"3", "not a conversation"),
    "no id": (b'{"turns": ["a", "b"]}', "not a conversation"),
    "no turns": (b'{"id": "a"}', "not a conversation"),
    "an id that is no text": (b'{"id": 3, "turns": ["a"]}', "id must be a text"),
    "turns that are no list": (b'{"id": "a", "turns": "b"}', "turns a list of texts"),
    "a turn that is no text": (b'{"id": "a", "turns": ["b", 3]}', "turns a list of texts"),
    "an empty turn": (b'{"id": "a", "turns": ["b", " "]}', "an empty utterance"),
    "no turn at all": (b'{"id": "a", "turns": []}', "no turn at all"),
    "invalid UTF-8": (b'{"id": "a", "turns": ["b\xff"]}', "invalid UTF-8"),
    "half a character as id": (b'{"id": "\\ud800", "turns": ["b"]}', "half a character"),
    "half a character in a turn": (b'{"id": "a", "turns": ["b \\ud800"]}', "half a character"),
    "nested too deep": (b"[" * 100_000, "not a conversation"),
    "a number too long": (b'{"id": ' + b"1" * 5000 + b"}", "not a conversation"),
}


@pytest.mark.parametrize("ending", [".jsonl", ".jsonl.gz"])
@pytest.mark.parametrize(("line", "complaint"), BAD_CONVERSATIONS.values(), ids=BAD_CONVERSATIONS)
def test_a_line_that_is_no_conversation_stops_the_run_and_is_named(
    tmp_path, ending, line, complaint
):
    """An id that UTF-8 cannot encode was reported without file or line."""
    good = jsonl({"id": ids_of("train", 1)[0], "turns": ["hi", "hello"]}).encode()
    path = write(tmp_path / f"talk{ending}", good + line + b"\n" + good)
    with pytest.raises(ValueError, match=rf"talk{ending}, line 2: .*{complaint}"):
        load(path)


def test_bad_conversations_are_counted_where_they_are_to_be_skipped(tmp_path):
    good = jsonl({"id": ids_of("train", 1)[0], "turns": ["hi", "hello"]}).encode()
    path = write(
        tmp_path / "talk.jsonl",
        b"".join(line + b"\n" for line, _ in BAD_CONVERSATIONS.values()) + good,
    )
    found, complaints = load(path, skip=True)
    assert found == [("hi", "hello")]
    assert complaints.count == len(BAD_CONVERSATIONS)
    assert "line 1: not a conversation" in complaints.first


# --- the converter of the Self-dialogue Corpus ---------------------------------------------------


COLUMNS = [
    "AssignmentId",
    "WorkerId",
    "Reject",
    *(f"Answer.sentence{number}" for number in range(1, 5)),
]


@pytest.fixture
def checkout(tmp_path):
    """A checkout of the public corpus in its own layout, but small."""
    rows = {
        "movies/1.csv": [
            ["A1", "good", "", "Hi there", "  Hello, “you”  ", "{}", ""],
            ["A2", "blocked", "", "spam", "spam", "spam", "spam"],
            ["A3", "good", "x", "rejected", "work", "{}", "{}"],
            ["A4", "good", "", "just one sentence", "{}", "{}", "{}"],
        ],
        "music/7.csv": [["A0", "other", "", "one", "{}", "three\nlines", "four"]],
    }
    for name, lines in rows.items():
        path = tmp_path / "checkout" / "corpus" / name
        path.parent.mkdir(parents=True)
        with path.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([COLUMNS, *lines])
    (tmp_path / "checkout" / "blocked_workers.txt").write_text("other-blocked\nblocked\n")
    return tmp_path / "checkout"


@pytest.mark.parametrize("ending", [".jsonl", ".jsonl.gz"])
def test_a_checkout_of_the_self_dialogue_corpus_is_converted(checkout, tmp_path, ending, capsys):
    """The empty answer is "{}"; rejected work and blocked workers are left out, as in the corpus's
    own script.
    """
    out = tmp_path / "new" / f"self_dialogue{ending}"
    assert self_dialogue.main([str(checkout), str(out)]) == 0
    assert capsys.readouterr().out.startswith("2 conversations written to")
    lines = (
        (gzip.decompress(out.read_bytes()) if ending.endswith("gz") else out.read_bytes())
        .decode()
        .splitlines()
    )
    assert [json.loads(line) for line in lines] == [
        {"id": "A0", "topic": "music", "turns": ["one", "three\nlines", "four"]},
        {"id": "A1", "topic": "movies", "turns": ["Hi there", "Hello, “you”"]},
    ]
    assert list(out.parent.iterdir()) == [out]
    read, complaints = load(out, "all")
    assert sorted(read) == [("Hi there", "Hello, “you”"), ("one", "three\nlines", "four")]
    assert complaints.count == 0


def test_a_folder_that_is_no_checkout_is_refused(tmp_path, capsys):
    assert self_dialogue.main([str(tmp_path), str(tmp_path / "out.jsonl")]) == 2
    assert "has no corpus/*/*.csv; expected a checkout" in capsys.readouterr().err
    assert not (tmp_path / "out.jsonl").exists()
