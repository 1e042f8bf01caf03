"""The search on a tiny HRED: batches, log-probabilities, greedy search and repetition."""

import pytest
import torch

from dialogue.config import METHODS, DecodeConfig
from dialogue.decoding.constraints import Limits
from dialogue.decoding.search import search as search_with_model
from tests.dialogue import conftest as tiny
from tests.dialogue.tables import (
    decoding,
    greedy,
    scores_of,
    tokens_of,
)  # fmt: skip

pytestmark = pytest.mark.usefixtures("on_device")


def model_search(model, histories, config, *, limits=None):
    return search_with_model(
        model.step, model.start(histories), len(histories), config=config, bos_id=tiny.BOS,
        eos_id=tiny.EOS, limits=limits,
        device=histories.device,
    )  # fmt: skip


@pytest.fixture(scope="module")
def peaked(device):
    """A model with strong preferences, and the histories of five conversations."""
    model = tiny.make_model(peaked=6.0)
    with torch.no_grad():
        model.output_bias[tiny.EOS] += 2
        model.context_gates.weight *= 6  # its history matters
    histories = [
        tiny.history_after(model, tiny.make_conversation(turns, seed=turns))
        for turns in (1, 2, 3, 5, 8)
    ]
    return model.to(device), torch.cat(histories).to(device)


def test_a_batch_of_five_histories_gives_the_replies_of_five_batches_of_one(peaked):
    model, histories = peaked
    config = DecodeConfig(method="beam", beam_size=4, max_length=12, block_ngrams=2)
    limits = Limits(forbidden=[tiny.PAD, tiny.UNK, tiny.BOS])
    together = model_search(model, histories, config, limits=limits)
    for row, found in enumerate(together):
        alone = model_search(model, histories[row : row + 1], config, limits=limits)[0]
        assert tokens_of(found) == tokens_of(alone)
        assert scores_of(found) == pytest.approx(scores_of(alone), abs=1e-5)
    assert len({len(h.token_ids) for found in together for h in found}) > 2
    assert len({found[0].token_ids for found in together}) > 1


@pytest.mark.parametrize("method", METHODS)
def test_the_log_probability_of_a_reply_is_what_the_model_gives_it_when_told(peaked, method):
    model, histories = peaked
    for row, found in enumerate(
        model_search(model, histories, DecodeConfig(method=method, beam_size=4, max_length=9))
    ):
        replies = [[[*h.token_ids, tiny.EOS]] for h in found]
        batch = tiny.as_batch(replies, history=histories[row].expand(len(replies), -1)).to(
            histories.device
        )
        with torch.no_grad():
            told = model.log_likelihood(batch).log_probs
        assert [h.log_prob for h in found] == pytest.approx(told.tolist(), abs=1e-4)


def test_a_beam_of_one_over_a_model_is_greedy(peaked):
    model, histories = peaked
    config = decoding(beam_size=1, max_length=9, length_penalty=0.65)
    for row, (found,) in enumerate(model_search(model, histories, config)):
        state = model.start(histories[row : row + 1])
        written, total = greedy(model.step, state, config, bos=tiny.BOS, eos=tiny.EOS)
        assert found.token_ids == written
        assert found.log_prob == pytest.approx(total, abs=1e-5)


@pytest.mark.parametrize("method", METHODS)
def test_the_same_search_twice_gives_the_same_replies(peaked, method):
    model, histories = peaked
    config = DecodeConfig(method=method, beam_size=4, max_length=9)
    assert model_search(model, histories, config) == model_search(model, histories, config)
