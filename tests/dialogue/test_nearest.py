"""The remembered moments that a history vector is nearest to."""

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load as read_tensors
from safetensors.torch import save_file

from dialogue.nearest import AXES, FILE, LEVELS, Nearest, load, reduced, save
from dialogue.recall import Exchange, Recall


@pytest.fixture
def vectors():
    """Return 300 vectors of 200 numbers that differ much along few axes, little along the rest."""
    generator = torch.Generator().manual_seed(0)
    spread = 1 / torch.arange(1.0, 201)
    return 3 + torch.randn(300, 200, generator=generator) * spread


def test_a_few_bits_tell_what_is_near_as_all_numbers_do(vectors):
    centred = F.normalize(vectors - vectors.mean(0), dim=1)
    nearest = Nearest(reduced(vectors))
    exact, found = [], []
    for row in range(0, 300, 10):
        exact.append(centred @ centred[row])
        found.append(torch.tensor(nearest.cosines(vectors[[row]])[0]))
        assert int(found[-1].argmax()) == row, "each moment is nearest to itself"
    together = torch.stack([torch.cat(exact), torch.cat(found)])
    assert float(torch.corrcoef(together)[0, 1]) > 0.98
    assert (together[0] - together[1]).abs().max() < 0.2


def test_several_histories_are_compared_as_each_alone(vectors):
    nearest = Nearest(reduced(vectors))
    together = torch.tensor(nearest.cosines(vectors[:5]))
    assert together.shape == (5, 300)
    alone = [torch.tensor(nearest.cosines(vectors[[row]])[0]) for row in range(5)]
    assert torch.allclose(together, torch.stack(alone), atol=1e-6)


def test_vectors_shorter_than_the_axes_keep_an_even_number_of_them():
    vectors = torch.randn(50, 7, generator=torch.Generator().manual_seed(1))
    found = Nearest(reduced(vectors)).cosines(vectors[[3]])
    assert found.shape == (1, 50)
    assert found.argmax() == 3


def test_moments_are_kept_in_half_a_byte_an_axis(vectors, tmp_path):
    nearest = Nearest(reduced(vectors))
    save(tmp_path / FILE, reduced(vectors), model="these weights")
    codes = read_tensors((tmp_path / FILE).read_bytes())["codes"]
    assert (codes.dtype, codes.shape) == (torch.uint8, (300, AXES // 2))
    assert int(torch.maximum(codes % 16, codes // 16).max()) <= 2 * LEVELS
    again = load(tmp_path / FILE, model="these weights", count=300, size=200)
    assert len(again) == 300
    expected = torch.tensor(nearest.cosines(vectors[[5]]))
    assert torch.tensor(again.cosines(vectors[[5]])) == pytest.approx(expected, abs=1e-6)
    assert load(tmp_path / FILE, model="other weights", count=300, size=200) is None


def test_a_broken_file_is_named_with_what_to_do(vectors, tmp_path):
    path = tmp_path / FILE
    save(path, reduced(vectors), model="it")
    tensors, whole = read_tensors(path.read_bytes()), path.read_bytes()

    def refused(*, count=300, size=200):
        with pytest.raises(ValueError, match=r"holds no histories of the .*training\.remember"):
            load(path, model="it", count=count, size=size)

    refused(count=299)
    refused(size=199)
    for content in (whole[:-7], b"", b"nonsense" * 9):
        path.write_bytes(content)
        refused()
    for broken in (
        {"mean": torch.full((200,), torch.nan)},
        {"codes": tensors["codes"].int()},
        {"axes": tensors["axes"][:, :-2].contiguous()},
        {"scale": tensors["scale"][:-1].contiguous()},
    ):
        save_file(tensors | broken, path, metadata={"model": "it"})
        refused()


def test_a_reply_to_the_same_said_in_other_words_is_found_by_its_history():
    exchanges = [
        Exchange("", "my dog died", "i'm so sorry."),
        Exchange("", "tell me a joke", "why did the chicken cross the road?"),
    ]
    vectors = torch.tensor([[1.0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    recall = Recall(exchanges, Nearest(reduced(vectors[:2])))
    sad = torch.tensor([[0.9, 0.1, 0.0, 0.0]])
    heard = "we said goodbye to the old cat"
    near, far = recall.likenesses(torch.cat([sad, 1 - sad]))
    assert recall.find(heard, count=1, likeness=near)[0].text == "i'm so sorry."
    assert recall.find(heard, count=1, likeness=far)[0].text != "i'm so sorry."
    assert recall.find(heard, count=2) == Recall(exchanges).find(heard, count=2), (
        "without a history, words alone count"
    )
