"""Which folders a run may be started in, resumed in, or started from with another's weights."""

import pytest
import torch
from safetensors.torch import load_file

from dialogue import checkpoint
from tests.training.conftest import SMALL
from training import fit


def test_a_run_is_not_begun_over_another(options, tmp_path, capsys):
    assert fit.main([*options, "--epochs=0.2"]) == 0
    before = (tmp_path / "run" / "state.safetensors").read_bytes()
    assert fit.main([*options, "--epochs=0.2"]) == 2
    assert (
        "run already holds a run; continue it with --resume, or choose another folder"
        in capsys.readouterr().err
    )
    assert (tmp_path / "run" / "state.safetensors").read_bytes() == before


def test_there_is_nothing_to_resume_in_an_empty_folder(tmp_path, capsys):
    assert fit.main(["--resume", f"--out={tmp_path}"]) == 2
    assert "is not a checkpoint: it lacks model.safetensors" in capsys.readouterr().err


def test_a_run_is_not_resumed_with_other_sizes(options, tmp_path, capsys):
    assert fit.main([*options, "--epochs=0.2"]) == 0
    assert fit.main(["--resume", f"--out={tmp_path / 'run'}", "--hidden=12", "--device=cpu"]) == 2
    assert "cannot resume from" in capsys.readouterr().err


def test_a_checkpoint_that_no_run_wrote_is_not_resumed(talker, tmp_path, capsys):
    """A checkpoint without a run's configuration was a KeyError with a stack trace."""
    checkpoint.save(tmp_path / "checkpoint", talker)
    assert fit.main(["--resume", f"--out={tmp_path}"]) == 2
    assert capsys.readouterr().err.startswith("error: ")


def test_a_run_that_starts_from_a_checkpoint_has_its_weights_vocabulary_and_sizes(
    options, tmp_path
):
    assert fit.main([*options, "--epochs=0.2"]) == 0
    first = tmp_path / "run" / "checkpoint"
    sizes_and_data = [
        option
        for option in options
        if not option.startswith(("--vocabulary", "--out", *(f"--{name}=" for name in SMALL)))
    ]
    out = tmp_path / "second"
    again = [
        *sizes_and_data,
        "--learning-rate=1e-12",
        "--epochs=0.2",
        f"--start-from={first}",
        f"--out={out}",
    ]
    assert fit.main(again) == 0
    ours, theirs = (
        load_file(first / "model.safetensors"),
        load_file(out / "checkpoint" / "model.safetensors"),
    )
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert (first / "vocabulary.model").read_bytes() == (
        out / "checkpoint" / "vocabulary.model"
    ).read_bytes()


@pytest.mark.parametrize(
    ("option", "complaint"),
    [
        ("--hidden=3", "leave --hidden out"),
        ("--vocabulary=other.model", "there is no vocabulary at other.model"),
        ("--resume", "leave --start-from out"),
    ],
)
def test_what_a_checkpoint_settles_cannot_be_asked_for_as_well(
    option, complaint, options, tmp_path, capsys
):
    assert fit.main([*options, "--epochs=0.2"]) == 0
    kept = [
        o for o in options if not o.startswith(("--vocabulary", *(f"--{name}=" for name in SMALL)))
    ]
    out = [] if option == "--resume" else [f"--out={tmp_path / 'second'}"]
    assert fit.main([*kept, *out, f"--start-from={tmp_path / 'run' / 'checkpoint'}", option]) == 2
    assert complaint in capsys.readouterr().err
    assert not (tmp_path / "second").exists()
