import pytest

from dialogue import checkpoint
from dialogue.config import ModelConfig
from training import build_vocabulary, copying, fit
from training.corpora import subsequence
from training.run import config
from training.run.config import FitConfig
from training.run.setup import check_settings


def test_the_papers_recipe_is_the_papers():
    asked = config.ask(["--recipe", "serban2016"])
    sizes = (asked["embedding"], asked["utterance"], asked["context"], asked["hidden"])
    assert (asked["data"], str(asked["vocabulary"]), sizes) == (
        ["movie_triples"],
        "dict",
        (300, 600, 300, 600),
    )
    assert (asked["bidirectional"], asked["readout"], asked["learning_rate"]) == (
        True,
        "maxout",
        1e-4,
    )
    assert (asked["optimizer"], asked["teacher_forcing"], asked["schedule"]) == (
        "adam",
        [1.0, 1.0],
        "constant",
    )
    assert (asked["clean"], asked["recognised"], asked["history_dropout"], asked["truncate"]) == (
        False,
        0.0,
        0.0,
        80,
    )


@pytest.mark.parametrize("name", config.recipes())
def test_each_recipe_names_options_that_check_themselves(name):
    asked = config.ask(["--recipe", name])
    fit_fields, model_fields = FitConfig.__dataclass_fields__, ModelConfig.__dataclass_fields__
    FitConfig(**{key: asked[key] for key in asked if key in fit_fields})
    sizes = {key: asked[key] for key in asked if key in model_fields}
    ModelConfig(vocab_size=1, **sizes)
    check_settings(checkpoint.model_class(asked["model"] or checkpoint.DEFAULT_MODEL), sizes)


def test_the_small_recipes_differ_in_the_model_alone_and_are_of_one_size():
    asked = {name: config.ask(["--recipe", f"small-{name}"]) for name in checkpoint.OUR_MODELS}
    sizes = {
        name: {key: one[key] for key in one if key in ModelConfig.__dataclass_fields__}
        for name, one in asked.items()
    }
    apart = [
        {key: one[key] for key in one if key not in {*sizes[name], "model", "recipe"}}
        for name, one in asked.items()
    ]
    assert all(one == apart[0] for one in apart)
    counts = []
    for name in asked:
        model = checkpoint.model_class(name).from_config(
            ModelConfig(vocab_size=10_005, **sizes[name]), bos_id=2
        )
        counts.append(sum(parameter.numel() for parameter in model.parameters()))
    assert max(counts) < 1.05 * min(counts)


def test_what_the_command_line_says_goes_before_the_recipe():
    asked = config.ask(
        [
            "--recipe",
            "serban2016",
            "--data",
            "chitchat",
            "--hidden",
            "8",
            "--no-bidirectional",
            "--clean",
        ]
    )
    assert (asked["data"], asked["hidden"], asked["bidirectional"], asked["clean"]) == (
        ["chitchat"],
        8,
        False,
        True,
    )
    assert asked["context"] == 300


@pytest.mark.parametrize("option", [["--start-from", "x"], ["--resume"]])
def test_a_run_that_has_its_vocabulary_leaves_the_recipes_out(option):
    assert config.ask(["--recipe", "serban2016", *option])["vocabulary"] is None


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("hiden = 8\n", "names hiden"),
        ("hidden 8\n", "is not a recipe"),
        (None, "cannot read the recipe .* one of: .*serban2016"),
    ],
)
def test_a_recipe_that_is_none_is_named(tmp_path, capsys, content, complaint):
    path = tmp_path / "mine.toml"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ValueError, match=complaint):
        config.ask(["--recipe", str(path)])
    assert fit.main(["--recipe", str(path)]) == 2
    assert capsys.readouterr().err.startswith("error: ")


@pytest.mark.slow
def test_the_recipe_for_digits_learns_to_copy_them(tmp_path):
    """A quarter of the run: by then most answers are right, where guessing would get one in ten
    thousand.
    """
    vocabulary = tmp_path / "digits.model"
    built = ["--data=subsequence", "--type=word", "--no-clean", f"--out={vocabulary}"]
    assert build_vocabulary.main(built) == 0
    out = tmp_path / "run"
    options = [
        "--recipe",
        "subsequence",
        "--vocabulary",
        str(vocabulary),
        "--epochs",
        "0.25",
        "--validations",
        "4",
    ]
    assert (
        fit.main([*options, "--seed", "1", "--device", "cpu", "--out", str(out), "--no-cache"]) == 0
    )
    exact, losses = copying.measure(
        checkpoint.load(out / "checkpoint"), list(subsequence.read("test"))
    )
    assert exact > 0.5
    assert len(losses) == 9
