"""The benchmarks end with the line of JSON that scripts read. No timing is asserted."""

import json

import pytest

from dialogue import bench as dialogue_bench
from dialogue import checkpoint
from training import bench as training_bench


@pytest.mark.slow
def test_dialogue_bench_ends_with_a_row_a_combination(talker, tmp_path, capsys):
    checkpoint.save(tmp_path / "model", talker)
    assert dialogue_bench.main(["--checkpoint", str(tmp_path / "model"), "--rounds", "1"]) == 0
    rows = json.loads(capsys.readouterr().out.splitlines()[-1])["rows"]
    names = {
        "method",
        "model",
        "precision",
        "batch",
        "beam",
        "blocking",
        "turns",
        "reply_tokens",
        "ms",
        "encode_ms",
        "floor_ms",
        "ratio",
    }
    assert all(set(row) == names for row in rows)
    assert {(row["batch"], row["beam"], row["blocking"]) for row in rows if row["model"] == "reference"} == {
        (batch, beam, blocking) for batch, beam in dialogue_bench.SIZES for blocking in (0, 3)
    }
    assert [row["batch"] for row in rows if row["model"] == "shipped"] == [1, 1, 8]


@pytest.mark.slow
def test_training_bench_ends_with_its_row(conversations, tmp_path, capsys):
    lines = [json.dumps({"id": t.id + str(n), "turns": t.turns}) for n in range(20) for t in conversations]
    (tmp_path / "talk.jsonl").write_text("\n".join(lines))
    assert (
        training_bench.main(["--data", str(tmp_path / "talk.jsonl"), "--batch-tokens", "300", "--steps", "2", "--device", "cpu"])
        == 0
    )
    (row,) = json.loads(capsys.readouterr().out.splitlines()[-1])["rows"]
    assert set(row) == {"model", "tokens_per_s", "plain_tokens_per_s", "speedup", "floor_ratio"}


def test_bad_options_are_one_plain_line(tmp_path, capsys):
    assert dialogue_bench.main(["--checkpoint", str(tmp_path)]) == 2
    assert training_bench.main(["--data", str(tmp_path / "nothing")]) == 2
    assert capsys.readouterr().err.count("error: ") == 2
