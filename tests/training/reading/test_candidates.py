"""Candidates for readers to judge, and what they found as entries of the judgements file."""

import json

import pytest

from dialogue import checkpoint
from training.reading import candidates, judgements, sheet
from training.reading.__main__ import main
from training.reading.contexts import Context
from training.reading.sheet import Judgement

WANTED = [
    Context("1", "mine", ("hi",), "hello, how are you?"),
    Context("7", "meena", ("hi", "hello!", "how are you?"), "fine, and you?"),
    Context("9", "companion", ("my dog ate the cake",), "all of it?"),
]
FOUND = [
    [("1", "hello!"), ("2", "good night.")],
    [("1", "not so bad."), ("2", "hello!")],
    [("1", "oh no!"), ("2", "how big was it?")],
]


def written(folder, wanted=WANTED, found=FOUND):
    table = candidates.table(wanted, found)
    sheet.write(folder, wanted, table, about=candidates.about(wanted))
    return folder


def fill(folder, marks, name="reader.txt"):
    """Fill in a sheet by source: what each reply gets, [nn] where nothing is named."""
    lines = [
        f"{label} [{next((marks[s] for s in sources if s in marks), 'nn ignores')}]"
        for context in sheet.read_key(folder)["contexts"]
        for label, sources in context["replies"].items()
    ]
    (folder / name).write_text("\n".join(lines) + "\n")


def test_what_readers_found_becomes_entries_that_copy_nothing_of_others(tmp_path):
    fill(written(tmp_path), {"1": "yn", candidates.TRUE: "yy"})
    by_corpus = {entry["corpus"]: entry for entry in candidates.entries(tmp_path)}
    assert set(by_corpus) == {"everyday", "meena", "companion"}
    ours, theirs = by_corpus["everyday"], by_corpus["meena"]
    assert (ours["context"], ours["reference"]) == (["hi"], "hello, how are you?")
    assert (theirs["id"], theirs["turn"], "context" in theirs) == ("7", 2, False)
    assert "fine, and you?" not in json.dumps(theirs)
    marks = {
        candidate.get("reply", "true"): (candidate["sensible"], candidate["specific"])
        for candidate in theirs["candidates"]
    }
    assert marks == {"true": (1, 1), "not so bad.": (1, 0), "hello!": (0, 0)}
    faults = [candidate.get("fault") for candidate in theirs["candidates"]]
    assert faults.count("ignores") == 1


def test_a_second_reader_stands_beside_the_first(tmp_path):
    fill(written(tmp_path), {"1": "yn"}, "anna.txt")
    fill(tmp_path, {"1": "yy"}, "ben.txt")
    (first, *_) = candidates.entries(tmp_path)[0]["candidates"]
    both = [
        (one["specific"], one["second"]["specific"])
        for entry in candidates.entries(tmp_path)
        for one in entry["candidates"]
        if one["sensible"]
    ]
    assert "second" in first and both == [(0, 1)] * 3


def test_filing_the_same_reading_twice_adds_nothing(tmp_path, capsys):
    fill(written(tmp_path / "a"), {"1": "yn"})
    into = tmp_path / "judged.jsonl.gz"
    for added in (9, 0):
        assert main(["file", str(tmp_path / "a"), f"--into={into}"]) == 0
        assert f"{added} judged candidates added" in capsys.readouterr().out
    assert [entry["corpus"] for entry in judgements.read_entries(into)] == [
        "companion",
        "everyday",
        "meena",
    ]
    fill(written(tmp_path / "b", found=[[("1", "hello!"), ("2", "oh.")]] * 3), {"1": "yn"})
    assert main(["file", str(tmp_path / "b"), f"--into={into}"]) == 0
    assert "4 judged candidates added" in capsys.readouterr().out, "what is new of it"


def test_the_contexts_that_figures_are_read_on_are_never_filed(tmp_path):
    wanted = [Context("1", "everyday-test", ("hi",), "hello!")]
    fill(written(tmp_path, wanted, [[("1", "hi!"), ("2", "oh.")]]), {"1": "yn"})
    with pytest.raises(ValueError, match="everyday-test is read for figures only"):
        candidates.entries(tmp_path)


def test_a_sheet_of_whole_replies_is_no_sheet_of_candidates(tmp_path):
    sheet.write(tmp_path, WANTED[:1], {"old": ["hi."], "new": ["hello."]})
    with pytest.raises(ValueError, match="no sheet of candidates"):
        candidates.entries(tmp_path)


def test_the_oracle_is_the_best_candidate_without_the_true_reply():
    key = {
        "contexts": [
            {"replies": {"1a": ["1"], "1b": ["2"], "1c": [candidates.TRUE]}},
            {"replies": {"2a": ["1"], "2b": ["2"]}},
        ]
    }
    found = {
        "1a": Judgement(False, False), "1b": Judgement(True, False), "1c": Judgement(True, True),
        "2a": Judgement(True, True), "2b": Judgement(False, False),
    }  # fmt: skip
    assert candidates.oracle(key, found) == (0.5 + 1) / 2


def test_the_rankers_best_half_is_judged_and_some_of_the_rest(talker, tmp_path, capsys):
    checkpoint.save(tmp_path / "model", talker)
    file = tmp_path / "mine.jsonl"
    turns = [["hi"], ["hi", "hello, how are you?", "i am fine, thanks"]]
    lines = [{"id": str(n), "turns": said, "reply": "so am i."} for n, said in enumerate(turns)]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    arguments = [f"--checkpoint={tmp_path / 'model'}", f"--contexts={file}", "--count=4"]
    assert main(["candidates", *arguments, f"--out={tmp_path / 'out'}"]) == 0
    key = sheet.read_key(tmp_path / "out")
    said = main(["sheet", *arguments[:2], "--only-models", f"--out={tmp_path / 'said'}"])
    assert said == 0
    first = {
        line.partition("] ")[2]
        for line in (tmp_path / "said" / sheet.SHEET).read_text().splitlines()
        if line[:2] in ("1a", "2a")
    }
    shown = (tmp_path / "out" / sheet.SHEET).read_text()
    best = {
        label
        for one in key["contexts"]
        for label, sources in one["replies"].items()
        if "1" in sources
    }
    lines = {line.partition(" ")[0]: line.partition("] ")[2] for line in shown.splitlines()}
    assert {lines[label] for label in best} == first, "source 1 is what the agent says"
    assert all(3 <= len(one["replies"]) <= 5 for one in key["contexts"])
    fill(tmp_path / "out", {"1": "yy"})
    assert main(["score", str(tmp_path / "out")]) == 0
    assert "the best candidate of each context has SSA 100.0%" in capsys.readouterr().out


def test_two_checkpoints_are_refused(tmp_path, capsys):
    arguments = ["--checkpoint=a", "--checkpoint=b", f"--out={tmp_path / 'out'}"]
    assert main(["candidates", *arguments]) == 2
    assert "candidates are of one checkpoint" in capsys.readouterr().err
