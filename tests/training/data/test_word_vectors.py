import gzip

import pytest
import torch

from dialogue.vocabulary import Vocabulary
from training.corpora.transcript import Complaints
from training.data import word_vectors
from training.data.vocabulary import build

WORDS = ["<unk>", "<s>", "</s>", "the", "movie", "paris"]
LINES = "the 1 2\nThe 9 9\nmovie -1 0.5\nParis 0.25 -3e0\nxyzzy 5 5\n"


@pytest.fixture
def vocabulary():
    return Vocabulary.of_words(WORDS)


def embedding_of(vocabulary):
    return torch.randn(len(vocabulary), 2, generator=torch.Generator().manual_seed(0)) * 0.1


@pytest.mark.parametrize("header", ["", "5 2\n"], ids=["glove", "word2vec"])
@pytest.mark.parametrize("ending", [".txt", ".gz"])
def test_words_that_are_found_take_their_vectors_and_others_keep_theirs(
    tmp_path, vocabulary, header, ending
):
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
        ("the 1 2 3\n", "found 3 numbers per word; --embedding asks for 2: use --embedding 3"),
        ("the 1\nmovie 1\nThe 1 2\n", "found 1 numbers per word; --embedding asks for 2"),
        ("the 1 b\n", "found no words with numbers in the first lines"),
        ("quux 1 2\n", "no word of this vocabulary"),
        (
            "movie 1 1\nthe nan 2\n",
            "all its vectors are the same.* 1 lines were left out, the first: "
            ".*line 2: 'the' is not followed by 2",
        ),
        ("", "found no words with numbers in the first lines"),
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


def test_words_may_hold_spaces_and_tabs_and_lines_without_a_vector_are_counted(
    tmp_path, vocabulary, capsys
):
    """GloVe's own files contain words such as ". . ."; one of them, or a blank last line, had the
    whole file rejected.
    """
    plain, odd = tmp_path / "plain.txt", tmp_path / "odd.txt"
    plain.write_text(LINES, encoding="utf-8")
    lines = LINES.splitlines()
    added = [
        ". . . 0.1 0.2",
        "at\tname 1 1",
        "new york 2 2",
        "\u00a0 3 3",
        "in 1990 4 4",
        "\t\u2003word 5 5",
        "the\t1\t2",
    ]
    broken = ["cut 1", "paris"]
    odd.write_bytes(
        "\n".join(["\ufeff5 2", *added, *lines, *broken, "", "  ", ""]).encode()
        + b"\xff\xfe 1 2\n\n"
    )
    expected, found = embedding_of(vocabulary), embedding_of(vocabulary)
    left_out = Complaints(skip=True)
    share = word_vectors.initialise(expected, plain, vocabulary)
    assert word_vectors.initialise(found, odd, vocabulary, left_out) == share
    assert torch.equal(found, expected)
    assert left_out.count == 4, (
        "a word without a vector; a vector cut short; bytes that are no text; a space for a word"
    )
    assert left_out.first == f"{odd}, line 5: found 2 parts; expected a word and 2 numbers"


def test_vectors_of_another_size_are_refused_with_the_size_that_would_do(tmp_path, vocabulary):
    """Split from the right, `the 1 2 3` would be a word `the 1` with two numbers."""
    path = tmp_path / "vectors.txt"
    path.write_text("4 3\n7 1 2 3\nthe 1 2 3\nnew york 1 2 3\nmovie 1 2\n", encoding="utf-8")
    with pytest.raises(
        ValueError,
        match="found 3 numbers per word; --embedding asks for 2: "
        "use --embedding 3, or other vectors",
    ):
        word_vectors.check(path, 2)
    word_vectors.check(path, 3)


def test_word2vecs_binary_format_is_no_text(tmp_path):
    path = tmp_path / "vectors.bin"
    path.write_bytes(
        b"2 3\nthe "
        + torch.randn(3).numpy().tobytes()
        + b"\nmovie "
        + torch.zeros(3).numpy().tobytes()
    )
    with pytest.raises(ValueError, match=r"vectors\.bin"):
        word_vectors.check(path, 3)
