"""Judgements as a file: the project's own contexts as text, public corpora's joined on loading."""

import gzip
import json

import pytest

from training.corpora.transcript import Transcript
from training.reading import judgements
from training.reading.judgements import FILE, JudgedReply, load, save

OURS = {
    "corpus": "everyday", "id": "1", "context": ["My cat ran away."],
    "candidates": [
        {"reply": "oh no! when did you see her last?", "sensible": 1, "specific": 1},
        {
            "reply": "that's great!", "sensible": 0, "specific": 0, "fault": "feeling",
            "second": {"sensible": 0, "specific": 0},
        },
    ],
}  # fmt: skip


def written(tmp_path, *entries):
    path = tmp_path / "judgements.jsonl"
    path.write_text("".join(json.dumps(entry) + "\n" for entry in entries), encoding="utf-8")
    return path


def test_what_stands_as_text_is_read(tmp_path):
    (context,), missing = load(written(tmp_path, OURS))
    assert (context.corpus, context.turns, not missing) == ("everyday", ("My cat ran away.",), True)
    assert context.replies == (
        JudgedReply("oh no! when did you see her last?", True, True),
        JudgedReply("that's great!", False, False, "feeling"),
    )


def test_what_readers_were_not_asked_is_not_known(tmp_path):
    candidate = {"reply": "oh no!", "sensible": 1, "specific": None}
    (context,), _ = load(written(tmp_path, OURS | {"candidates": [candidate]}))
    assert context.replies == (JudgedReply("oh no!", True, None),)


def test_a_context_of_another_corpus_is_joined_and_its_true_reply_with_it(tmp_path, monkeypatch):
    transcripts = [Transcript("c-1", "meena", ("hello", "hi!", "how are you?", "fine, thanks."))]
    monkeypatch.setattr(
        judgements.corpora,
        "load",
        lambda names, split, complaints: transcripts if names == ["meena"] else 1 / 0,
    )
    candidates = [
        {"true": 1, "sensible": 1, "specific": 0},
        {"reply": "no.", "sensible": 0, "specific": 0},
    ]
    (context,), _ = load(
        written(tmp_path, {"corpus": "meena", "id": "c-1", "turn": 2, "candidates": candidates})
    )
    assert context.turns == ("hello", "hi!", "how are you?")
    assert [(reply.text, reply.is_true) for reply in context.replies] == [
        ("fine, thanks.", True),
        ("no.", False),
    ]


def test_what_is_missing_is_counted_and_the_rest_is_read(tmp_path, monkeypatch):
    monkeypatch.setenv("CORPORA", str(tmp_path / "nothing"))
    lost = {
        "corpus": "empathetic",
        "id": "ed-1",
        "turn": 0,
        "candidates": [{"reply": "oh.", "sensible": 1, "specific": 0}],
    }
    found, missing = load(written(tmp_path, lost, OURS, lost))
    assert [context.id for context in found] == ["1"]
    assert missing == {"empathetic": 2}


@pytest.mark.parametrize(
    "change",
    [
        {"context": []},
        {"candidates": [{"reply": "", "sensible": 1, "specific": 0}]},
        {"candidates": [{"sensible": 1, "specific": 0}]},
        {"candidates": [{"reply": "hm.", "specific": 0}]},
        {"candidates": 3},
    ],
)
def test_a_line_that_is_no_judged_context_is_named(tmp_path, change):
    with pytest.raises(ValueError, match="line 2: not a judged context"):
        load(written(tmp_path, OURS, OURS | change))


@pytest.mark.parametrize(
    "content", [b"", b"\x1f\x8bbroken", b"{", b"[1]\n", b'{"id": "1"}\n', b"\xff\xfe\x00"]
)
def test_a_file_that_holds_none_is_refused(tmp_path, content):
    path = tmp_path / "no.jsonl"
    path.write_bytes(content)
    if not content:
        assert load(path) == ([], {})
        return
    with pytest.raises(ValueError, match=r"no\.jsonl holds no judgements"):
        load(path)


def test_saving_and_loading_is_the_same_bytes_each_time(tmp_path):
    save(tmp_path / "one", [OURS])
    save(tmp_path / "two", [OURS])
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    assert load(tmp_path / "one") == load(written(tmp_path, OURS))


def test_the_projects_file_copies_nothing_of_others_and_holds_what_its_card_says():
    entries = [
        json.loads(line) for line in gzip.decompress(FILE.read_bytes()).decode().splitlines()
    ]
    for entry in entries:
        assert ("context" in entry) == (entry["corpus"] in judgements.OWN), entry["id"]
        assert ("turn" in entry) != ("context" in entry)
        for candidate in entry["candidates"]:
            assert not candidate["specific"] or candidate["sensible"], entry["id"]
            if entry["corpus"] not in judgements.OWN:
                assert ("reply" in candidate) != ("true" in candidate)
    card = FILE.with_name("judgements.md").read_text(encoding="utf-8")
    candidates = [candidate for entry in entries for candidate in entry["candidates"]]
    assert f"{len(candidates):,} candidates in {len(entries):,} contexts" in card
    assert f"{sum(c['sensible'] for c in candidates) / len(candidates):.1%} sensible" in card
