import gzip

import pytest
import torch

from dialogue.vocabulary import Vocabulary
from training import word_vectors
from training.build_vocabulary import build

WORDS = ["<unk>", "<s>", "</s>", "the", "movie", "paris"]
LINES = "the 1 2\nThe 9 9\nmovie -1 0.5\nParis 0.25 -3e0\nxyzzy 5 5\n"


@pytest.fixture
def vocabulary():
    return Vocabulary.of_words(WORDS)


def embedding_of(vocabulary):
    return torch.randn(len(vocabulary), 2, generator=torch.Generator().manual_seed(0)) * 0.1


@pytest.mark.parametrize("header", ["", "5 2\n"], ids=["glove", "word2vec"])
@pytest.mark.parametrize("ending", [".txt", ".gz"])
def test_words_that_are_found_take_their_vectors_and_others_keep_theirs(tmp_path, vocabulary, header, ending):
    path = tmp_path / f"vectors{ending}"
    content = (header + LINES).encode()
    path.write_bytes(gzip.compress(content) if ending == ".gz" else content)
    before = embedding_of(vocabulary)
    embedding = before.clone()
    share = word_vectors.initialise(embedding, path, vocabulary)
    assert share == pytest.approx(3 / len(vocabulary))
    assert torch.equal(embedding[:3], before[:3])
    assert torch.equal(embedding[6:], before[6:])
    taken = torch.tensor([[1, 2], [-1, 0.5], [0.25, -3]])
    expected = (taken - taken.mean()) / taken.std() * before.std() + before.mean()
    torch.testing.assert_close(embedding[3:6], expected)


def test_pieces_of_sentencepiece_take_the_vectors_of_their_words(tmp_path):
    vocabulary = build(["the movie the movie in paris"] * 20, size=30, model_type="word")
    path = tmp_path / "vectors.txt"
    path.write_text(LINES)
    embedding = embedding_of(vocabulary)
    before = embedding.clone()
    word_vectors.initialise(embedding, path, vocabulary)
    changed = {vocabulary.piece(int(row)) for row in (embedding != before).any(1).nonzero()}
    assert "\u2581the" in changed


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("the 1 2 3\n", "line 1: 3 numbers; --embedding asks for 2"),
        ("the 1 2\nmovie 1\n", "line 2: 1 numbers"),
        ("the 1 b\n", "line 1: 'the' is not followed by 2 numbers"),
        ("quux 1 2\n", "no word of this vocabulary"),
        ("the nan 2\nmovie 1 2\n", "no vectors that differ"),
        ("", "no word of this vocabulary"),
    ],
)
def test_a_file_that_is_none_is_named_and_changes_nothing(tmp_path, vocabulary, content, complaint):
    path = tmp_path / "vectors.txt"
    path.write_text(content)
    embedding = embedding_of(vocabulary)
    before = embedding.clone()
    with pytest.raises(ValueError, match=rf"vectors\.txt.*{complaint}"):
        word_vectors.initialise(embedding, path, vocabulary)
    assert torch.equal(embedding, before)


def test_a_file_that_is_not_there_is_named(tmp_path, vocabulary):
    with pytest.raises(ValueError, match=r"cannot read .*none\.txt"):
        word_vectors.initialise(embedding_of(vocabulary), tmp_path / "none.txt", vocabulary)
