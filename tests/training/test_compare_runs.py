import io
import json
import shutil

import pytest
import torch
from rich.console import Console
from safetensors.torch import save_file

from training import compare_runs, fit

ROWS = [
    {"step": 10, "epoch": 0, "tokens": 1000, "seconds": 30.0, "perplexity": 90.0, "accuracy": 0.1},
    {"step": 20, "epoch": 1, "tokens": 2000, "seconds": 60.0, "perplexity": 40.0, "accuracy": 0.3},
    {"step": 30, "epoch": 2, "tokens": 3000, "seconds": 90.0, "perplexity": 45.0, "accuracy": 0.2},
]


@pytest.fixture
def run(tmp_path):
    """Return a function that writes a run's folder by hand."""

    def write(name, *, rows=ROWS, vocabulary="aa", manifest=None, **config):
        folder = tmp_path / name
        (folder / "checkpoint").mkdir(parents=True)
        training = {"config": {"data": ["chitchat"], **config}}
        written = {
            "model": {"vocab_size": 7, "hidden": 3},
            "vocabulary_sha256": vocabulary,
            "training": training,
        }
        (folder / "checkpoint" / "config.json").write_text(json.dumps(written), encoding="utf-8")
        save_file(
            {"a": torch.zeros(2, 3), "b": torch.zeros(4)},
            folder / "checkpoint" / "model.safetensors",
        )
        (folder / "log.jsonl").write_text(
            "".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8"
        )
        if manifest:
            (folder / "run.json").write_text(json.dumps(manifest), encoding="utf-8")
        return folder

    return write


def cells(*folders):
    """What the table says: row by row, the name and the cells."""
    runs = {folder.name: compare_runs.read_run(folder) for folder in folders}
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(compare_runs.side_by_side(runs))
    rows = (
        line.strip("│┃ ").replace("┃", "│").split("│")
        for line in console.export_text().splitlines()
        if line[0] in "│┃"
    )
    return {row[0].strip(): [cell.strip() for cell in row[1:]] for row in rows}


def test_the_table_tells_parameters_the_best_validation_and_the_speed(run):
    table = cells(run("one"))
    assert table["parameters"] == ["10"]
    assert table["best validation perplexity"] == ["40.00"]
    assert table["best at step"] == ["20"]
    assert table["minutes"] == ["1.5"]
    assert table["tokens/s"] == ["33"]


def test_of_the_settings_those_stand_in_it_that_differ(run):
    table = cells(
        run("one", learning_rate=0.1, seed=1, batch_tokens=50),
        run("two", learning_rate=0.2, seed=1, batch_tokens=50),
    )
    assert table["learning_rate"] == ["0.1", "0.2"]
    assert not {"seed", "batch_tokens", "hidden"} & table.keys()


def test_a_run_without_a_setting_went_as_runs_did_before_there_was_one(run):
    """As --resume assumes: for example without cleaning, if the settings do not mention it."""
    assert cells(run("old"), run("new", clean=True))["clean"] == ["False", "True"]
    assert "schedule" not in cells(run("older"), run("newer", schedule="plateau"))


def test_what_a_run_wrote_down_of_its_data_and_machine_is_told(run):
    manifest = {
        "ranks": 2,
        "device": "cpu",
        "code": {"commit": "c" * 40},
        "data_sha256": {"train": "d" * 64},
    }
    table = cells(run("one"), run("two", manifest=manifest))
    assert table["device"] == ["–", "2 x cpu"]
    assert table["commit"] == ["–", "c" * 8]
    assert table["data sha256"] == ["–", "d" * 8]


def test_a_real_run_is_read(options, tmp_path):
    assert fit.main(options) == 0
    found = compare_runs.read_run(tmp_path / "run")
    assert found.parameters == found.manifest["parameters"]
    assert found.best["perplexity"] == found.manifest["progress"]["best_perplexity"]


def test_curves_are_drawn_and_perplexities_that_do_not_compare_are_pointed_out(
    run, tmp_path, capsys
):
    one, two, png = (
        run("one"),
        run("two_$x$", vocabulary="bb", data=["self_dialogue"]),
        tmp_path / "curves.png",
    )
    assert compare_runs.main([str(one), str(two), str(one), "--png", str(png)]) == 0
    said = capsys.readouterr().out
    assert "The vocabularies differ" in said
    assert "The corpora differ" in said
    assert png.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    assert compare_runs.main([str(one)]) == 0
    assert "differ" not in capsys.readouterr().out


def test_runs_in_folders_of_the_same_name_are_told_apart(run, tmp_path):
    one, other = run("one"), tmp_path / "elsewhere" / "one"
    shutil.copytree(one, other)
    assert compare_runs.names_of([one, other]) == [str(one), str(other)]
    assert compare_runs.names_of([one]) == ["one"]


def test_what_was_evaluated_stands_below(run):
    one, two = (
        run(
            "one",
            manifest={"model": "dialogue.models.seq2seq:Seq2Seq", "ranks": 1, "device": "cpu"},
        ),
        run("two"),
    )
    assert "perplexity_per_word_all" not in cells(one, two)
    (one / "figures.json").write_text(
        json.dumps({"perplexity_per_word_all": 45.678, "replies": 1000, "token_f1": 0.1})
    )
    table = cells(one, two)
    assert table["model"] == ["Seq2Seq", "–"]
    assert table["perplexity_per_word_all"] == ["45.68", "–"]
    assert table["replies"] == ["1,000", "–"]
    assert "token_f1" not in table


@pytest.mark.parametrize("content", ["no json", "[1]"])
def test_figures_that_are_none_are_named(run, capsys, content):
    folder = run("one")
    (folder / "figures.json").write_text(content)
    assert compare_runs.main([str(folder)]) == 2
    assert f"{folder / 'figures.json'}" in capsys.readouterr().err


def empty_log(folder):
    (folder / "log.jsonl").write_text("", encoding="utf-8")


def log_of_another_kind(folder):
    (folder / "log.jsonl").write_text('{"loss": 1}\n', encoding="utf-8")


def log_that_is_no_json(folder):
    (folder / "log.jsonl").write_text("loss 1\n", encoding="utf-8")


def no_log(folder):
    (folder / "log.jsonl").unlink()


def no_weights(folder):
    (folder / "checkpoint" / "model.safetensors").write_bytes(b"no")


def no_training(folder):
    (folder / "checkpoint" / "config.json").write_text(
        '{"model": {}, "training": {}}', encoding="utf-8"
    )


@pytest.mark.parametrize(
    "spoil",
    [
        empty_log,
        log_of_another_kind,
        log_that_is_no_json,
        no_log,
        no_weights,
        no_training,
        shutil.rmtree,
    ],
)
def test_a_folder_that_is_no_run_is_named_in_one_line(run, spoil, capsys):
    good, bad = run("good"), run("bad")
    spoil(bad)
    assert compare_runs.main([str(good), str(bad)]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"error: {bad} is not a run of training.fit")
    assert said.count("\n") == 1


def test_a_last_line_that_is_being_written_is_left_out(run):
    folder = run("one")
    with (folder / "log.jsonl").open("a") as log:
        log.write('{"step": 40, "tok')
    assert compare_runs.read_run(folder).rows == ROWS
