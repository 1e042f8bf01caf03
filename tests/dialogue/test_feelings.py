"""Glad or troubled: a sum of weights, counted by hand."""

import math

import pytest
import torch

from dialogue.feelings import HEARD, PAIRS, SAID, Feelings

PAD = 0


@pytest.fixture
def feelings():
    made = Feelings(10, pad_id=PAD)
    with torch.no_grad():
        made.tokens.weight[3] = torch.tensor([1.0, -2.0])
        made.tokens.weight[4] = torch.tensor([0.5, 0.25])
        made.bias.copy_(torch.tensor([0.1, 0.2]))
    return made


def test_an_utterance_weighs_its_tokens_over_the_root_of_its_length(feelings):
    weighed = feelings(torch.tensor([[3, 4, PAD]]))
    assert weighed[0, HEARD].item() == pytest.approx(1.5 / math.sqrt(2) + 0.1)
    assert weighed[0, SAID].item() == pytest.approx(-1.75 / math.sqrt(2) + 0.2)


def test_a_pair_weighs_beside_its_tokens_and_in_one_order_only(feelings):
    with torch.no_grad():
        feelings.pairs.weight[(3 * 31 + 4 * 1009) % PAIRS, HEARD] = -5.0
    one, other = feelings(torch.tensor([[3, 4], [4, 3]]))[:, HEARD].tolist()
    assert one == pytest.approx((1.5 - 5) / math.sqrt(2) + 0.1)
    assert other == pytest.approx(1.5 / math.sqrt(2) + 0.1)


def test_padding_weighs_nothing_and_neither_does_an_empty_utterance(feelings):
    alone = feelings(torch.tensor([[3]]))
    padded = feelings(torch.tensor([[3, PAD, PAD], [PAD, PAD, PAD]]))
    assert torch.allclose(padded[0], alone[0])
    assert padded[1].tolist() == [0, 0]


def test_new_ones_know_nothing():
    assert Feelings(10, pad_id=PAD)(torch.tensor([[3, 4]])).tolist() == [[0, 0]]
