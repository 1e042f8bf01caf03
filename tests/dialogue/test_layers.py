import pytest
import torch
import torch.nn.functional as F
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from dialogue.models.layers import GRU, Dropout, _cudnn_states, token_log_probs

INPUT, HIDDEN = 5, 7
LENGTHS = torch.tensor([3, 6, 1, 4, 6])


@pytest.fixture
def ours():
    torch.manual_seed(0)
    gru = GRU(INPUT, HIDDEN).double()
    for bias in (
        gru.bias_input,
        gru.bias_hidden,
    ):  # biases start at zero, which would hide a misplaced one
        torch.nn.init.normal_(bias)
    return gru


@pytest.fixture
def theirs(ours):
    """PyTorch's GRU with the same weights."""
    gru = torch.nn.GRU(INPUT, HIDDEN, batch_first=True).double()
    gru.load_state_dict(
        {
            "weight_ih_l0": ours.weight_input.data,
            "weight_hh_l0": ours.weight_hidden.data,
            "bias_ih_l0": ours.bias_input.data,
            "bias_hh_l0": ours.bias_hidden.data,
        }
    )
    return gru


@pytest.fixture
def rows():
    """Rows of uneven lengths, and an initial state for each."""
    generator = torch.Generator().manual_seed(1)
    padded = torch.randn(
        len(LENGTHS), int(LENGTHS.max()), INPUT, generator=generator, dtype=torch.double
    )
    return padded, torch.randn(len(LENGTHS), HIDDEN, generator=generator, dtype=torch.double)


def run(gru, padded, start):
    """Run our GRU over padded rows and return the states of each row, padded with zeros."""
    packed = pack_padded_sequence(padded, LENGTHS, batch_first=True, enforce_sorted=False)
    states = gru(gru.gates(packed.data), packed.batch_sizes.tolist(), start[packed.sorted_indices])
    return pad_packed_sequence(packed._replace(data=states), batch_first=True)[0]


def test_a_gru_over_packed_rows_takes_the_same_steps_one_by_one(ours, rows):
    padded, start = rows
    states = run(ours, padded, start)
    for row, length in enumerate(LENGTHS.tolist()):
        state = start[row]
        for time in range(length):
            state = ours.step(ours.gates(padded[row, time]), state)
            torch.testing.assert_close(states[row, time], state)


def test_a_gru_gives_the_states_and_gradients_of_torch_nn_gru(ours, theirs, rows):
    """The backward pass is hand-written: every input, weight and initial state must get autograd's
    gradient.
    """
    results = []
    weigh = torch.randn(
        len(LENGTHS), int(LENGTHS.max()), HIDDEN, dtype=torch.double
    )  # a loss in which no state counts like another
    for gru in (ours, theirs):
        padded, start = (value.clone().requires_grad_() for value in rows)
        if gru is ours:
            states = run(gru, padded, start)
            weights = (gru.weight_input, gru.weight_hidden, gru.bias_input, gru.bias_hidden)
        else:
            packed = pack_padded_sequence(padded, LENGTHS, batch_first=True, enforce_sorted=False)
            states = pad_packed_sequence(gru(packed, start[None])[0], batch_first=True)[0]
            weights = (gru.weight_ih_l0, gru.weight_hh_l0, gru.bias_ih_l0, gru.bias_hh_l0)
        results.append(
            (states, *torch.autograd.grad((states * weigh).sum(), (padded, start, *weights)))
        )
    for mine, other in zip(*results, strict=True):
        torch.testing.assert_close(mine, other)
        assert mine.abs().sum() > 0


def test_a_gru_passes_the_gradient_check(ours, rows):
    _, start = rows
    sizes = [3, 3, 2, 1]
    gates = torch.randn(sum(sizes), 3 * HIDDEN, dtype=torch.double, requires_grad=True)
    start = start[:3].clone().requires_grad_()
    inputs = (gates, start, ours.weight_hidden, ours.bias_hidden)
    assert torch.autograd.gradcheck(
        lambda gates, start, *weights: ours(gates, sizes, start), inputs
    )


def test_a_gru_in_bfloat16_stays_near_the_one_in_float32(ours, rows):
    padded, start = (value.float() for value in rows)
    gru = ours.float()
    exact = run(gru, padded, start)
    rough = run(gru.bfloat16(), padded.bfloat16(), start.bfloat16())
    assert rough.dtype == torch.bfloat16
    torch.testing.assert_close(rough.float(), exact, atol=0.05, rtol=0)


# --- the output layer ----------------------------------------------------------------------------

TOKENS, SIZE, VOCABULARY = 9, 6, 11


@pytest.fixture
def projection():
    """Inputs, weights, bias and targets of an output layer; some rows have widely spread logits."""
    generator = torch.Generator().manual_seed(2)
    inputs = (
        torch.randn(TOKENS, SIZE, generator=generator, dtype=torch.double)
        * torch.linspace(0.1, 30, TOKENS)[:, None]
    )
    weight = torch.randn(VOCABULARY, SIZE, generator=generator, dtype=torch.double)
    bias = torch.randn(VOCABULARY, generator=generator, dtype=torch.double)
    targets = torch.randint(VOCABULARY, (TOKENS,), generator=generator)
    targets[::3] = F.linear(inputs, weight, bias).argmax(-1)[::3]
    return inputs, weight, bias, targets


