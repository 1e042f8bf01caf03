import json
import subprocess

import pytest

from tests.training.run.test_resume import stop_at
from training import fit
from training.corpora.transcript import Transcript, sha256_of
from training.run import manifest
from training.run.state import Progress


def test_a_run_writes_down_what_it_is_and_how_far_it_came(options, tmp_path):
    assert fit.main([*options, "--seed=3"]) == 0
    out = tmp_path / "run"
    found = json.loads((out / "run.json").read_text(encoding="utf-8"))
    written = json.loads((out / "checkpoint" / "config.json").read_text(encoding="utf-8"))
    assert found["configuration"] == written["training"]["config"]
    assert found["sizes"] == written["model"]
    assert found["model"] == written["class"]
    assert found["vocabulary_sha256"] == written["vocabulary_sha256"]
    assert found["seeds"] == {"torch": 3, "random": 3}
    assert found["versions"].keys() == {"python", "torch", "sentencepiece", "numpy", "safetensors"}
    assert found["data_sha256"].keys() == {"train", "validation"}
    assert (found["device"], found["ranks"], found["went_on"]) == ("cpu", 1, [])
    last = json.loads((out / "log.jsonl").read_text(encoding="utf-8").splitlines()[-1])
    assert found["progress"]["step"] == last["step"] == 10
    assert found["tokens_per_second"] == pytest.approx(
        found["progress"]["tokens"] / found["seconds"], rel=1e-2
    )
    assert found["begun"] <= found["ended"]


def test_it_is_there_from_the_beginning_and_says_that_the_run_has_not_ended(options, tmp_path):
    assert fit.main(options, hooks=stop_at(1)) == 130
    found = manifest.read(tmp_path / "run")
    assert found["ended"] is None
    assert "progress" not in found
    assert found["parameters"] > 0


def test_a_run_that_goes_on_keeps_when_it_was_begun(options, tmp_path):
    assert fit.main([*options, "--epochs=1"]) == 0
    out = tmp_path / "run"
    first = manifest.read(out)
    facts = first | {"begun": "2001-01-01T00:00:00+00:00"}
    (out / "run.json").write_text(json.dumps(facts), encoding="utf-8")
    assert fit.main(["--resume", "--epochs=2", f"--out={out}", "--device=cpu"]) == 0
    found = manifest.read(out)
    assert found["begun"] == facts["begun"]
    assert len(found["went_on"]) == 1
    assert found["configuration"]["epochs"] == 2
    assert found["progress"]["step"] > first["progress"]["step"]
    assert found["data_sha256"] == first["data_sha256"]


def test_a_run_that_is_older_than_the_manifest_does_not_know_when_it_was_begun(options, tmp_path):
    assert fit.main([*options, "--epochs=1"]) == 0
    (tmp_path / "run" / "run.json").unlink()
    assert fit.main(["--resume", "--epochs=2", f"--out={tmp_path / 'run'}", "--device=cpu"]) == 0
    found = manifest.read(tmp_path / "run")
    assert found["begun"] is None
    assert len(found["went_on"]) == 1


def test_a_run_that_is_begun_again_is_another_one(options, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json").write_text(
        '{"begun": "2001-01-01T00:00:00+00:00", "went_on": ["x"], "seconds": 3}'
    )
    assert fit.main([*options, "--epochs=1"]) == 0
    found = manifest.read(tmp_path / "run")
    assert found["begun"] > "2001-01-02"
    assert found["went_on"] == []


def test_a_validation_brings_it_up_to_date_and_what_is_no_number_is_null(tmp_path):
    (tmp_path / "run.json").write_text('{"begun": "x"}')
    manifest.bring_up_to_date(tmp_path, Progress(step=4, tokens=100, seconds=8.0))
    found = manifest.read(tmp_path)
    assert (
        found["begun"],
        found["ended"],
        found["tokens_per_second"],
        found["progress"]["step"],
    ) == ("x", None, 12.5, 4)
    assert found["progress"]["best_perplexity"] is None
    assert not list(tmp_path.glob("*.partial"))


@pytest.mark.parametrize("written", ["", "[1]", "{"])
def test_a_manifest_that_is_broken_is_none(tmp_path, written):
    (tmp_path / "run.json").write_text(written)
    assert manifest.read(tmp_path) == {}
    assert manifest.read(tmp_path / "nowhere") == {}


def test_conversations_are_named_by_their_ids_and_turns():
    talk = Transcript("1", "x", ("a", "b"))
    assert sha256_of([talk]) == sha256_of([Transcript("1", "y", ("a", "b"), spaced=True)])
    others = [[Transcript("2", "x", ("a", "b"))], [Transcript("1", "x", ("ab",))], [talk, talk], []]
    assert len({sha256_of([talk]), *map(sha256_of, others)}) == 5


def test_the_code_is_named_by_its_commit_and_whether_it_was_changed(tmp_path):
    assert manifest.commit(tmp_path) is None
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@example.org"]
    (tmp_path / "file").write_text("one")
    for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "One"]):
        subprocess.run([*git, *words], check=True)
    head = subprocess.run(
        [*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True
    ).stdout.strip()
    assert manifest.commit(tmp_path) == {"commit": head, "changed": False}
    (tmp_path / "file").write_text("two")
    assert manifest.commit(tmp_path) == {"commit": head, "changed": True}
