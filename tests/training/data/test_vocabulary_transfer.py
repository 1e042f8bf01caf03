"""Transferring weights to another vocabulary: --start-from with --vocabulary."""

import pytest
import torch

from dialogue import checkpoint
from tests.training.conftest import log
from training import fit
from training.data.vocabulary import build, save
from training.data.vocabulary_transfer import old_tokens, transfer


def test_a_token_of_both_keeps_its_rows_and_a_new_one_is_the_mean_of_its_parts(
    talker, conversations
):
    old = talker.vocabulary
    new = build([turn for one in conversations for turn in one.turns], size=500)
    moved = transfer(talker, new)
    before, after = talker.model.state_dict(), moved.model.state_dict()
    written = old_tokens(old, new)
    for token_id in (new.eos_id, new.bos_id, new.pad_id):
        assert [old.piece(part) for part in written[token_id]] == [new.piece(token_id)]
    for token_id, parts in enumerate(written):
        for name in ("embedding.weight", "output_bias"):
            torch.testing.assert_close(after[name][token_id], before[name][parts].mean(0))
    for name in before.keys() - {"embedding.weight", "output_bias"}:
        torch.testing.assert_close(after[name], before[name])
    assert moved.config.vocab_size == len(new)


def test_parts_are_the_longest_ones_and_what_cannot_be_written_is_unknown():
    class Pieces(list):
        piece = list.__getitem__
        unk_id = 0

    old = Pieces(["<unk>", "▁oct", "o", "pus", "opus", "▁"])
    assert old_tokens(old, Pieces(["▁octopus", "opus", "▁o", "zz", "zopus"])) == [
        [1, 4],
        [4],
        [5, 2],
        [0],
        [4],
    ]


def test_a_run_with_more_words_begins_with_what_the_weights_knew(
    talker, talk, options, tmp_path, conversations
):
    checkpoint.save(tmp_path / "before", talker)
    turns = [turn for one in conversations for turn in one.turns]
    new = build([*turns[::-1], *["an octopus juggles"] * 9], size=500, model_type="word")
    assert new.sha256 != talker.vocabulary.sha256
    save(new, tmp_path / "new.model")
    kept = [
        option
        for option in options
        if option.startswith(("--data", "--batch", "--precision", "--device"))
    ]
    kept += ["--epochs=0.2", "--learning-rate=1e-9", f"--start-from={tmp_path / 'before'}"]
    assert fit.main([*kept, f"--out={tmp_path / 'same'}"]) == 0
    assert (
        fit.main([*kept, f"--vocabulary={tmp_path / 'new.model'}", f"--out={tmp_path / 'more'}"])
        == 0
    )
    assert checkpoint.load(tmp_path / "more" / "checkpoint").vocabulary.sha256 == new.sha256
    same, more = (log(tmp_path / name)[0]["perplexity"] for name in ("same", "more"))
    assert more == pytest.approx(same, rel=0.2)
