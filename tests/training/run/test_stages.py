"""Recipes in stages: consecutive runs, each from the weights of the one before."""

import pytest

from dialogue import checkpoint
from tests.training.conftest import contents, log
from training import fit
from training.run import manifest
from training.run.stages import wished_for

STAGES = """\
batch_tokens = 100
embedding = 8
utterance = 8
context = 8
hidden = 8
precision = "fp32"
learning_rate = 0.05
[[stage]]
name = "broad"
epochs = 1
data = ["{talk}"]
[[stage]]
name = "close"
epochs = 0.4
data = ["{talk}:2"]
learning_rate = 0.01
"""


@pytest.fixture
def recipe(talk, tmp_path):
    path = tmp_path / "two.toml"
    path.write_text(STAGES.format(talk=talk / "talk.jsonl"))
    return [
        f"--recipe={path}",
        f"--vocabulary={talk / 'vocabulary.model'}",
        f"--out={tmp_path / 'run'}",
        "--device=cpu",
    ]


def test_each_stage_is_a_run_of_its_own_from_the_weights_before(recipe, tmp_path):
    broad, close = wished_for(recipe)
    assert (broad["out"], close["out"]) == (tmp_path / "run" / "broad", tmp_path / "run" / "close")
    assert (broad["start_from"], close["start_from"]) == (
        None,
        tmp_path / "run" / "broad" / "checkpoint",
    )
    assert (broad["learning_rate"], close["learning_rate"]) == (0.05, 0.01)
    assert (broad["epochs"], close["epochs"]) == (1, 0.4)
    assert (broad["batch_tokens"], close["batch_tokens"]) == (100, 100), (
        "what stands above is for all"
    )
    assert (broad["vocabulary"] is None, close["vocabulary"]) == (False, None), (
        "the first has settled it"
    )


def test_the_stages_are_run_in_order_and_resume_has_nothing_left_to_do(recipe, tmp_path, capsys):
    assert fit.main(recipe) == 0
    broad, close = tmp_path / "run" / "broad", tmp_path / "run" / "close"
    assert log(close)[-1]["perplexity"] < log(broad)[0]["perplexity"]
    assert manifest.read(close)["configuration"]["data"][0].endswith(":2")
    before = contents(tmp_path / "run")
    assert fit.main([*recipe[:1], *recipe[2:], "--resume"]) == 0
    assert "every stage has ended" in capsys.readouterr().out
    assert contents(tmp_path / "run") == before


def test_resume_goes_on_where_the_stages_were_stopped(recipe, tmp_path):
    assert fit.main([*recipe, "--minutes=1e-9"]) == 0  # each stage ends before its first step
    broad = tmp_path / "run" / "broad"
    facts = manifest.read(broad)
    (broad / "run.json").write_text(
        str({**facts, "ended": None})
        .replace("'", '"')
        .replace("None", "null")
        .replace("True", "true")
    )
    left = wished_for([*recipe, "--resume"])
    assert [(run["out"].name, run["resume"], run["start_from"]) for run in left] == [
        ("broad", True, None)
    ]


def test_a_later_stage_may_begin_from_other_weights(recipe, tmp_path, talker):
    checkpoint.save(tmp_path / "other", talker)
    (close,) = wished_for([*recipe, "--stage=close", f"--start-from={tmp_path / 'other'}"])
    assert (close["start_from"], close["out"].name) == (tmp_path / "other", "close")


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--stage=wide"], "--stage wide: there is no such stage; it has broad, close"),
        (
            ["--recipe=small-hred", "--stage=broad"],
            "--stage broad: there is no such stage; a recipe with stages has them",
        ),
    ],
)
def test_a_stage_that_there_is_not_is_named(recipe, options, complaint, capsys):
    assert fit.main([*recipe, *options]) == 2
    assert complaint in capsys.readouterr().err


def test_stages_without_names_of_their_own_are_refused(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text('[[stage]]\nname = "a"\n[[stage]]\nname = "a"\n')
    with pytest.raises(ValueError, match="each needs a name of its own"):
        wished_for([f"--recipe={path}"])


TEACHING = """\
batch_tokens = 100
precision = "fp32"
learning_rate = 0.05
data = ["{talk}"]
epochs = 0.4
[[stage]]
name = "teacher"
teaches = true
model = "transformer"
embedding = 8
hidden = 16
heads = 2
layers = 1
[[stage]]
name = "talk"
embedding = 8
utterance = 8
context = 8
hidden = 8
[[stage]]
name = "companion"
distilled = 0.9
"""


def test_the_stages_after_a_teacher_learn_from_it_and_not_from_its_weights(talk, tmp_path):
    path, out = tmp_path / "three.toml", tmp_path / "run"
    path.write_text(TEACHING.format(talk=talk / "talk.jsonl"))
    named = [f"--recipe={path}", f"--out={out}", "--device=cpu"]
    teacher, first, second = wished_for([*named, f"--vocabulary={talk / 'vocabulary.model'}"])
    assert "teacher" not in teacher and teacher["start_from"] is None
    assert (first["teacher"], first["start_from"]) == (str(out / "teacher" / "checkpoint"), None)
    assert first["vocabulary"] == out / "teacher" / "checkpoint" / checkpoint.VOCABULARY
    assert second["teacher"] == first["teacher"] and second["vocabulary"] is None
    assert second["start_from"] == out / "talk" / "checkpoint"
    assert fit.main([*named, f"--vocabulary={talk / 'vocabulary.model'}"]) == 0
    found = checkpoint.load(out / "companion" / "checkpoint")
    assert found.training["config"]["teacher"] == str(out / "teacher" / "checkpoint")
    assert found.training["config"]["distilled"] == 0.9
    assert type(found.model) is checkpoint.model_class("hred")
    (alone, _) = wished_for([*named, "--stage=talk"])
    assert "teacher" not in alone, "without a teacher if it is left out"
