import math

import pytest
import torch

from dialogue import checkpoint
from dialogue.checkpoint import Checkpoint
from dialogue.config import ModelConfig
from dialogue.models.hred import HRED
from dialogue.vocabulary import Vocabulary
from training import copying, corpora
from training.corpora import subsequence
from training.corpora.transcript import Complaints
from training.data import batches
from training.run.trainer import Trainer


@pytest.fixture(scope="module")
def splits():
    return {
        split: corpora.load(["subsequence"], split, Complaints()) for split in subsequence.SIZES
    }


def test_the_answer_is_what_the_index_and_the_length_name(splits):
    for transcript in splits["test"]:
        question, answer = ([int(number) for number in turn.split()] for turn in transcript.turns)
        index, length, *digits = question
        assert len(digits) == 8
        assert min(digits) >= 1
        assert answer == digits[index : index + length]
        assert 2 <= len(answer) == length


def test_no_question_is_in_two_splits_or_twice_in_one(splits):
    assert {split: len(found) for split, found in splits.items()} == subsequence.SIZES
    questions = [transcript.turns[0] for found in splits.values() for transcript in found]
    assert len(set(questions)) == len(questions)


def test_it_is_the_same_for_everybody_and_the_question_is_not_learnt(splits):
    again = corpora.load(["subsequence"], "validation", Complaints())
    assert again == splits["validation"]
    assert all(transcript.untaught == {0} for transcript in again)


@pytest.fixture(scope="module")
def copier(splits):
    """A small model after a few steps: it knows that answers are digits, and copies hardly any."""
    torch.manual_seed(0)
    vocabulary = Vocabulary.of_words(["<pad>", *map(str, range(10))])
    config = ModelConfig(
        vocab_size=len(vocabulary), embedding=8, utterance=16, context=16, hidden=16, dropout=0.0
    )
    model = HRED.from_config(config, bos_id=vocabulary.bos_id)
    trainer = Trainer(model, learning_rate=0.02, precision="fp32", device=torch.device("cpu"))
    train = batches.encode(splits["train"][:640], vocabulary, truncate=None).conversations
    losses = []
    for start in range(0, 640, 32):
        batch = batches.collate(train[start : start + 32], pad_id=vocabulary.pad_id)
        losses.append(float(trainer.step(batch, learning_rate=0.02).loss))
    assert losses[-1] < losses[0] - 0.5
    return Checkpoint(model.eval(), vocabulary, config, {})


def test_the_losses_are_those_of_the_answers_position_by_position(copier, splits):
    """Against the likelihoods of whole answers: losses weighted by the number of answers of that
    length give the same sum.
    """
    transcripts = splits["test"][:50]
    _, losses = copying.measure(copier, transcripts)
    encoded = batches.encode(transcripts, copier.vocabulary, truncate=None).conversations
    with torch.no_grad():
        found = copier.model.log_likelihood(
            batches.collate(encoded, pad_id=copier.vocabulary.pad_id)
        )
    lengths = [len(answer) for _, answer in encoded]
    summed = sum(
        loss * sum(length > step for length in lengths) for step, loss in enumerate(losses)
    )
    assert summed == pytest.approx(-float(found.log_probs[1::2].sum()), rel=1e-5)


def test_an_answer_counts_when_every_token_and_its_end_are_right(copier, splits, monkeypatch):
    """With a model that copies by rule, and one that does not stop."""
    size, eos = len(copier.vocabulary), copier.vocabulary.eos_id
    (ids,) = copier.vocabulary.encode_all(["0 1 2 3 4 5 6 7 8 9"], spaced=True)
    digits = {token_id: digit for digit, token_id in enumerate(ids)}

    def start(history):
        return torch.zeros(len(history), dtype=torch.long)

    def share_copied(stops):
        asked = []

        def encode_turn(token_ids, lengths, history):
            asked.extend([digits[token] for token in row[:-1]] for row in token_ids.tolist())
            return torch.zeros(len(lengths), 1)

        def step(token_ids, state):
            table = torch.full((len(asked), size), -math.inf)
            for row, (index, length, *rest) in enumerate(asked):
                at = int(state[row])
                over = at >= length and (stops or row % 2)
                token = eos if over else ids[rest[min(index + at, 7)]]
                table[row, token] = 0.0
            return table, state + 1

        monkeypatch.setattr(copier.model, "encode_turn", encode_turn)
        monkeypatch.setattr(copier.model, "start", start)
        monkeypatch.setattr(copier.model, "step", step)
        return copying.measure(copier, splits["test"][:40])[0]

    assert share_copied(stops=True) == 1.0
    assert share_copied(stops=False) == 0.5


def test_the_command_tells_how_well_it_was_learnt(copier, tmp_path, capsys):
    checkpoint.save(tmp_path, copier)
    assert copying.main(["--checkpoint", str(tmp_path), "--device", "cpu"]) == 0
    assert "copied without a mistake: 0." in capsys.readouterr().out
    assert copying.main(["--checkpoint", str(tmp_path / "none")]) == 2
    assert capsys.readouterr().err.startswith("error: ")
