"""Nothing is lost: what a kill or a full disk must not do to a run."""

import json
import os
import random
import resource
import signal
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from dialogue import checkpoint
from tests.training.conftest import (
    close,
    contents,
    figures,
    is_whole,
    log,
    progress_of,
    same_weights,
)
from training import fit
from training.corpora.transcript import split_of

ROOT = Path(__file__).parents[3]
WRITTEN = (  # in the order of a validation
    "checkpoint/vocabulary.model", "checkpoint/config.json", "checkpoint/model.safetensors",
    "log.jsonl", "run.json",
    "state.safetensors", "loss.png",
)  # fmt: skip


# --- killed --------------------------------------------------------------------------------------


def start(*arguments):
    return subprocess.Popen(
        [sys.executable, "-m", "training.fit", "--no-cache", *arguments],
        cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}, stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def finish(process):
    try:
        _, said = process.communicate(timeout=900)
    finally:
        process.kill()
    assert process.returncode == 0, said


def kill(process, *, when, seconds=120):
    """Kill a process the moment a condition holds. Return whether it was killed."""
    try:
        deadline = time.monotonic() + seconds
        while not (true := when()) and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.0005)
    finally:
        process.kill()
        _, said = process.communicate()
    assert process.returncode == -signal.SIGKILL, said
    return true


def rows(out):
    """Return what a run has logged, without the time it took."""
    found = log(out) if (out / "log.jsonl").exists() else []
    return [{name: value for name, value in row.items() if name != "seconds"} for row in found]


def in_the_write_of(path, *, times):
    """Return, when polled often enough, whether a file is being written for the n-th time."""
    partial, seen, there = path.with_name(path.name + ".partial"), [], [False]

    def asked():
        now = partial.exists()
        if now and not there[0]:
            seen.append(now)
        there[0] = now
        return now and len(seen) >= times

    return asked


def replaced(path, *, times, seconds=0.0):
    """Return whether so many seconds have passed since a file was replaced for the n-th time."""
    versions = [path.stat().st_ino]
    since = []

    def asked():
        if (now := path.stat().st_ino) != versions[-1]:
            versions.append(now)
        if len(versions) > times and not since:
            since.append(time.monotonic())
        return bool(since) and time.monotonic() - since[0] >= seconds

    return asked


def first_of(*moments):
    return lambda: any(moment() for moment in moments)


def moment_at(place, out, rng):
    """Return when to kill a run: in the write of a file, or for None around a replacement."""
    state = out / "state.safetensors"
    if place:  # a write may be over before it is seen
        return first_of(
            in_the_write_of(out / place, times=rng.choice((2, 3))), replaced(state, times=3)
        )
    if saves := rng.choice((0, 1, 2)):
        return replaced(state, times=saves, seconds=rng.uniform(0, 0.5))
    return replaced(out / "checkpoint" / "config.json", times=1, seconds=rng.uniform(0, 0.1))


def validated_on_what_it_learns(corpus, conversations):
    """Write a corpus that has the same conversations in the training and validation splits."""
    keys = {
        split: [str(n) for n in range(600) if split_of(str(n)) == split]
        for split in ("train", "validation")
    }
    lines = [
        {"id": keys[split][n], "turns": talk.turns}
        for split in keys
        for n, talk in enumerate(conversations)
    ]
    corpus.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return corpus


@pytest.mark.slow
def test_a_run_that_is_killed_at_twenty_moments_loses_nothing(options, conversations, tmp_path):
    """Real processes and a real SIGKILL, during the write of each file and at other moments. The
    run validates at every step.

    It validates on what it learns, so the model improves and is saved almost every time.
    """
    undisturbed, out = tmp_path / "undisturbed", tmp_path / "killed"
    corpus = validated_on_what_it_learns(tmp_path / "talk.jsonl", conversations)
    sizes = [f"--{name}=96" for name in ("embedding", "utterance", "context", "hidden")]
    steady = [
        "--learning-rate=0.002",
        "--schedule=constant",
        "--epochs=14",
        "--validations=1000",
        "--dropout=0.1",
    ]
    common = [f"--data={corpus}", *options[1:-1], *sizes, *steady]
    finish(start(*common, f"--out={undisturbed}"))
    expected = rows(undisturbed)
    assert len(expected) > 60, "a validation at each step, and gain enough to go on"

    rng = random.Random(1)
    written = [*WRITTEN[1:], *2 * ("state.safetensors", "checkpoint/model.safetensors")]
    places = written + [None] * (19 - len(written))
    rng.shuffle(places)
    kill(start(*common, f"--out={out}"), when=(out / "state.safetensors").exists)
    inside, steps = 0, [0]
    for place in places:
        moment = moment_at(place, out, rng)
        kill(start("--resume", f"--out={out}", "--device=cpu"), when=moment)
        inside += bool(list(out.rglob("*.partial")))
        checkpoint.load(out / "checkpoint")
        found = rows(out)
        assert found == expected[: len(found)], (
            "each step once, with the figures that it has without a kill"
        )
        steps.append(progress_of(out).step)
    assert steps == sorted(steps)
    assert 0 < steps[-1] < expected[-1]["step"], "every one of them was killed"
    assert inside >= 5, "some of them in the middle of a write"
    finish(start("--resume", f"--out={out}", "--device=cpu"))
    assert rows(out) == expected
    is_whole(out)
    ours, theirs = (
        load_file(out / "state.safetensors"),
        load_file(undisturbed / "state.safetensors"),
    )
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert (
        checkpoint.load(out / "checkpoint").training["progress"]["step"]
        == min(expected, key=lambda row: row["perplexity"])["step"]
    )


