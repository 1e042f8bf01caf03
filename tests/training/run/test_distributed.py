"""Several processes fit one model: real ones, started by torchrun, on the loopback interface."""

import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from dialogue import checkpoint
from tests.training.conftest import figures, log, progress_of
from tests.training.run.test_resume import stop_at
from training import fit
from training.data import batches
from training.run.distributed import Processes

ROOT = Path(__file__).parents[3]
EACH_STEP = [
    "--validations=1000",
    "--epochs=5",
    "--learning-rate=0.01",
    "--schedule=cosine",
    "--dropout=0",
]


def start(count, *arguments):
    """Start training.fit in so many processes; they end with the test, whatever happens."""
    return subprocess.Popen(
        [
            sys.executable, "-m", "torch.distributed.run", "--standalone",
            f"--nproc-per-node={count}", "-m", "training.fit", "--no-cache", *arguments,
        ],
        cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def finish(process, *, seconds=300):
    try:
        said, complained = process.communicate(timeout=seconds)
    finally:
        process.terminate()  # torchrun ends its processes
        process.wait(30)
    return process.returncode, said, complained


def wait_for(found, process, *, seconds=60):
    deadline = time.monotonic() + seconds
    while not found():
        assert process.poll() is None, "it ended too early"
        if time.monotonic() > deadline:
            raise TimeoutError(f"nothing was found within {seconds} seconds")
        time.sleep(0.01)


def processes_of(process):
    """List the ids of the processes that torchrun has started, the first one first."""
    found = {}
    for child in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split():
        environment = Path(f"/proc/{child}/environ").read_bytes().split(b"\0")
        found |= {int(entry[5:]): int(child) for entry in environment if entry.startswith(b"RANK=")}
    return [found[number] for number in sorted(found)]


def in_one_process(tmp_path, options):
    assert fit.main([*options[:-1], f"--out={tmp_path / 'one'}"]) == 0
    return figures(tmp_path / "one")


def have_the_losses_of(alone, together):
    assert together.keys() == alone.keys()
    for step, expected in alone.items():
        assert together[step] == pytest.approx(expected, rel=1e-5), step


# --- how a batch is dealt out --------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_each_window_goes_to_one_process_and_the_processes_have_about_as_many_tokens(count):
    rng = random.Random(count)
    windows = [[[1] * rng.randint(1, 9) for _ in range(rng.randint(1, 5))] for _ in range(40)]
    shares = batches.shares(windows, count)
    assert sorted(place for share in shares for place in share) == list(range(40))
    assert all(share == sorted(share) for share in shares)
    loads = [sum(len(turn) for place in share for turn in windows[place]) for share in shares]
    assert max(loads) - min(loads) <= max(sum(map(len, window)) for window in windows)


def test_with_fewer_windows_than_processes_some_get_none():
    assert batches.shares([[[1, 2]], [[1, 2, 3]]], 4) == [[1], [0], [], []]


# --- the same losses -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("count", "batch_tokens"), [(2, 100), pytest.param(3, 30, marks=pytest.mark.slow)]
)
def test_several_processes_have_the_losses_of_one_on_the_same_batches(
    options, tmp_path, count, batch_tokens
):
    """In float32 without dropout, but with history dropout and recognised turns. Three processes
    share batches of one or two windows.
    """
    options = [
        *options[:-1],
        *EACH_STEP,
        f"--batch-tokens={batch_tokens}",
        "--epochs=2" if count == 3 else "--epochs=5",
        options[-1],
    ]
    alone = in_one_process(tmp_path, options)
    code, said, complained = finish(start(count, *options))
    assert code == 0, complained
    assert len(alone) >= 20
    have_the_losses_of(alone, figures(tmp_path / "run"))
    assert said.count("parameters on cpu") == 1, "one of them speaks"
    assert [row["tokens"] for row in log(tmp_path / "run")] == [
        row["tokens"] for row in log(tmp_path / "one")
    ]


# --- one is lost ---------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("lost", [0, 1])
def test_a_process_that_is_killed_ends_the_others_and_one_process_goes_on_from_the_state(
    options, tmp_path, lost
):
    """The process lost is the first one, which writes, and it may be in the middle of writing.

    There are so many steps that on a busy machine, too, the run is under way when it is lost.
    """
    options = [*options[:-1], *EACH_STEP, "--epochs=30", options[-1]]
    out = tmp_path / "run"
    process = start(2, *options)
    wait_for(lambda: (out / "log.jsonl").exists() and len(log(out)) >= 3, process)
    os.kill(processes_of(process)[lost], signal.SIGKILL)
    code, _, complained = finish(process, seconds=60)
    assert code != 0
    assert re.search(
        rf"process {1 - lost}: (another process has ended \(.*\)|stopped); "
        rf"go on with --resume --out {out}",
        complained,
    )
    assert checkpoint.load(out / "checkpoint").training["progress"]["step"] >= 1
    assert 0 < progress_of(out).step < 150
    assert fit.main(["--resume", f"--out={out}", "--device=cpu"]) == 0
    have_the_losses_of(in_one_process(tmp_path, options), figures(out))


@pytest.mark.slow
def test_what_one_process_began_two_go_on_with(options, tmp_path):
    options = [*options[:-1], *EACH_STEP, "--epochs=3", options[-1]]
    out = tmp_path / "run"
    alone = in_one_process(tmp_path, options)
    assert fit.main(options, hooks=stop_at(6)) == 130
    assert progress_of(out).step == 5
    code, _, complained = finish(start(2, "--resume", f"--out={out}", "--device=cpu"))
    assert code == 0, complained
    have_the_losses_of(alone, figures(out))


@pytest.mark.slow
def test_when_the_first_process_cannot_write_the_others_end_too(options, tmp_path):
    options = [*options[:-1], *EACH_STEP, "--epochs=1000", options[-1]]
    out = tmp_path / "run"
    process = start(2, *options)
    wait_for(lambda: (out / "log.jsonl").exists() and len(log(out)) >= 3, process)
    (out / "state.safetensors").rename(tmp_path / "state")
    (out / "state.safetensors").mkdir()
    (out / "state.safetensors" / "in the way").touch()
    code, _, complained = finish(process, seconds=60)
    assert code != 0
    assert "process 0: error: " in complained
    assert "state.safetensors" in complained


def test_a_figure_that_was_added_up_does_not_keep_all_gradients_alive(tmp_path):
    """The loss was a view into the message with all gradients, so a run grew by its model's size at
    each step.
    """
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{tmp_path / 'store'}", rank=0, world_size=1
    )
    try:
        gradient, loss = Processes(0, 2).add_up([torch.ones(1000), torch.tensor(3.0)])
    finally:
        torch.distributed.destroy_process_group()
    assert (gradient.sum().item(), loss.item()) == (1000, 3)
    assert loss.untyped_storage().nbytes() == loss.nbytes
