"""The average of checkpoints: what is averaged, and what is refused."""

import json

import pytest
import torch

from dialogue import checkpoint
from dialogue.checkpoint import Checkpoint
from dialogue.config import ModelConfig
from dialogue.models.hred import HRED
from training import average


@pytest.fixture
def save(tmp_path, word_vocabulary):
    """Return a function that saves a model of random weights."""

    def saved(name, seed, **sizes):
        torch.manual_seed(seed)
        config = ModelConfig(
            vocab_size=len(word_vocabulary),
            **{"embedding": 8, "utterance": 8, "context": 8, "hidden": 8, **sizes},
        )
        model = HRED.from_config(config, bos_id=word_vocabulary.bos_id)
        checkpoint.save(
            tmp_path / name,
            Checkpoint(model, word_vocabulary, config, {"run": name}),
            dtype=torch.float32,
        )
        return tmp_path / name

    return saved


def weights(folder):
    return checkpoint.load(folder).model.state_dict()


def test_each_weight_is_the_weighted_mean(save, tmp_path, capsys):
    one, other, out = save("a", 1), save("b", 2, dropout=0.5), tmp_path / "out"
    assert average.main([f"--checkpoint={one}:3", f"--checkpoint={other}", f"--out={out}"]) == 0
    assert "2 checkpoints" in capsys.readouterr().out
    a, b, found = weights(one), weights(other), weights(out)
    assert found.keys() == a.keys()
    for name, tensor in found.items():
        torch.testing.assert_close(tensor, 0.75 * a[name] + 0.25 * b[name], atol=1e-3, rtol=1e-3)
    told = json.loads((out / "config.json").read_text())["training"]
    assert told == {"run": "a", "averaged": [f"{one}:3", str(other)]}


@pytest.mark.parametrize("weight", ["0", "-1", "x", "nan", "inf", ""])
def test_a_weight_that_is_none_is_refused(save, tmp_path, capsys, weight):
    options = [f"--checkpoint={save('a', 1)}:{weight}", f"--out={tmp_path / 'out'}"]
    assert average.main(options) != 0
    assert f"the weight {weight!r} is not a positive number" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("others", "said"),
    [([], "averaging takes two or more"), ([{"hidden": 12}], "'hidden': 8.*'hidden': 12")],
)
def test_what_cannot_be_averaged_is_refused(save, tmp_path, others, said):
    folders = [save("a", 1), *(save(f"b{place}", 2, **sizes) for place, sizes in enumerate(others))]
    with pytest.raises(ValueError, match=said):
        average.average([checkpoint.load(folder) for folder in folders], [1.0] * len(folders))
