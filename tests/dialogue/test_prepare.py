"""A decoder laid out at load time says what the model says, step by step."""

import pytest
import torch

from dialogue.models import PreparedModel, Prepares, hred, prepare
from dialogue.models.hred import HRED
from dialogue.models.layers import GRU, PreparedGRU
from tests.dialogue.conftest import (
    BOS,
    VOCABULARY,
    as_batch,
    close,
    make_conversation,
    make_model,
)

TOKENS = torch.tensor([[BOS, BOS, BOS], [9, 17, 5], [9, 4, 30], [39, 0, 12]])


@pytest.fixture(
    params=[(14, "linear"), (8, "linear"), (8, "maxout")],
    ids=["hidden wider than the embedding", "narrower", "maxout"],
)
def model(request):
    torch.manual_seed(3)
    hidden, readout = request.param
    made = HRED(
        vocab_size=VOCABULARY, bos_id=BOS, embedding=10, utterance=12, context=9, hidden=hidden,
        bidirectional=True, dropout=0.5, readout=readout,
    )  # fmt: skip
    for name, parameter in made.named_parameters():
        if "bias" in name:  # biases start at zero, which would hide a misplaced one
            torch.nn.init.normal_(parameter, std=0.3)
    return made.eval()


def steps_of(decoder, history):
    """Log-probabilities (T, R, V) of some tokens, with the beams swapped half-way."""
    state, found = decoder.start(history).repeat(1), []
    for number, tokens in enumerate(TOKENS):
        log_probs, state = decoder.step(tokens, state)
        found.append(log_probs.clone())
        if number == 1:
            state = state.select(torch.tensor([2, 0, 1]))
    return torch.stack(found)


def some_history():
    return torch.randn(3, 9, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("limit", [hred.FOLDED_BYTES, 0], ids=["folded", "not folded"])
@torch.no_grad()
def test_in_fp32_it_is_the_models_own_step(model, monkeypatch, limit):
    monkeypatch.setattr(hred, "FOLDED_BYTES", limit)
    found, expected = (
        steps_of(prepare(model, "fp32"), some_history()),
        steps_of(model, some_history()),
    )
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    assert float(expected.std()) > 0.1


@pytest.mark.parametrize(("precision", "divergence"), [("bf16", 1e-3), ("int8", 1e-3)])
@torch.no_grad()
def test_in_fewer_bits_it_is_nearly_that(model, precision, divergence):
    found, expected = (
        steps_of(prepare(model, precision), some_history()),
        steps_of(model, some_history()),
    )
    assert float((expected.exp() * (expected - found)).sum(-1).max()) < divergence
    assert not torch.equal(found, expected)
    torch.testing.assert_close(found.logsumexp(-1), torch.zeros(found.shape[:2]), atol=1e-5, rtol=0)


@pytest.mark.parametrize("precision", ["fp32", "bf16", "int8"])
def test_a_step_leaves_the_state_that_it_began_from(model, precision):
    decoder = prepare(model, precision)
    state = decoder.start(some_history())
    first, _ = decoder.step(TOKENS[1], state)
    kept = first.clone()
    first.fill_(float("nan"))  # whoever searches may overwrite what it was given
    again, _ = decoder.step(TOKENS[1], state)
    assert torch.equal(again, kept)


def test_a_step_remembers_nothing_for_a_gradient(model, monkeypatch):
    for limit in (0, hred.FOLDED_BYTES):
        monkeypatch.setattr(hred, "FOLDED_BYTES", limit)
        decoder = prepare(model, "fp32")
        log_probs, state = decoder.step(TOKENS[1], decoder.start(some_history()))
        assert not log_probs.requires_grad
        assert not state.hidden.requires_grad


def test_training_goes_on_as_if_nothing_had_been_laid_out(model):
    batch = as_batch([make_conversation(3, seed=1)])

    def gradients():
        model.zero_grad()
        model.log_likelihood(batch).log_probs.sum().backward()
        return [parameter.grad.clone() for parameter in model.parameters()]

    before = gradients()
    steps_of(prepare(model, "int8"), some_history())
    assert all(map(torch.equal, before, gradients()))


@torch.no_grad()
def test_a_gru_that_is_laid_out_makes_the_same_calls():
    torch.manual_seed(0)
    gru = GRU(5, 7)
    torch.nn.init.normal_(gru.bias_input)
    torch.nn.init.normal_(gru.bias_hidden)
    laid_out, inputs, start = PreparedGRU(gru), torch.randn(9, 5), torch.randn(4, 7)
    gates = gru.gates(inputs)
    close(laid_out.gates(inputs), gates)
    close(laid_out.step(gates[:4].clone(), start), gru.step(gates[:4], start))
    close(laid_out(gates.clone(), [4, 3, 2], start), gru(gates, [4, 3, 2], start))


@torch.no_grad()
def test_a_turn_is_heard_as_the_model_hears_it(model):
    turns = torch.tensor([[9, 17, 5, 3], [4, 3, 0, 0], [39, 11, 3, 0]])
    lengths, before = torch.tensor([4, 2, 3]), some_history()
    encode_turn = prepare(model, "int8").encode_turn
    for history in (before, None):
        expected = model.encode_turn(turns, lengths, history)
        close(encode_turn(turns, lengths, history), expected)
        assert float(expected.std()) > 0.1
    assert torch.equal(before, some_history())
    with pytest.raises(ValueError, match=f"token ids from 3 to {VOCABULARY}"):
        encode_turn(torch.tensor([[VOCABULARY, 3]]), torch.tensor([2]), None)


class Plain:
    """A model that has the four calls but no special layout."""

    def __init__(self):
        model = make_model()
        self.encode_turn, self.start, self.step = model.encode_turn, model.start, model.step


def test_a_model_that_cannot_lay_itself_out_decodes_by_its_own_calls():
    model = Plain()
    assert not isinstance(model, Prepares)
    for precision in ("auto", "fp32"):
        assert prepare(model, precision) == PreparedModel(
            model.encode_turn, model.start, model.step
        )
    with pytest.raises(ValueError, match="Plain has no `prepare`, so it decodes in fp32 alone"):
        prepare(model, "int8")
