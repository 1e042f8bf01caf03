"""Sheets for blind reading, and what readers found."""

import json
import random
from itertools import pairwise

import pytest

from dialogue import checkpoint
from dialogue.words import words
from training import corpora
from training.corpora.transcript import SPLITS, Complaints
from training.reading import contexts, scores, sheet
from training.reading.__main__ import main
from training.reading.contexts import Context
from training.reading.sheet import Judgement, one_form, read_filled, read_key


def key_of(text):
    return " ".join(words(text))


# --- the contexts that come with the project -----------------------------------------------------


def test_there_are_a_hundred_to_choose_by_two_hundred_to_read_at_last_and_fifty_sad_ones():
    for name, count, long in (
        ("everyday-dev", 100, 50),
        ("everyday-test", 200, 100),
        ("sad", 50, 10),
    ):
        found = contexts.load(name)
        contexts.check_distinct(found)
        assert len(found) == count
        assert sum(len(context.turns) > 1 for context in found) == long
        assert all(len(context.turns) % 2 for context in found), "the last turn is the person's"


def test_the_contexts_are_disjoint_from_each_other_and_from_the_companion():
    """No two open alike. No opening on its own, and no last two turns, are learnt or judged."""
    learnt = [
        [key_of(turn) for turn in one.turns]
        for split in SPLITS
        for one in corpora.load(["companion"], split, Complaints())
    ]
    turns = {turn for one in learnt for turn in one}
    pairs = {pair for one in learnt for pair in pairwise(one)}
    openings = {}
    for name in contexts.OURS:
        for context in contexts.load(name):
            said = [key_of(turn) for turn in context.turns]
            where = f"{context.id}: {context.turns[0]}"
            assert openings.setdefault(said[0], name) == name, where
            assert len(said) > 1 or said[0] not in turns, where
            assert tuple(said[-2:]) not in pairs, where


def test_a_corpus_gives_contexts_whose_next_turn_is_the_companions_where_there_is_one():
    found = contexts.load("companion", split="test", limit=50)
    assert len(found) == 50
    assert all(len(context.turns) % 2 for context in found)
    assert found == contexts.load("companion", split="test")[:50]


# --- a sheet -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ("Hi!  How are YOU??", "hi! how are you?"),
        ("oh <continued_utterance> that is nice", "oh. that is nice."),
        ("Well ... I think — yes", "well. i think yes."),
        ("don’t :)", "don't."),
        ("cats , dogs ,", "cats, dogs."),
        ("It's a well-known story!", "it's a well-known story!"),
    ],
)
def test_all_sources_are_brought_to_one_form(reply, expected):
    assert one_form(reply) == expected
    assert one_form(expected) == expected


CONTEXTS = [
    Context(str(n), "two" if n % 2 else "one", ("Hi!", "hello", f"i am number {n}"), "Good.")
    for n in range(12)
]
REPLIES = {
    "written": [f"So you are {n}." for n in range(12)],
    "alike": [f"so you are  {n}" for n in range(12)],
    "other": [f"what a day {n}?" for n in range(12)],
}


def test_nothing_on_the_sheet_tells_a_source_and_what_two_say_alike_stands_once(tmp_path):
    sheet.write(tmp_path, CONTEXTS, REPLIES, seed=1)
    text, page = ((tmp_path / name).read_text() for name in (sheet.SHEET, sheet.PAGE))
    for source in REPLIES:
        assert source not in text.removeprefix(sheet.INSTRUCTIONS)
    assert text.count("so you are") == 12
    assert "so you are 7." in page
    shown = [context["id"] for context in read_key(tmp_path)["contexts"]]
    assert sorted(shown) == sorted(map(str, range(12)))
    assert shown != [str(n) for n in range(12)], "shuffled"
    firsts = {
        next(iter(context["replies"].values()))[0] for context in read_key(tmp_path)["contexts"]
    }
    assert len(firsts) == 2, "in no order that gives a source away"


def test_a_sheet_is_not_written_over(tmp_path):
    sheet.write(tmp_path, CONTEXTS, REPLIES)
    with pytest.raises(ValueError, match="already holds a sheet"):
        sheet.write(tmp_path, CONTEXTS, REPLIES)


def fill(folder, marks, name="sheet.txt"):
    """Mark every reply of a source by a function of its context's number."""
    key, text = read_key(folder), (folder / sheet.SHEET).read_text()
    for context in key["contexts"]:
        for label, sources in context["replies"].items():
            text = text.replace(
                f"\n{label} [  ]", f"\n{label} [{marks(sources[0], int(context['id']))}]"
            )
    (folder / name).write_text(text)


