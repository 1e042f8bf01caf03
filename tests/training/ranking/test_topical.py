"""Moments as a file, and those of people among themselves."""

import json

import pytest

from dialogue import stock_replies
from dialogue.claims import claims_a_life
from dialogue.words import repeats_ngram, words
from training import fit_stock
from training.ranking import topical
from training.reading import contexts

from .conftest import TRAINING, arguments


def test_no_topical_reply_belongs_among_people(place):
    corpus = str(place / "people.jsonl")
    found = topical.of_people(corpus, seed=0)
    assert len(found) == len(TRAINING)
    assert not any(moment.suits for moment in found)
    assert {len(moment.turns) for moment in found} <= {1, 3}
    assert found == topical.of_people(corpus, seed=0)


def test_what_suits_a_moment_is_shared_out_among_the_replies_that_lines_name(tmp_path):
    path = tmp_path / "moments.jsonl"
    lines = [
        {"replies": ["a"], "suits": [["hi"]], "near": [["oh", "well", "no"]]},
        {"replies": ["a", "b"], "suits": [["hi"], ["hey"]], "near": []},
        {"replies": [], "suits": [], "near": [["oh", "well", "no"], ["hi"]]},
    ]
    path.write_text("\n".join(map(json.dumps, lines)))
    moments, _ = topical.load(path)
    assert {m.turns: m.suits for m in moments} == {
        ("hi",): {"a": 0.75, "b": 0.25}, ("hey",): {"a": 0.5, "b": 0.5}, ("oh", "well", "no"): {},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ('{"replies": ["a"], "suits": ["hi"], "near": []}', "'hi' is no list of texts"),
        ('{"replies": ["a"], "suits": [[]], "near": []}', "a moment has no turn"),
        ('{"replies": [], "suits": [["hi"]], "near": []}', "no reply is named that suits"),
        (
            '{"replies": ["a"], "suits": [["hi"]], "near": [], "judged": [3, 2]}',
            "right in 3 of 2 contexts",
        ),
        ('{"replies": ["a"], "near": []}', "line 1: no replies with their moments"),
        ("nonsense", "line 1: no replies with their moments"),
        ("", "4 moments of 0 topical replies are too few"),
    ],
)
def test_moments_that_are_none_are_refused_in_one_line(place, capsys, lines, message):
    (place / "moments.jsonl").write_text(lines)
    assert fit_stock.main(arguments(place)) == 2
    assert message in capsys.readouterr().err
    assert not (place / "model" / stock_replies.FILE).exists()


def test_the_projects_topical_replies_hold_no_everyday_context_and_claim_no_life():
    moments, verdicts = topical.load()
    replies = {text for moment in moments for text in moment.suits}
    assert len(replies) > 1_000
    assert verdicts.keys() <= replies
    assert len({" ".join(words(text)) for text in replies}) == len(replies)
    assert not [text for text in replies if claims_a_life(text) or repeats_ngram(text, 3)]
    everyday = {c.turns[-1].lower() for name in contexts.OURS for c in contexts.load(name)}
    assert not everyday & {m.turns[-1].lower() for m in moments if len(m.turns) == 1}
