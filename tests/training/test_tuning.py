"""docs/tuning.md on a small corpus: from a model that knows other talk to one that answers as the corpus does."""

import json

from dialogue import checkpoint
from tests.training.conftest import log
from training import fit
from training.corpora.transcript import split_of
from training.reading.__main__ import main as reading
from training.reading.sheet import read_key

ANSWERS = {"my tomatoes are ripe": "at last they are", "the roses need water": "then water the roses"}


def test_a_run_from_a_checkpoint_learns_the_answers_of_ones_own_talk(talker, talk, tmp_path):
    before = tmp_path / "before"
    checkpoint.save(before, talker)
    ids = {split: [str(n) for n in range(800) if split_of(str(n)) == split] for split in ("train", "validation", "test")}
    pairs = list(ANSWERS.items())
    mine = tmp_path / "mine.jsonl"
    with mine.open("w") as file:
        for split, count in (("train", 40), ("validation", 4), ("test", 2)):
            for number, key in enumerate(ids[split][:count]):
                heard, said = pairs[number % 2]
                file.write(json.dumps({"id": key, "turns": [said, heard], "speakers": ["companion", "person"]}) + "\n")
                file.write(json.dumps({"id": f"{key} ", "turns": [heard, said, "i see"]}) + "\n")
    words = tmp_path / "words.model"
    from training import build_vocabulary

    turns = [turn for pair in pairs for turn in pair]
    known = [talker.vocabulary.piece(token).lstrip("\u2581") for token in range(len(talker.vocabulary))]
    build_vocabulary.save(build_vocabulary.build([*turns, "i see", " ".join(known[10:])], size=500, model_type="word"), words)
    options = [f"--data={mine}:4", f"--start-from={before}", f"--vocabulary={words}", "--only-companion"]
    options += ["--epochs=12", "--learning-rate=0.01", "--schedule=cosine", "--batch-tokens=100", "--device=cpu", "--no-cache"]
    assert fit.main([*options, f"--out={tmp_path / 'run'}"]) == 0
    rows = log(tmp_path / "run")
    assert rows[-1]["best_perplexity"] < 0.5 * rows[0]["perplexity"]

    contexts = tmp_path / "contexts.jsonl"
    contexts.write_text("".join(json.dumps({"id": a, "turns": [a], "reply": b}) + "\n" for a, b in pairs))
    after = f"--checkpoint={tmp_path / 'run' / 'checkpoint'}"
    decode = "--decode=method=beam"
    out = tmp_path / "sheet"
    assert reading(["sheet", f"--checkpoint={before}", decode, after, decode, f"--contexts={contexts}", f"--out={out}"]) == 0
    alike = [sources for context in read_key(out)["contexts"] for sources in context["replies"].values() if "written" in sources]
    assert all(any("run" in source for source in sources) for sources in alike), "it says what was written"
    assert not any("before" in source for sources in alike for source in sources)
