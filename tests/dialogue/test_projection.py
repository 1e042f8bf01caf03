import pytest
import torch
import torch.nn.functional as F

from dialogue.models import projection
from dialogue.models.projection import (
    MANY_ROWS,
    TILES,
    adds_int8_exactly,
    choose_precision,
    engines,
    in_tiles,
    lay_out,
)

CPU = torch.device("cpu")
PRECISIONS = ("fp32", "bf16", "int8")


@pytest.fixture(scope="module")
def layer():
    """A weight whose channels differ widely in size, as in real output layers; one is zero."""
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(50, 24, generator=generator) * torch.logspace(-2, 1, 50)[:, None]
    weight[7] = 0
    return weight, torch.randn(50, generator=generator)


def some_rows(count, *, seed=1):
    return torch.randn(count, 24, generator=torch.Generator().manual_seed(seed))


def by_hand(weight, bias, rows, *, steps=255):
    """The slow, obvious twin of int8: whole numbers and the scale of each.

    steps: from the least to the largest of a row.
    """
    worth_out = weight.abs().amax(1, keepdim=True).clamp_min(1e-30) / 127
    worth_row = rows.abs().amax(1, keepdim=True).clamp_min(1e-30)
    whole_weight = (weight / worth_out).round().double()
    whole_rows = (rows / worth_row * steps / 2).round().clamp(-127, 127).double()
    return ((whole_rows @ whole_weight.t()) * worth_row * 2 / steps * worth_out.t() + bias).float()


@pytest.mark.parametrize(
    ("precision", "tolerance"), [("fp32", 1e-6), ("bf16", 2e-2), ("int8", 2e-2)]
)
@pytest.mark.parametrize("count", [1, 5, 33, 2 * TILES[-1] + 30])
def test_every_engine_computes_the_linear_layer_to_its_precision(
    layer, precision, tolerance, count
):
    rows = some_rows(count)
    expected = F.linear(rows, *layer)
    for engine in engines(precision, CPU):
        found = engine(*layer)(rows)
        assert found.dtype == torch.float32
        error = (found - expected).abs().amax(0) / (
            layer[0].abs().sum(1) + 1
        )  # by channel: small ones count as much
        assert float(error.max()) < tolerance, engine.__name__


def test_a_layer_in_tiles_meets_few_row_counts():
    met = set()

    def doubled(rows):
        met.add(len(rows))
        return 2 * rows

    linear = in_tiles(doubled)
    for count in range(3 * TILES[-1]):
        rows = some_rows(count)
        assert torch.equal(linear(rows), 2 * rows)
    assert met == set(TILES)


@pytest.mark.parametrize("count", [9, 3 * MANY_ROWS, TILES[-1] + MANY_ROWS])
def test_int8_is_the_product_of_whole_numbers(layer, count):
    rows = some_rows(count)
    expected = by_hand(*layer, rows, steps=255 if adds_int8_exactly() else 127)
    torch.testing.assert_close(
        lay_out(*layer, precision="int8")(rows), expected, atol=1e-4, rtol=1e-5
    )


@pytest.mark.parametrize("count", [9, 3 * MANY_ROWS])
def test_int8_takes_a_bit_less_where_sums_of_pairs_would_overflow(layer, monkeypatch, count):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True})
    rows = some_rows(count)
    found = lay_out(*layer, precision="int8")(rows)
    torch.testing.assert_close(found, by_hand(*layer, rows, steps=127), atol=1e-4, rtol=1e-5)
    assert not torch.allclose(found, by_hand(*layer, rows), atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("count", [4, MANY_ROWS, 100])
@pytest.mark.parametrize("neighbour", [1e-4, 1e4, float("nan"), float("inf")])
def test_a_row_in_int8_never_depends_on_its_neighbours(layer, neighbour, count):
    """With one scale for all rows, as in PyTorch's dynamic quantisation, scores moved by 0.05."""
    linear, rows = lay_out(*layer, precision="int8"), some_rows(count)
    alone = linear(rows[:1])
    rows[2] *= neighbour
    torch.testing.assert_close(linear(rows)[:1], alone, atol=1e-5, rtol=1e-6)
    rows[2] = 1e4
    largest = rows.abs().max()
    together = F.linear((rows / largest * 127).round() / 127 * largest, *layer)
    assert float((together[:1] - alone).abs().max()) > 1, (
        "one scale would not have shown in this test"
    )


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_row_of_noughts_gives_the_bias(layer, precision):
    found = lay_out(*layer, precision=precision)(torch.zeros(2, 24))
    torch.testing.assert_close(
        found, layer[1].expand(2, -1), atol=0, rtol=1e-2 if precision == "bf16" else 0
    )


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_result_may_be_overwritten(layer, precision):
    linear, rows = lay_out(*layer, precision=precision), some_rows(3)
    first = linear(rows)
    kept = first.clone()
    first.fill_(float("nan"))
    assert torch.equal(linear(rows), kept)


def test_laying_out_leaves_the_weights_and_the_engine_of_the_process(layer):
    before, engine = [tensor.clone() for tensor in layer], torch.backends.quantized.engine
    for precision in PRECISIONS:
        lay_out(*layer, precision=precision)(some_rows(3))
    assert all(map(torch.equal, before, layer))
    assert torch.backends.quantized.engine == engine


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        ({"fp32": 1.0, "bf16": 0.9, "int8": 0.9}, "fp32"),
        ({"fp32": 1.0, "bf16": 0.5, "int8": 0.6}, "bf16"),
        ({"fp32": 1.0, "bf16": 1.5, "int8": 0.3}, "int8"),
    ],
)
def test_auto_leaves_fp32_for_what_is_well_ahead(layer, monkeypatch, seconds, expected):
    names = iter(PRECISIONS)

    def times(laid_out, weight):
        return [(seconds[next(names)], linear) for linear in laid_out[:1]]

    monkeypatch.setattr(projection, "_times", times)
    assert choose_precision(*layer) == expected


def test_the_fastest_engine_is_taken(layer, monkeypatch):
    monkeypatch.setattr(
        projection,
        "_times",
        lambda laid_out, weight: list(zip((3.0, 1.0, 2.0), laid_out, strict=True)),
    )
    made = [lambda rows, number=number: number for number in range(3)]
    monkeypatch.setattr(
        projection, "engines", lambda precision, device: [lambda w, b, one=one: one for one in made]
    )
    assert lay_out(*layer, precision="fp32")(None) == 1


def test_auto_is_one_of_the_precisions(layer):
    assert choose_precision(*layer) in PRECISIONS
    assert lay_out(*layer, precision="auto")(some_rows(2)).shape == (2, 50)


@pytest.mark.parametrize("precision", ["int4", "", "FP32"])
def test_an_unknown_precision_is_refused_with_those_that_there_are(layer, precision):
    with pytest.raises(ValueError, match="is one of auto, fp32, bf16, fp16, int8"):
        lay_out(*layer, precision=precision)


def test_int8_is_refused_where_it_has_no_engine(layer, monkeypatch):
    monkeypatch.setattr(type(torch.backends.quantized), "supported_engines", ["qnnpack"])
    with pytest.raises(
        ValueError, match="precision int8 has no engine on this cpu; use one of: auto, fp32, bf16"
    ):
        lay_out(*layer, precision="int8")
    assert choose_precision(*layer) in ("fp32", "bf16")
