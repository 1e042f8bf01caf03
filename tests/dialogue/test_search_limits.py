"""What a search does at its deadline, with NaN, and with limits that do not fit."""

import logging
import math

import pytest
import torch

from dialogue.config import METHODS
from dialogue.decoding.constraints import Limits
from tests.dialogue.tables import (
    SEARCHED,
    A,
    B,
    C,
    Clock,
    decoding,
    random_step,
    search,
    tokens_of,
)  # fmt: skip

pytestmark = pytest.mark.usefixtures("on_device")


@pytest.mark.parametrize("method", METHODS)
def test_at_the_deadline_the_best_so_far_is_cut_at_a_sentence_end(method):
    """Nothing has ended: after two looks at the clock there are eight tokens."""
    step = random_step(4, vocabulary=6, conversations=2, ending=-60.0, spread=1.0)
    config = decoding(method=method, beam_size=4, max_length=40)
    whole = search(step, config, conversations=(0, 1), deadline=2.0, clock=Clock())
    cut = search(
        step, config, conversations=(0, 1), deadline=2.0, clock=Clock(), sentence_ends=[B, C]
    )
    if method != "factual-nucleus":  # sentence ends have a say in what it draws
        for hypotheses in whole:
            assert {len(tokens) for tokens in tokens_of(hypotheses)} == {8}
            assert not any(h.finished for h in hypotheses)
    ended = 0
    for hypotheses in cut:
        assert hypotheses
        for hypothesis in hypotheses:
            assert hypothesis.token_ids
            ended += hypothesis.token_ids[-1] in (B, C)
            assert hypothesis.token_ids[-1] in (B, C) or not {B, C} & set(hypothesis.token_ids)
            assert hypothesis.log_prob == pytest.approx(sum(hypothesis.token_log_probs), abs=1e-5)
            assert len(hypothesis.token_log_probs) == len(hypothesis.token_ids)
    assert ended


def test_at_the_deadline_finished_replies_are_given_where_there_are_any():
    step = random_step(5, vocabulary=6, conversations=3, ending=0.0)
    config = decoding(beam_size=6, max_length=40, length_penalty=0.65)
    known = search(step, config, conversations=(0, 1, 2))
    for found, complete in zip(
        search(step, config, conversations=(0, 1, 2), deadline=0.0, clock=Clock()),
        known,
        strict=True,
    ):
        assert all(h.finished and len(h.token_ids) < 4 for h in found)
        assert found[0].score <= complete[0].score
        for hypothesis in found:
            assert hypothesis.log_prob == pytest.approx(
                hypothesis.score * ((5 + len(hypothesis.token_ids)) / 6) ** 0.65, abs=1e-4
            )


def test_a_deadline_that_is_not_reached_changes_nothing():
    step = random_step(5, vocabulary=6)
    config = decoding(beam_size=4, max_length=20)
    assert search(step, config, deadline=1e9, clock=Clock()) == search(step, config)


@pytest.mark.parametrize("method", METHODS)
def test_each_conversation_may_have_a_deadline_of_its_own(method):
    step = random_step(4, vocabulary=6, conversations=3, ending=-3.0, spread=1.0)
    config = decoding(method=method, beam_size=4, max_length=30)
    together = search(
        step,
        config,
        conversations=(0, 1, 2),
        seeds=[0, 0, 0],
        deadline=[9.0, 2.0, 1e9],
        clock=Clock(),
    )
    for conversation, deadline in enumerate([9.0, 2.0, None]):
        (alone,) = search(
            step, config, conversations=(conversation,), seeds=[0], deadline=deadline, clock=Clock()
        )
        assert tokens_of(together[conversation]) == tokens_of(alone)
    assert max(len(tokens) for tokens in tokens_of(together[1])) <= 8


@pytest.mark.parametrize("vocabulary", [5, 72])
@pytest.mark.parametrize("method", METHODS)
def test_a_row_of_nan_harms_no_other_conversation(method, vocabulary, caplog):
    """NaN compares as the highest number: it would win every place of its beam."""
    whole = random_step(6, vocabulary=vocabulary, conversations=3)

    def broken(token_ids, path):
        log_probs, path = whole(token_ids, path)
        log_probs[path.conversation == 1] = float("nan")
        return log_probs, path

    config = decoding(method=method, beam_size=4, max_length=6, block_ngrams=2)
    with caplog.at_level(logging.ERROR):
        found = search(broken, config, conversations=(0, 1, 2), seeds=[1, 2, 3])
    assert "no token has a finite log-probability in conversations [1] of 3" in caplog.text
    assert found[1] == []
    for conversation in (0, 2):
        assert (
            found[conversation]
            == search(whole, config, conversations=(conversation,), seeds=[conversation + 1])[0]
        )


@pytest.mark.parametrize("vocabulary", [5, 72])
@pytest.mark.parametrize("method", SEARCHED)
def test_a_hypothesis_that_leads_to_nan_makes_room_for_the_others(method, vocabulary):
    whole = random_step(6, vocabulary=vocabulary)

    def broken(token_ids, path):
        log_probs, path = whole(token_ids, path)
        log_probs[token_ids == A] = float("nan")
        return log_probs, path

    config = decoding(method=method, beam_size=4, max_length=6)
    found = search(broken, config)[0]
    assert found
    assert not any(A in h.token_ids for h in found)
    assert all(math.isfinite(h.log_prob) for h in found)


@pytest.mark.parametrize("method", METHODS)
def test_nan_everywhere_is_an_error_that_says_so(method):
    def broken(token_ids, path):
        return torch.full((len(token_ids), 5), float("nan")), path

    with pytest.raises(
        ValueError,
        match=r"no token has a finite log-probability in conversations \[0, 1\] of 2: "
        "look for NaN in the weights",
    ):
        search(broken, decoding(method=method, beam_size=4), conversations=(0, 1))


def test_a_prefix_longer_than_the_maximum_is_refused():
    with pytest.raises(
        ValueError, match="the prefix of conversation 1 has 3 tokens; max_length allows 2"
    ):
        search(
            random_step(0, conversations=2),
            decoding(max_length=2),
            conversations=(0, 1),
            limits=Limits(prefixes=[[], [A, B, A]]),
        )


def test_limits_of_another_number_of_conversations_are_refused():
    with pytest.raises(ValueError, match="user of 1 conversations; expected one for each of 2"):
        search(
            random_step(0, conversations=2),
            decoding(),
            conversations=(0, 1),
            limits=Limits(user=[[]]),
        )