def test_token_log_probs_and_their_gradients_are_those_of_log_softmax_and_gather(projection):
    *values, targets = projection
    results = []
    weigh = torch.linspace(-1, 2, TOKENS, dtype=torch.double)
    for fast in (True, False):
        inputs, weight, bias = (value.clone().requires_grad_() for value in values)
        if fast:
            log_probs, _ = token_log_probs(inputs, weight, bias, targets)
        else:
            log_probs = (
                F.log_softmax(F.linear(inputs, weight, bias), dim=-1)
                .gather(1, targets[:, None])
                .squeeze(1)
            )
        results.append(
            (log_probs, *torch.autograd.grad((log_probs * weigh).sum(), (inputs, weight, bias)))
        )
    (log_probs, *gradients), (slow_log_probs, *slow_gradients) = results
    assert log_probs.dtype == torch.float32
    torch.testing.assert_close(log_probs, slow_log_probs.float())
    for gradient, slow in zip(gradients, slow_gradients, strict=True):
        torch.testing.assert_close(
            gradient, slow, rtol=1e-6, atol=1e-6
        )  # the scale passes through float32
        assert slow.abs().sum() > 0


def test_a_target_is_correct_where_it_is_the_likeliest_token(projection):
    inputs, weight, bias, targets = projection
    _, correct = token_log_probs(inputs, weight, bias, targets)
    expected = F.linear(inputs, weight, bias).argmax(-1) == targets
    assert correct.tolist() == expected.tolist()
    assert 0 < int(correct.sum()) < TOKENS


def test_token_log_probs_leave_their_inputs_as_they_were(projection):
    kept = [value.clone() for value in projection]
    inputs, weight, bias, targets = projection
    inputs.requires_grad_()
    token_log_probs(inputs, weight, bias, targets)[0].sum().backward()
    for value, before in zip(projection, kept, strict=True):
        torch.testing.assert_close(value.detach(), before, rtol=0, atol=0)


def test_token_log_probs_in_bfloat16_stay_near_those_in_float32(projection):
    inputs, weight, bias, targets = projection
    values = [
        value.float().requires_grad_()
        for value in (inputs / inputs.norm(dim=1, keepdim=True), weight, bias)
    ]
    rough_values = [value.detach().bfloat16().requires_grad_() for value in values]
    exact, _ = token_log_probs(*values, targets)
    rough, _ = token_log_probs(*rough_values, targets)
    torch.testing.assert_close(rough, exact, atol=0.06, rtol=0)
    exact.sum().backward()
    rough.sum().backward()
    for value, rough_value in zip(values, rough_values, strict=True):
        assert rough_value.grad.dtype == torch.bfloat16
        torch.testing.assert_close(rough_value.grad.float(), value.grad, atol=0.06, rtol=0.06)


# --- dropout -------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("share", [0.1, 0.5])
def test_dropout_keeps_its_share_of_elements_scaled_and_passes_their_gradient_alone(dtype, share):
    """Like torch.nn.functional.dropout: every non-zero element is the input over 1 - p, in every
    column and at both ends.
    """
    torch.manual_seed(0)
    inputs = torch.ones(20_000, 3, dtype=dtype, requires_grad=True)
    found = Dropout(share)(inputs)
    found.sum().backward()
    kept = found.detach() != 0
    torch.testing.assert_close(
        found[kept].float(), torch.full((int(kept.sum()),), 1 / (1 - share)), rtol=0.004, atol=0
    )
    torch.testing.assert_close(inputs.grad, found.detach())
    for part in (*kept.unbind(1), kept[:10_000], kept[10_000:], kept[::4]):
        assert part.float().mean().item() == pytest.approx(1 - share, abs=0.015)
    both = kept[1:] & kept[:-1]
    assert both.float().mean().item() == pytest.approx((1 - share) ** 2, abs=0.015), (
        "neighbours drop independently"
    )


def test_dropout_is_repeated_by_a_seed_and_rests_outside_training():
    layer, inputs = Dropout(0.3), torch.randn(5, 7)
    draws = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        draws.append(layer(inputs))
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])
    assert torch.equal(layer.eval()(inputs), inputs)
    assert torch.equal(Dropout(0.0)(inputs), inputs)


def test_the_path_for_gpus_has_the_states_and_gradients_of_the_one_for_cpus(ours):
    generator = torch.Generator().manual_seed(3)
    sizes = [4, 3, 3, 1]
    gates = torch.randn(sum(sizes), 3 * HIDDEN, generator=generator, dtype=torch.double)
    start = torch.randn(sizes[0], HIDDEN, generator=generator, dtype=torch.double)
    found = []
    for run in (
        ours,
        lambda *given: _cudnn_states(given[0], ours.weight_hidden, ours.bias_hidden, *given[:0:-1]),
    ):
        inputs = [part.clone().requires_grad_() for part in (gates, start)]
        states = run(inputs[0], sizes, inputs[1])
        ours.zero_grad()
        (states**3).sum().backward()
        found.append(
            [
                states,
                *(part.grad for part in inputs),
                ours.weight_hidden.grad,
                ours.bias_hidden.grad,
            ]
        )
    for ours_found, theirs_found in zip(*found, strict=True):
        torch.testing.assert_close(ours_found, theirs_found)
