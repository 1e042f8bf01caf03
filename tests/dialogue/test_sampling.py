"""Draws, compared with sorted lists and with the distribution they should follow."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dialogue.decoding.sampling import draw, draw_nucleus, draw_top_k, nucleus_threshold, uniforms

pytestmark = pytest.mark.usefixtures("on_device")


def random_rows(seed, rows, vocabulary, spread=3.0):
    logits = (
        torch.randn(rows, vocabulary, generator=torch.Generator().manual_seed(seed), device="cpu")
        * spread
    )
    return logits.log_softmax(-1).to(torch.get_default_device())


def slow_nucleus(log_probs, top_p):
    """The tokens of a row in falling order until their probabilities add up to top_p."""
    shares = log_probs.double().exp().tolist()
    kept, mass = set(), 0.0
    for token in sorted(range(len(shares)), key=lambda token: -shares[token]):
        if mass >= top_p:
            break
        kept.add(token)
        mass += shares[token]
    return kept


@given(
    seed=st.integers(0, 10_000),
    top_p=st.floats(0.01, 0.999),
    vocabulary=st.sampled_from([3, 50, 4000]),
    spread=st.floats(0.1, 8),
)
def test_the_nucleus_is_what_a_sorted_list_gives(seed, top_p, vocabulary, spread):
    log_probs = random_rows(seed, 2, vocabulary, spread)
    kept = log_probs >= nucleus_threshold(log_probs, log_probs.exp(), top_p)
    for row in range(2):
        found, expected = (
            set(kept[row].nonzero().flatten().tolist()),
            slow_nucleus(log_probs[row], top_p),
        )
        at_the_edge = found ^ expected  # tokens within 1e-4 of the last one count as equally likely
        edge = min(float(log_probs[row, token]) for token in expected)
        assert all(abs(float(log_probs[row, token]) - edge) < 1e-4 for token in at_the_edge)
        assert len(at_the_edge) <= max(2, vocabulary // 200)


def test_each_row_of_a_nucleus_has_its_own_mass():
    log_probs = torch.tensor([[0.5, 0.3, 0.2]] * 3).log()
    kept = log_probs >= nucleus_threshold(
        log_probs, log_probs.exp(), torch.tensor([[0.4], [0.7], [0.9]])
    )
    assert kept.tolist() == [[True, False, False], [True, True, False], [True, True, True]]


def test_a_draw_is_the_token_at_which_the_sum_of_weights_passes_the_number():
    weights = torch.tensor([[0.0, 2.0, 0.0, 6.0, 0.0]] * 5)
    assert draw(weights, torch.tensor([0.0, 0.24, 0.25, 0.99, 1 - 2**-24])).tolist() == [
        1,
        1,
        3,
        3,
        3,
    ]


def test_no_number_draws_a_token_of_no_weight():
    weights = torch.rand(2000, 7, generator=torch.Generator().manual_seed(0), device="cpu").to(
        torch.get_default_device()
    )
    weights[:, [0, 3, 6]] = 0
    for number in (0.0, 0.5, 1 - 2**-24):
        drawn = draw(weights, torch.full((2000,), number))
        assert not set(drawn.tolist()) & {0, 3, 6}


@pytest.mark.parametrize("how", ["top-k", "nucleus", "everything"])
def test_tokens_are_drawn_as_often_as_they_are_likely(how):
    log_probs = torch.tensor([[0.4, 0.1, 0.3, 0.15, 0.05]]).log().repeat(20_000, 1)
    uniform = torch.rand(20_000, generator=torch.Generator().manual_seed(0), device="cpu").to(
        torch.get_default_device()
    )
    if how == "top-k":
        drawn, expected = draw_top_k(log_probs, uniform, 2), [4 / 7, 0, 3 / 7, 0, 0]
    elif how == "nucleus":
        drawn, expected = (
            draw_nucleus(log_probs, uniform, 0.8),
            [0.4 / 0.85, 0, 0.3 / 0.85, 0.15 / 0.85, 0],
        )
    else:
        drawn, expected = draw_nucleus(log_probs, uniform, 1.0), [0.4, 0.1, 0.3, 0.15, 0.05]
    assert (torch.bincount(drawn, minlength=5) / 20_000).tolist() == pytest.approx(
        expected, abs=0.015
    )


def test_top_k_wider_than_the_vocabulary_draws_from_all():
    log_probs = random_rows(0, 300, 4, 0.5)
    assert set(draw_top_k(log_probs, torch.linspace(0, 0.999, 300), 10).tolist()) == {0, 1, 2, 3}


def test_random_numbers_of_a_conversation_are_its_own():
    together = uniforms([7, 8], 3, 5)
    assert together.shape == (2, 3, 5)
    assert torch.equal(together[1:], uniforms([8], 3, 5))
    assert not torch.equal(together[0], together[1])
    assert len(together.unique()) == 30
    assert uniforms([7], 3, 0).shape == (1, 3, 0)


def test_a_row_of_nan_draws_something_and_leaves_the_other_rows_alone():
    """As an index, NaN would kill the process on a GPU and the call on a CPU."""
    log_probs = random_rows(1, 3, 50)
    uniform = torch.tensor([0.3, 0.3, 0.3])
    for function in (
        lambda table: draw_nucleus(table, uniform, 0.9),
        lambda table: draw_top_k(table, uniform, 5),
    ):
        whole = function(log_probs).tolist()
        broken = log_probs.clone()
        broken[1] = float("nan")
        found = function(broken).tolist()
        assert [found[0], found[2]] == [whole[0], whole[2]]
        assert 0 <= found[1] < 50
