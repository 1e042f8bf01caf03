import json

import pytest

from dialogue import checkpoint
from dialogue.agent import DialogueAgent
from dialogue.config import METHODS, DecodeConfig
from training import evaluate
from training.metrics.evaluation import MEANINGS


@pytest.fixture(scope="module")
def agent(talker):
    return DialogueAgent(talker)


def test_a_model_that_has_learnt_its_conversations_needs_their_true_histories(agent, conversations):
    figures = evaluate.evaluate(agent, list(conversations)).figures
    assert figures["perplexity_per_word"] < 3
    assert figures["perplexity_per_word_shuffled_history"] > 3 * figures["perplexity_per_word"]
    assert (
        figures["hits_at_1_of_20_mean_loss"] > 0.9
    )  # it never learnt what is likely without a history
    assert figures["replies"] == len(conversations)


def test_the_command_prints_json_alone_with_a_dash_and_the_names_that_scripts_rely_on(
    talker, conversations, tmp_path, capsys
):
    checkpoint.save(tmp_path / "model", talker)
    lines = [json.dumps({"id": t.id, "turns": t.turns}) for t in conversations]
    (tmp_path / "talk.jsonl").write_text("\n".join(lines))
    arguments = [
        "--checkpoint",
        str(tmp_path / "model"),
        "--data",
        str(tmp_path / "talk.jsonl"),
        "--split",
        "all",
        "--json",
        "-",
    ]
    assert evaluate.main([*arguments, "--limit", "5"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert set(figures) == {
        "perplexity_per_token", "perplexity_per_word", "perplexity_per_word_shuffled_history",
        "token_accuracy", "distinct_1",
        "distinct_2", "unique_replies", "repeated_2gram", "repeated_3gram", "mean_length",
        "hits_at_1_of_20",
        "hits_at_1_of_20_mean_loss", "hits_at_1_of_20_ranker", "fallbacks", "replies",
        "placeholders", "perplexity_per_word_recognised", "repeated_replies",
        "replies_in_conversations", "listed_words", "perplexity_per_word_all",
        "perplexity_per_word_u3", "word_error_rate",
        "word_error_rate_u3", "repeated_4grams_across_turns", "token_f1", "bleu", "bleu_signature",
        "hits_at_5_of_20",
        "mean_reciprocal_rank", "perplexity_per_word_from_u4",
    }  # fmt: skip
    assert figures["replies"] == 5


def test_every_figure_has_a_meaning(agent, conversations):
    assert set(evaluate.evaluate(agent, conversations, limit=2).figures) == set(MEANINGS)


def test_ways_to_decode_are_measured_beside_the_default(talker, conversations, tmp_path, capsys):
    checkpoint.save(tmp_path / "model", talker)
    lines = [json.dumps({"id": t.id, "turns": t.turns}) for t in conversations]
    (tmp_path / "talk.jsonl").write_text("\n".join(lines))
    arguments = [
        "--checkpoint",
        str(tmp_path / "model"),
        "--data",
        str(tmp_path / "talk.jsonl"),
        "--split",
        "all",
        "--json",
        "-",
    ]
    assert evaluate.main([*arguments, "--limit", "4", "--methods"]) == 0
    figures = json.loads(capsys.readouterr().out)
    rows = {row["settings"]: row for row in figures["methods"]}
    assert rows.keys() == {f"method={method}" for method in METHODS}
    for name in ("token_f1", "bleu", "distinct_2", "repeated_2gram"):
        assert rows[f"method={DecodeConfig().method}"][name] == pytest.approx(
            figures[name], abs=1e-4
        ), "the default, on the same histories"


@pytest.mark.parametrize(
    "arguments",
    [["--limit", "0"], ["--checkpoint", "nowhere"], ["--data", "nowhere"], ["--split", "dev"]],
)
def test_bad_options_are_one_plain_line(arguments, talker, tmp_path, capsys):
    checkpoint.save(tmp_path / "model", talker)
    assert evaluate.main(["--checkpoint", str(tmp_path / "model"), *arguments]) == 2
    assert capsys.readouterr().err.startswith("error: ")


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--json", "."], "--json . is a folder; name a file in it"),
        (["--json", "nowhere/figures.json"], "its folder does not exist"),
        (["--json", "pyproject.toml/figures.json"], "its folder does not exist"),
        (["--report", "pyproject.toml"], "name another folder with --report"),
        (["--replies", "-1"], "--replies is -1; it must be at least 0"),
        (["--limit", "0"], "--limit is 0; it must be at least 1"),
    ],
)
def test_what_could_not_be_written_is_refused_before_anything_is_measured(
    options, complaint, monkeypatch, capsys
):
    """That --json names a folder was only noticed after everything had been measured."""
    monkeypatch.setattr(evaluate.DialogueAgent, "load", None)
    assert evaluate.main(options) == 2
    assert complaint in capsys.readouterr().err
