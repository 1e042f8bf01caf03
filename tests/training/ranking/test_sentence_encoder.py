"""The teacher of stock replies: a sentence encoder that is fitted, kept, and asked."""

import gzip
import json
import sys

import pytest
import torch

from dialogue import stock_replies
from training import fit_stock
from training.ranking import sentence_encoder, stock
from training.ranking.sentence_encoder import SentenceTeacher

from .conftest import THINGS, TRAINING, WORDS, arguments


@pytest.fixture
def encoder(tmp_path):
    """A sentence encoder that has learnt nothing yet."""
    from transformers import BertConfig, BertModel, BertTokenizerFast

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *THINGS, ".", "old", "is"]
    words += [word for text in (*WORDS, "how nice your") for word in text.split()]
    words = list(dict.fromkeys(words))
    folder = tmp_path / "encoder"
    BertTokenizerFast(vocab={word: place for place, word in enumerate(words)}).save_pretrained(
        folder
    )
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = BertConfig(vocab_size=len(words), intermediate_size=64, **sizes)
    BertModel(config).save_pretrained(folder)
    return folder


def test_a_teacher_tells_what_suits_contexts_without_labels(place, encoder, monkeypatch, capsys):
    """The network learns of half of the things from the teacher alone."""
    for name, value in {"LEARNING_RATE": 1e-3, "HEAD": 1e-2, "EPOCHS": 40}.items():
        monkeypatch.setattr(sentence_encoder, name, value)
    monkeypatch.setattr(stock, "EPOCHS", 60)
    talks = [{"id": key, "turns": [f"i like my {thing}"]} for key in TRAINING for thing in THINGS]
    (place / "more.jsonl").write_text("\n".join(map(json.dumps, talks)))
    monkeypatch.setattr(fit_stock, "MORE", {str(place / "more.jsonl"): 99, "nowhere": 9})
    kept = place / "teacher.safetensors"
    asked = [f"--encoder={encoder}", f"--teacher={kept}", f"--json={place / 'figures.json'}"]
    assert fit_stock.main(arguments(place, *asked)) == 0
    assert "without contexts of nowhere: " in capsys.readouterr().out
    figures = json.loads((place / "figures.json").read_text())
    assert figures["teacher"]["plain"]["first_is_specific"] == 1
    assert figures["plain"]["first_is_specific"] == 1
    first = kept.read_bytes()
    monkeypatch.setattr(SentenceTeacher, "fit", None)
    assert fit_stock.main(arguments(place, *asked)) == 0, "a teacher that is kept is used again"
    assert kept.read_bytes() == first
    others = (place / "labels.jsonl.gz").read_bytes()
    named = gzip.decompress(others).replace(b"how nice", b"how neat")
    (place / "labels.jsonl.gz").write_bytes(gzip.compress(named))
    assert fit_stock.main(arguments(place, *asked)) == 2
    assert "holds no teacher of these replies (it was fitted to others)" in capsys.readouterr().err
    (place / "labels.jsonl.gz").write_bytes(others)
    kept.write_bytes(first[:-9])
    assert fit_stock.main(arguments(place, *asked)) == 2
    assert "holds no teacher of these replies" in capsys.readouterr().err


def test_an_encoder_says_in_one_line_what_to_install(place, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    assert fit_stock.main(arguments(place, f"--encoder={place}")) == 2
    assert "a sentence encoder needs transformers" in capsys.readouterr().err


def test_an_encoder_that_is_none_is_refused_by_name(place, capsys):
    assert fit_stock.main(arguments(place, f"--encoder={place}")) == 2
    assert f"{place} holds no sentence encoder" in capsys.readouterr().err
    assert fit_stock.main(arguments(place, f"--teacher={place / 'teacher'}")) == 2
    assert "--teacher needs the --encoder" in capsys.readouterr().err
    assert not (place / "model" / stock_replies.FILE).exists()
