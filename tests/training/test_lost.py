"""Nothing is lost: what a kill, a full disk, other data or a broken loss may not do to a run."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from tests.training.conftest import close, figures, log, progress_of, same_weights
from training import fit

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_a_run_that_was_killed_goes_on_as_if_nothing_had_happened(options, tmp_path):
    """A real process and a real SIGKILL, as soon as its second validation shows in the log."""
    undisturbed, killed = tmp_path / "undisturbed", tmp_path / "killed"
    common = [*options[:-1], "--epochs=4"]
    assert fit.main([*common, f"--out={undisturbed}"]) == 0
    process = subprocess.Popen(
        [sys.executable, "-m", "training.fit", *common, f"--out={killed}"],
        cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 60
        while not (killed / "log.jsonl").exists() or (killed / "log.jsonl").read_bytes().count(b"\n") < 2:
            assert process.poll() is None, "it ended before it could be killed"
            assert time.monotonic() < deadline
            time.sleep(0.01)
    finally:
        process.kill()
        assert process.wait() == -signal.SIGKILL
    assert len(log(killed)) < len(log(undisturbed)) == 8
    assert fit.main(["--resume", f"--out={killed}", "--device=cpu"]) == 0
    close(figures(killed), figures(undisturbed))
    same_weights(killed, undisturbed)


def test_a_loss_that_is_no_number_stops_the_run(options, tmp_path, capsys, monkeypatch):
    original = fit.Trainer.step

    def broken(self, batch, **options):
        return original(self, batch, **options)._replace(loss=torch.tensor(float("nan")))

    monkeypatch.setattr(fit.Trainer, "step", broken)
    assert fit.main(options) == 2
    assert "the loss is nan at step" in capsys.readouterr().err
    assert progress_of(tmp_path / "run").step == 0, "the state before it is kept"
