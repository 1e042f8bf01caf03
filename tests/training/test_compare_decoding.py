import json

import pytest

from dialogue.config import METHODS, DecodeConfig
from training import compare_decoding
from training.metrics.decoding import settings_of


def test_settings_are_read_over_the_defaults():
    found = settings_of("method=nucleus,top_p=0.5,beam_size=3", DecodeConfig())
    assert found == DecodeConfig(method="nucleus", top_p=0.5, beam_size=3)
    assert settings_of("", DecodeConfig()) == DecodeConfig()


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("colour=red", "no setting 'colour'"),
        ("beam_size=two", "'two' is not a valid int"),
        ("top_p=2", "top_p is 2"),
        ("beam_size", "'' is not a valid int"),
    ],
)
def test_settings_that_are_none_are_named(text, complaint):
    with pytest.raises(ValueError, match=complaint):
        settings_of(text, DecodeConfig())


@pytest.fixture
def corpus(tmp_path):
    path = tmp_path / "talk.jsonl"
    talk = ["hi", "hello there", "how are you?", "i'm fine, and you?", "me too"]
    path.write_text(
        "".join(json.dumps({"id": str(n), "turns": talk[n % 3 :]}) + "\n" for n in range(12)),
        encoding="utf-8",
    )
    return path


def test_every_method_answers_the_same_histories(corpus, capsys):
    assert (
        compare_decoding.main([f"--data={corpus}", "--split=all", "--limit=3", "--replies=1"]) == 0
    )
    printed = capsys.readouterr()
    rows = json.loads(printed.out.splitlines()[-1])["rows"]
    assert [row["settings"] for row in rows] == [f"method={method}" for method in METHODS]
    for row in rows:
        assert row["reply_perplexity"] > 1
        assert row["repeated_3gram"] == 0
    greedy = next(row for row in rows if row["settings"] == "method=greedy")
    drawn = next(row for row in rows if row["settings"] == "method=top-k")
    assert greedy != drawn


def test_what_is_tried_stands_beside_the_default(corpus, capsys):
    assert (
        compare_decoding.main([f"--data={corpus}", "--split=all", "--limit=3", "--try=beam_size=2"])
        == 0
    )
    rows = json.loads(capsys.readouterr().out.splitlines()[-1])["rows"]
    assert [row["settings"] for row in rows] == ["default", "beam_size=2"]


@pytest.mark.parametrize(
    "option", ["--limit=0", "--try=beam_size=0", "--split=none", "--data=nowhere"]
)
def test_an_option_out_of_reach_is_a_sentence(option, corpus, capsys):
    assert compare_decoding.main([f"--data={corpus}", "--split=all", option]) == 2
    assert capsys.readouterr().err.startswith("error: ")
