"""A run's folder as version 0.1.0 left it: whatever has been renamed, it can still be read and
resumed.
"""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from dialogue import checkpoint
from dialogue.agent import DialogueAgent
from dialogue.conversation import Conversation
from training import compare_runs, fit
from training.run import manifest

FOLDER = Path(__file__).with_name("older_run")
NEW_SETTINGS = {"teacher": None, "distilled": 0.5}  # added since, at their defaults


@pytest.fixture
def older(tmp_path, monkeypatch):
    """A copy that may be changed. The code seems to be in a checkout, as it was then, even without
    .git.
    """
    monkeypatch.setattr(manifest, "commit", lambda: {"commit": "c" * 40, "changed": False})
    return Path(shutil.copytree(FOLDER, tmp_path / "run"))


def keys(value, prefix=""):
    """List the keys of nested objects with their paths."""
    if not isinstance(value, dict):
        return {prefix}
    return {prefix}.union(*(keys(part, f"{prefix}/{name}") for name, part in value.items()))


def test_its_checkpoint_loads_and_talks(older):
    loaded = checkpoint.load(older / "checkpoint")
    stored = load_file(older / "checkpoint" / "model.safetensors")
    assert loaded.model.state_dict().keys() == stored.keys()
    for name, weights in loaded.model.state_dict().items():
        torch.testing.assert_close(weights, stored[name].to(weights.dtype), rtol=0, atol=0)
    (reply,) = DialogueAgent(loaded).answer([Conversation()], ["do you like music?"])
    assert reply.text
    assert len(reply.candidates) > 1


def test_it_stands_beside_other_runs(older):
    run = compare_runs.read_run(older)
    assert [row["step"] for row in run.rows] == [6, 12]
    assert (run.parameters, run.settings["embedding"], run.settings["data"]) == (
        704,
        4,
        "talk.jsonl",
    )
    assert compare_runs.side_by_side({"older": run}).row_count > 5


def test_it_goes_on_with_what_it_was_asked_for(older):
    before = manifest.read(older)
    assert (
        fit.main(
            [
                "--resume",
                f"--data={FOLDER / 'talk.jsonl'}",
                "--epochs=3",
                "--no-cache",
                f"--out={older}",
            ]
        )
        == 0
    )
    with safe_open(older / "state.safetensors", framework="pt") as file:
        progress = json.loads(file.metadata()["progress"])
    assert (progress["step"], progress["epoch"]) == (18, 3)
    rows = [
        json.loads(line) for line in (older / "log.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    assert [row["step"] for row in rows] == [6, 12, 18]
    assert len({tuple(row) for row in rows}) == 1, "a line of today has the keys of then"
    after = manifest.read(older)
    assert keys(after) == keys(before) | {f"/configuration/{name}" for name in NEW_SETTINGS}
    assert after["configuration"] == before["configuration"] | NEW_SETTINGS | {
        "epochs": 3.0,
        "data": [str(FOLDER / "talk.jsonl")],
    }


def test_every_file_that_a_run_writes_has_the_keys_of_then(older, tmp_path):
    again = tmp_path / "again"
    options = [
        "--embedding=4",
        "--utterance=4",
        "--context=4",
        "--hidden=4",
        "--batch-tokens=60",
        "--epochs=2",
        "--device=cpu",
    ]
    vocabulary = f"--vocabulary={FOLDER / 'checkpoint' / 'vocabulary.model'}"
    assert (
        fit.main(
            [
                f"--data={FOLDER / 'talk.jsonl'}",
                vocabulary,
                *options,
                "--no-cache",
                f"--out={again}",
            ]
        )
        == 0
    )
    for name in ("run.json", "checkpoint/config.json"):
        then, now = (
            keys(json.loads((out / name).read_text(encoding="utf-8"))) for out in (older, again)
        )
        assert then <= now, f"{name} lacks {then - now}"
    for name in ("state.safetensors", "checkpoint/model.safetensors"):
        assert load_file(older / name).keys() == load_file(again / name).keys()
    with safe_open(again / "state.safetensors", framework="pt") as file:
        assert {"progress", "optimizer", "data"} <= file.metadata().keys()
