from dataclasses import replace

import pytest
import torch

from dialogue.models.history import empty_history, histories_before
from dialogue.models.hred import HRED
from training.data.batches import Utterance, collate
from training.run.scheduled_sampling import OwnWords

EOS, BOS = 3, 2
CONVERSATIONS = [
    [
        Utterance([4, 5, 6, EOS], heard=[5, EOS]),
        Utterance([7, EOS], heard=[8, 8, EOS]),
        Utterance([8, 9, 4, 4, 10, EOS]),
    ],
    [Utterance([5, EOS])],
    [Utterance([6, 6, EOS], heard=[7, EOS]), Utterance([4, 4, 4, 4, EOS])],
]


@pytest.fixture
def model():
    torch.manual_seed(0)
    model = HRED(
        vocab_size=12,
        bos_id=BOS,
        embedding=6,
        utterance=8,
        context=5,
        hidden=7,
        bidirectional=True,
        dropout=0.0,
    )
    for parameter in model.parameters():  # far from even, so that its words are its own
        parameter.data.mul_(3)
    return model.eval()


def before(model, batch):
    return histories_before(model.encode_turn, batch, empty_history(model))


def slowly(model, batch, histories, truth):
    """What is read, utterance by utterance and word by word, with the same draws."""
    true = torch.rand(batch.token_ids.shape) < truth
    read = batch.token_ids.clone()
    for row, length in enumerate(batch.lengths.tolist()):
        state, before = model.start(histories[row : row + 1]), torch.tensor([BOS])
        for time in range(length - 1):
            log_probs, state = model.step(before, state)
            before = (
                batch.token_ids[row, time : time + 1] if true[row, time] else log_probs.argmax(-1)
            )
            read[row, time] = before
    return read


@pytest.mark.parametrize("truth", [0.0, 0.4, 0.9])
def test_the_decoder_reads_what_it_would_have_said_in_the_place_of_some_true_words(model, truth):
    batch = collate(CONVERSATIONS, pad_id=0)
    torch.manual_seed(1)
    found = OwnWords("argmax", BOS).mix(model, batch, truth=truth)
    torch.manual_seed(1)
    expected = slowly(model, batch, before(model, batch), truth)
    assert torch.equal(found.decoder_input, expected)
    assert not torch.equal(found.decoder_input, batch.token_ids)
    assert torch.equal(found.token_ids, batch.token_ids), "what is to be learnt stays"


def test_with_a_share_of_one_nothing_is_changed_and_nothing_drawn(model):
    batch = collate(CONVERSATIONS, pad_id=0)
    before = torch.get_rng_state()
    assert OwnWords("argmax", BOS).mix(model, batch, truth=1.0) is batch
    assert torch.equal(torch.get_rng_state(), before)


def test_words_that_are_drawn_fall_as_the_model_finds_them_likely(model):
    """Ten thousand first words, against the probabilities of the first step."""
    batch = collate([[[4, EOS]]] * 10_000, pad_id=0)
    torch.manual_seed(2)
    found = (
        OwnWords("sample", BOS)
        .mix(model, batch, truth=0.0)
        .decoder_input[:, 0]
        .bincount(minlength=12)
        / 10_000
    )
    log_probs, _ = model.step(torch.tensor([BOS]), model.start(torch.zeros(1, 5)))
    torch.testing.assert_close(found, log_probs[0].exp(), atol=0.02, rtol=0)


def test_reading_the_true_words_by_name_is_reading_them(model):
    batch = collate(CONVERSATIONS, pad_id=0)
    plain, named = (
        model.log_likelihood(batch),
        model.log_likelihood(replace(batch, decoder_input=batch.token_ids)),
    )
    assert torch.equal(plain.log_probs, named.log_probs)


@pytest.mark.parametrize("begun", [False, True])
def test_the_histories_are_those_of_the_turns_before_one_by_one(model, begun):
    """As heard, starting from a history that the batch may have; turns without history get the
    empty one.
    """
    torch.manual_seed(3)
    history = torch.randn(3, 5) if begun else None
    without = torch.tensor([False, True, False, False, False, False])
    batch = replace(
        collate(
            CONVERSATIONS,
            pad_id=0,
            without_history=without,
            recognised=torch.ones(6, dtype=torch.bool),
        ),
        history=history,
    )
    expected = []
    for number, conversation in enumerate(CONVERSATIONS):
        state = torch.zeros(1, 5) if history is None else history[number : number + 1]
        for turn in conversation:
            expected.append(state)
            heard = turn.heard or list(turn)
            state = model.encode_turn(torch.tensor([heard]), torch.tensor([len(heard)]), state)
    expected = torch.cat(expected).masked_fill(without[:, None], 0)
    torch.testing.assert_close(before(model, batch), expected)


def test_conversations_of_one_turn_have_no_history(model):
    assert torch.equal(
        before(model, collate([[[4, EOS]], [[5, 6, EOS]]], pad_id=0)), torch.zeros(2, 5)
    )
