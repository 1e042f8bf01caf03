"""What commands share: their checks, options and exit status."""

import argparse
import os
from pathlib import Path

import pytest

from dialogue import command_line


def test_an_interrupted_command_says_so_by_its_status():
    def interrupted(_):
        raise KeyboardInterrupt

    assert command_line.command(interrupted)() == 130


def test_a_number_that_is_too_small_is_named_by_its_option():
    with pytest.raises(ValueError, match="--batch-tokens is 0; it must be at least 1"):
        command_line.at_least(1, steps=3, batch_tokens=0)
    command_line.at_least(1, limit=None)


def test_a_file_that_cannot_be_written_is_named_before_the_work(tmp_path):
    with pytest.raises(ValueError, match=r"--json .* is a folder; name a file in it"):
        command_line.check_writable_file(tmp_path, option="--json")
    (tmp_path / "file").touch()
    with pytest.raises(
        ValueError,
        match=r"cannot write into .*file: Not a directory; name another folder with --out",
    ):
        command_line.check_writable_file(tmp_path / "file" / "new")
    command_line.check_writable_file(tmp_path / "new" / "file")
    command_line.check_writable_file(Path(os.devnull))
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_shared_options_are_the_same_everywhere(monkeypatch):
    monkeypatch.setenv("CHECKPOINT", "elsewhere")
    monkeypatch.setenv("MODEL_CLASS", "mine:Talker")
    parser = argparse.ArgumentParser()
    command_line.add_model(parser)
    command_line.add_device(parser)
    found = parser.parse_args([])
    assert (found.checkpoint, found.model) == (Path("elsewhere"), "mine:Talker")


def test_a_checkpoint_that_must_be_named_has_no_model_from_the_environment(monkeypatch):
    monkeypatch.setenv("MODEL_CLASS", "mine:Talker")
    parser = argparse.ArgumentParser()
    command_line.add_model(parser, required=True)
    assert parser.parse_args(["--checkpoint=here"]).model is None