def test_what_a_reader_marked_is_scored_by_hand(tmp_path):
    sheet.write(tmp_path, CONTEXTS, REPLIES)
    fill(
        tmp_path,
        lambda source, n: (
            ("yy" if n < 6 else "yn") if source != "other" else ("yy" if n < 3 else "nn off topic")
        ),
    )
    key = read_key(tmp_path)
    labels = [label for context in key["contexts"] for label in context["replies"]]
    found = read_filled(tmp_path / "sheet.txt", labels)
    assert next(judgement for judgement in found.values() if judgement.fault) == Judgement(
        False, False, "off topic"
    )
    by = {(score.set, score.source): score for score in scores.scores(key, found)}
    assert by["all", "written"].sensible == 1
    assert by["all", "written"].specific == by["all", "alike"].specific == 0.5
    assert by["all", "written"].ssa == 0.75
    assert by["all", "other"].ssa == 0.25
    assert by["one", "other"].replies == 6
    assert by["all", "other"].low < 0.25 < by["all", "other"].high
    gain, low, high = scores.differences(key, found, "written")["all", "other"]
    assert gain == pytest.approx(-0.5)
    assert -0.75 < low < gain < high < -0.25


@pytest.mark.parametrize(
    ("mark", "complaint"),
    [("ny", r"1a has \[ny\]; expected \[yy\], \[yn\] or \[nn\]"), ("x", "1a has"), ("y", "1a has")],
)
def test_a_mark_that_is_none_is_named(tmp_path, mark, complaint, capsys):
    sheet.write(tmp_path, CONTEXTS, REPLIES)
    path = tmp_path / sheet.SHEET
    path.write_text(path.read_text().replace("1a [  ]", f"1a [{mark}]", 1))
    with pytest.raises(ValueError, match=complaint):
        read_filled(path, ["1a", *(f"{n}{letter}" for n in range(1, 13) for letter in "ab")])
    assert main(["score", str(tmp_path)]) == 2
    assert "1a" in capsys.readouterr().err


def test_a_sheet_of_another_reading_is_refused(tmp_path):
    sheet.write(tmp_path, CONTEXTS, REPLIES)
    with pytest.raises(ValueError, match="is not a reply of this sheet"):
        read_filled(tmp_path / sheet.SHEET, ["1a"])


def test_kappa_is_cohens():
    """Cohen's example with 20 yes-yes, 15 no-no and 5 and 10 disagreements: (0.7 - 0.5) / (1 -
    0.5).
    """
    one = [True] * 20 + [True] * 5 + [False] * 10 + [False] * 15
    other = [True] * 20 + [False] * 5 + [True] * 10 + [False] * 15
    assert scores.kappa(one, other) == pytest.approx(0.4)
    assert scores.kappa([True, False], [True, False]) == 1
    rng = random.Random(0)
    marks = [[rng.random() < 0.3 for _ in range(20_000)] for _ in range(2)]
    assert abs(scores.kappa(*marks)) < 0.03


# --- the command ---------------------------------------------------------------------------------


def test_two_settings_of_a_checkpoint_are_read_beside_the_written_replies(talker, tmp_path, capsys):
    checkpoint.save(tmp_path / "model", talker)
    file = tmp_path / "mine.jsonl"
    turns = ["hi", "hello, how are you?", "i am fine, thanks"]
    lines = [
        {"id": str(n), "turns": turns[: 1 + 2 * (n % 2)], "reply": "glad to hear it"}
        for n in range(4)
    ]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    out = tmp_path / "out"
    sources = [
        f"--checkpoint={tmp_path / 'model'}",
        "--decode=method=greedy",
        "--decode=method=beam,beam_size=5",
    ]
    assert main(["sheet", *sources, f"--contexts={file}", f"--out={out}"]) == 0
    key = read_key(out)
    assert [source.partition("model ")[2] for source in key["sources"]] == [
        "",
        "method=greedy",
        "method=beam,beam_size=5",
    ]
    assert main(["score", str(out)]) == 2
    assert "has been filled in" in capsys.readouterr().err
    fill(out, lambda source, n: "yy" if source == "written" else "yn", "anna.txt")
    fill(out, lambda source, n: "yy", "ben.txt")
    assert main(["score", str(out), f"--json={tmp_path / 'figures.json'}"]) == 0
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert set(figures["scores"]) == {"anna", "ben"}
    assert figures["agreement"][0]["kappa_sensible"] == 1
    assert "kappa" in capsys.readouterr().out


def test_the_person_is_heard_through_a_recogniser_and_the_companion_as_it_wrote():
    context = Context(
        "1", "x", ("I'm back!", "Welcome, friend!", "It's 9 P.M. already"), "Good night."
    )
    assert context.as_heard == ("i'm back", "Welcome, friend!", "it's 9 pm already.")
