import math

import pytest
import torch

from dialogue import checkpoint
from training import carried_state
from training.corpora.transcript import Transcript

TEXT = Transcript("a book", "book", ("Hello there!", "how are  you?", "i am fine"))


@torch.no_grad()
def by_hand(talker, *, carries):
    """Line by line, token by token: the sum of -log p of all lines but the first."""
    model, vocabulary = talker.model, talker.vocabulary
    lines = [[*vocabulary.encode(line), vocabulary.eos_id] for line in TEXT.turns]
    history, total = None, 0.0
    for number, line in enumerate(lines):
        if number:
            state, read = (
                model.start(history if carries else torch.zeros_like(history)),
                vocabulary.bos_id,
            )
            for token in line:
                log_probs, state = model.step(torch.tensor([read]), state)
                total -= float(log_probs[0, token])
                read = token
        history = model.encode_turn(torch.tensor([line]), torch.tensor([len(line)]), history)
    return total, sum(map(len, lines[1:]))


def test_lines_are_predicted_after_all_before_them_and_after_nothing(talker):
    found = carried_state.measure(talker, [TEXT, Transcript("another", "book", ("one line",))])
    for way, carries in (("carried", True), ("reset", False)):
        total, tokens = by_hand(talker, carries=carries)
        assert found[f"perplexity per token, state {way}"] == pytest.approx(
            math.exp(total / tokens), rel=1e-5
        )
        assert found[f"perplexity per word, state {way}"] == pytest.approx(
            math.exp(total / 8), rel=1e-5
        )
    total, _ = by_hand(talker, carries=True)
    characters = (
        len("how are you?") + len("i am fine") + 2
    )  # as the model reads them: one space, and the lines' ends
    assert found["bits per character, state carried"] == pytest.approx(
        total / math.log(2) / characters, rel=1e-5
    )
    assert found["lines"] == 2


def test_the_command_prints_them_and_names_a_text_without_a_second_line(
    talker, talk, tmp_path, capsys
):
    checkpoint.save(tmp_path / "model", talker)
    options = ["--checkpoint", str(tmp_path / "model"), "--device", "cpu"]
    assert (
        carried_state.main([*options, "--data", str(talk / "talk.jsonl"), "--split", "train"]) == 0
    )
    assert "state reset" in capsys.readouterr().out
    (tmp_path / "short.txt").write_text("one line\n", encoding="utf-8")
    assert (
        carried_state.main([*options, "--data", str(tmp_path / "short.txt"), "--split", "train"])
        == 2
    )
    assert capsys.readouterr().err.startswith("error: no text has a second line")
