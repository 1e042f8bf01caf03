"""docs/tuning.md on a small corpus: a run from a checkpoint on one's own corpus, and a sheet of
both models' replies.
"""

import json

from dialogue import checkpoint
from tests.training.conftest import log
from training import fit
from training.corpora.transcript import split_of
from training.reading.__main__ import main as reading
from training.reading.sheet import read_key

ANSWERS = {"do you like snow?": "very quiet at night", "is pizza healthy?": "so they say"}


def test_a_run_from_a_checkpoint_learns_ones_own_talk_and_is_read_beside_it(talker, talk, tmp_path):
    before = tmp_path / "before"
    checkpoint.save(before, talker)
    ids = {
        split: [str(n) for n in range(800) if split_of(str(n)) == split]
        for split in ("train", "validation", "test")
    }
    pairs = list(ANSWERS.items())
    mine = tmp_path / "mine.jsonl"
    with mine.open("w") as file:
        for split, count in (("train", 40), ("validation", 4), ("test", 2)):
            for number, key in enumerate(ids[split][:count]):
                heard, said = pairs[number % 2]
                file.write(
                    json.dumps(
                        {"id": key, "turns": [said, heard], "speakers": ["companion", "person"]}
                    )
                    + "\n"
                )
                file.write(json.dumps({"id": f"{key} ", "turns": [heard, said, "i see"]}) + "\n")
    options = [f"--data={mine}:4", f"--start-from={before}", "--only-companion"]
    options += [
        "--epochs=10",
        "--learning-rate=0.01",
        "--schedule=cosine",
        "--batch-tokens=100",
        "--device=cpu",
        "--no-cache",
    ]
    assert fit.main([*options, f"--out={tmp_path / 'run'}"]) == 0
    rows = log(tmp_path / "run")
    assert rows[-1]["best_perplexity"] < 0.5 * rows[0]["perplexity"]

    contexts = tmp_path / "contexts.jsonl"
    contexts.write_text(
        "".join(json.dumps({"id": a, "turns": [a], "reply": b}) + "\n" for a, b in pairs)
    )
    after = f"--checkpoint={tmp_path / 'run' / 'checkpoint'}"
    decode = "--decode=method=greedy"
    out = tmp_path / "sheet"
    assert (
        reading(
            [
                "sheet",
                f"--checkpoint={before}",
                decode,
                after,
                decode,
                f"--contexts={contexts}",
                f"--out={out}",
            ]
        )
        == 0
    )
    assert len(read_key(out)["contexts"]) == 2
    assert len(read_key(out)["sources"]) == 3
