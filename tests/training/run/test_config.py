"""Options that are out of range or invalid."""

import pytest

from training import fit


@pytest.mark.parametrize(
    ("option", "complaint"),
    [
        ("--batch-tokens=0", "--batch-tokens is 0; it must be at least 1"),
        ("--truncate=1", "--truncate is 1; it must be at least 2"),
        ("--learning-rate=0", "--learning-rate is 0.0; it must be at least"),
        ("--learning-rate=nan", "--learning-rate is nan"),
        ("--epochs=-1", "--epochs is -1.0; it must be at least"),
        ("--validations=0", "--validations is 0.0; it must be at least"),
        ("--label-smoothing=1", "--label-smoothing is 1.0; it must be from 0 to below 1"),
        ("--unlikelihood=-1", "--unlikelihood is -1.0; it must be 0 or more"),
        ("--schedule=linear", "--schedule is 'linear'; it must be plateau, cosine or constant"),
        ("--precision=fp8", "--precision is 'fp8'; it must be auto, fp32 or bf16"),
        ("--hidden=0", "hidden is 0; it must be 1 or more"),
        ("--utterance=7", "utterance is 7; a bidirectional encoder needs an even size"),
        ("--dropout=1", "dropout is 1.0; it must be at least 0 and below 1"),
        ("--device=abacus", "device 'abacus' is not there"),
        ("--data=nowhere.jsonl", "no corpus 'nowhere.jsonl'"),
        ("--vocabulary=nowhere.model", "no vocabulary at nowhere.model"),
    ],
)
def test_an_option_out_of_reach_is_a_sentence(options, tmp_path, capsys, option, complaint):
    assert fit.main([*options, option]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert complaint in error
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("option", ["--epochs=many", "--shoe-size=44", "--batch-tokens=1.5"])
def test_an_option_that_is_none_shows_the_usage(options, capsys, option):
    with pytest.raises(SystemExit) as stopped:
        fit.main([*options, option])
    assert stopped.value.code == 2
    assert "usage: python -m training.fit" in capsys.readouterr().err