@pytest.mark.parametrize("file", WRITTEN)
def test_a_run_that_dies_in_the_write_of_a_file_goes_on_as_if_nothing_had_happened(
    options, tmp_path, monkeypatch, file
):
    """At its second validation, with half of the file written: like a kill there, except that the
    process lives on.
    """
    undisturbed, out = tmp_path / "undisturbed", tmp_path / "run"
    assert fit.main([*options[:-1], f"--out={undisturbed}"]) == 0

    class Killed(BaseException):
        pass

    validations, write = [], Path.replace

    def counted(run, batches):
        validations.append(1)
        return run.trainer.validate(batches)

    def killed(self, target):
        if len(validations) >= 2 and Path(target) == out / file:
            half = self.read_bytes()[: self.stat().st_size // 2]
            monkeypatch.setattr(
                Path, "unlink", lambda *_, **__: None
            )  # a process that is killed cleans nothing up
            self.write_bytes(half)
            raise Killed
        return write(self, target)

    monkeypatch.setattr(Path, "replace", killed)
    with pytest.raises(Killed):
        fit.main(options, hooks=fit.Hooks(validate=counted))
    monkeypatch.undo()
    assert (out / f"{file}.partial").exists()
    assert fit.main(["--resume", f"--out={out}", "--device=cpu"]) == 0
    close(figures(out), figures(undisturbed))
    assert [row["step"] for row in log(out)] == [row["step"] for row in log(undisturbed)]
    same_weights(out, undisturbed)
    is_whole(out)


# --- a full disk, a folder that cannot be written into -------------------------------------------


@contextmanager
def files_of_at_most(size):
    """Limit the size of files, as on a disk that is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize(
    "file",
    ["checkpoint/config.json", "checkpoint/model.safetensors", "loss.png", "state.safetensors"],
)
def test_on_a_full_disk_a_run_ends_with_a_word_and_goes_on_when_there_is_room(
    options, tmp_path, capsys, file
):
    undisturbed, out = tmp_path / "undisturbed", tmp_path / "run"
    assert fit.main([*options[:-1], f"--out={undisturbed}"]) == 0
    capsys.readouterr()
    size = (undisturbed / file).stat().st_size

    validations, limit = [], ExitStack()

    def validate(run, batches):
        found = run.trainer.validate(batches)
        validations.append(found)
        if len(validations) == 2:
            limit.enter_context(files_of_at_most(size // 2))
        return found

    with limit:
        assert fit.main(options, hooks=fit.Hooks(validate=validate)) == 2
    said = capsys.readouterr().err
    assert "error: cannot write " in said
    assert "its previous content is unchanged" in said
    is_whole(out)
    assert fit.main(["--resume", f"--out={out}", "--device=cpu"]) == 0
    close(figures(out), figures(undisturbed))
    same_weights(out, undisturbed)
    is_whole(out)


def test_where_not_even_the_first_file_has_room_nothing_is_left(options, tmp_path, capsys):
    with files_of_at_most(100):
        assert fit.main([*options, "--no-cache"]) == 2
    assert "error: cannot write " in capsys.readouterr().err
    assert not contents(tmp_path / "run")
    assert fit.main([*options, "--epochs=0.2"]) == 0, "it can be begun again"


@pytest.mark.parametrize("place", ["/proc/run", "a file/run"])
def test_a_folder_that_cannot_be_written_into_is_named_before_the_corpora_are_read(
    options, tmp_path, monkeypatch, capsys, place
):
    (tmp_path / "a file").touch()
    monkeypatch.setattr(fit, "prepare", None)
    assert fit.main([*options[:-1], f"--out={tmp_path / place}"]) == 2
    assert "cannot write into" in capsys.readouterr().err
