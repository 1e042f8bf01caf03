import pytest
import torch
from torch.nn.utils.rnn import pad_packed_sequence

from dialogue.models.packing import last_positions, pack, positions, rows
from dialogue.models.recurrent import CELLS, Stack

INPUT, HIDDEN = 5, 7
LENGTHS = torch.tensor([3, 6, 1, 4, 6])
THEIRS = {"gru": torch.nn.GRU, "lstm": torch.nn.LSTM, "rnn": torch.nn.RNN}


@pytest.fixture(
    params=[(cell, layers) for cell in CELLS for layers in (1, 3)],
    ids=lambda param: f"{param[0]} of {param[1]}",
)
def stack(request):
    torch.manual_seed(0)
    cell, layers = request.param
    made = Stack(cell, INPUT, HIDDEN, layers=layers, dropout=0.0).double()
    for name, parameter in made.named_parameters():
        if "bias" in name:  # biases start at zero, which would hide a misplaced one
            torch.nn.init.normal_(parameter)
    return made


@pytest.fixture
def uneven(stack):
    """Rows of uneven lengths, and an initial state for each."""
    generator = torch.Generator().manual_seed(1)
    padded = torch.randn(
        len(LENGTHS), int(LENGTHS.max()), INPUT, generator=generator, dtype=torch.double
    )
    return padded, torch.randn(
        len(LENGTHS), stack.state_size, generator=generator, dtype=torch.double
    )


def run(stack, padded, start):
    packed = pack(padded, LENGTHS)
    return packed._replace(
        data=stack(packed.data, packed.batch_sizes.tolist(), start[packed.sorted_indices])
    )


def test_layers_over_packed_rows_take_the_same_steps_one_by_one(stack, uneven):
    padded, start = uneven
    states = pad_packed_sequence(run(stack, padded, start), batch_first=True)[0]
    for row, length in enumerate(LENGTHS.tolist()):
        state = start[row]
        for time in range(length):
            state = stack.step(padded[row, time], state)
            torch.testing.assert_close(states[row, time], state)


def test_layers_compute_what_those_of_pytorch_do(request, stack, uneven):
    padded, _ = uneven
    start = torch.zeros(len(LENGTHS), stack.state_size, dtype=torch.double)
    cell = next(name for name, kind in CELLS.items() if isinstance(stack.layers[0], kind))
    theirs = THEIRS[cell](INPUT, HIDDEN, num_layers=len(stack.layers), batch_first=True).double()
    with torch.no_grad():
        for number, layer in enumerate(stack.layers):
            one, two = (
                (layer.bias_input, layer.bias_hidden)
                if cell == "gru"
                else (layer.bias, torch.zeros_like(layer.bias))
            )
            for name, tensor in zip(
                ("weight_ih", "weight_hh", "bias_ih", "bias_hh"),
                (layer.weight_input, layer.weight_hidden, one, two),
                strict=True,
            ):
                getattr(theirs, f"{name}_l{number}").copy_(tensor)
    torch.testing.assert_close(
        stack.output(run(stack, padded, start).data), theirs(pack(padded, LENGTHS))[0].data
    )


def test_the_gradients_of_layers_are_those_of_steps_taken_one_by_one(stack, uneven):
    """With respect to every input, through the states of every layer, not only the top one."""
    padded, start = uneven
    weights = torch.randn(
        int(LENGTHS.sum()),
        stack.state_size,
        generator=torch.Generator().manual_seed(2),
        dtype=torch.double,
    )
    leaves = [padded.requires_grad_(), start.requires_grad_(), *stack.parameters()]
    states = run(stack, padded, start)
    found = torch.autograd.grad((states.data * weights).sum(), leaves)
    weights, _ = pad_packed_sequence(states._replace(data=weights), batch_first=True)
    total = torch.zeros((), dtype=torch.double)
    for row, length in enumerate(LENGTHS.tolist()):
        state = start[row]
        for time in range(length):
            state = stack.step(padded[row, time], state)
            total = total + (state * weights[row, time]).sum()
    torch.testing.assert_close(found, torch.autograd.grad(total, leaves))


def test_a_place_among_packed_tokens_is_found_by_row_and_time():
    padded = torch.arange(30).view(5, 6)
    packed = pack(padded, LENGTHS)
    device = torch.device("cpu")
    for row, length in enumerate(LENGTHS.tolist()):
        for time in range(length):
            place = positions(packed, torch.tensor([row]), torch.tensor([time]))
            assert packed.data[place] == padded[row, time]
            assert rows(packed, device)[place] == row
    assert packed.data[last_positions(packed, LENGTHS)].tolist() == [
        padded[row, n - 1] for row, n in enumerate(LENGTHS.tolist())
    ]
