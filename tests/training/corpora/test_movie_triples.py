"""MovieTriples as text: three tab-separated utterances per line."""

import pytest

from tests.training.corpora.conftest import load, write
from training import corpora
from training.corpora.transcript import Complaints, Transcript


@pytest.mark.parametrize("ending", [".txt", ".txt.gz"])
def test_movie_triples_are_read_plain_and_packed(folder, ending):
    for prefix, turn in (("Training_", "x"), ("Validation_", "y"), ("Test_", "z")):
        write(
            folder / "movie_triples" / f"{prefix}Shuffled_Dataset{ending}",
            f"{turn} 1\t you ?\tno \r\n{turn}\tb\tc <person>\n",
        )
    for split, turn in (("train", "x"), ("validation", "y"), ("test", "z")):
        assert load("movie_triples", split)[0] == [
            (f"{turn} 1", "you ?", "no"),
            (turn, "b", "c <person>"),
        ]
    assert len(load("movie_triples", "all")[0]) == 6
    assert load(folder / "movie_triples")[0] == load("movie_triples")[0]


def test_the_id_of_a_triple_is_its_place_in_the_file(folder):
    write(folder / "movie_triples" / "Test_1.txt", "a\tb\tc\nonly one\nd\te\tf\n")
    found = corpora.load(["movie_triples"], "test", Complaints(skip=True))
    assert found == [
        Transcript("movie_triples/test/1", "movie_triples", ("a", "b", "c"), spaced=True),
        Transcript("movie_triples/test/3", "movie_triples", ("d", "e", "f"), spaced=True),
    ]


@pytest.mark.parametrize("name", ["Test_Shuffled_Dataset.txt", "Test_1", "Test_1.tsv"])
def test_a_split_is_the_one_file_whose_name_begins_with_it(folder, name):
    write(folder / "movie_triples" / name, "a\tb\tc\n")
    write(folder / "movie_triples" / "Test.triples.pkl", "")
    assert load("movie_triples", "test")[0] == [("a", "b", "c")]


def test_two_files_for_a_split_are_named_and_none_is_read(folder):
    """The second one was silently left out."""
    for name in ("Test_1.txt", "Test_2.txt"):
        write(folder / "movie_triples" / name, "a\tb\tc\n")
    with pytest.raises(ValueError, match=r"found Test_1\.txt, Test_2\.txt"):
        load("movie_triples", "test")


def test_a_folder_without_a_file_for_the_split_is_refused(folder):
    write(folder / "movie_triples" / "Training_1.txt", "a\tb\tc\n")
    with pytest.raises(
        ValueError,
        match=r"expected one file Test_\*, plain or \.gz, or Test\.triples\.pkl or "
        r"Test\.dialogues\.pkl for this split; found none",
    ):
        load("movie_triples", "test")


BAD_TRIPLES = {
    "two utterances": (b"a\tb", "found 2 utterances; expected three"),
    "four utterances": (b"a\tb\tc\td", "found 4 utterances; expected three"),
    "an empty line": (b"", "found 1 utterances; expected three"),
    "an empty utterance": (b"a\t \tc", "utterance 2 is empty"),
    "an empty last utterance": (b"a\tb\t", "utterance 3 is empty"),
    "invalid UTF-8": (b"a\tb\xff\tc", "invalid UTF-8"),
    "a cut character": (b"a\tb\tc\xc3", "invalid UTF-8"),
}


@pytest.mark.parametrize("ending", [".txt", ".txt.gz"])
@pytest.mark.parametrize(("line", "complaint"), BAD_TRIPLES.values(), ids=BAD_TRIPLES)
def test_a_line_that_is_no_triple_stops_the_run_and_is_named(folder, ending, line, complaint):
    write(folder / "movie_triples" / f"Training_1{ending}", b"a\tb\tc\n" + line + b"\nd\te\tf\n")
    with pytest.raises(
        ValueError, match=rf"Training_1{ending}, line 2: {complaint}.*--skip-bad-lines"
    ):
        load("movie_triples")


def test_bad_triples_are_counted_where_they_are_to_be_skipped(folder):
    lines = [b"a\tb\tc", *(line for line, _ in BAD_TRIPLES.values()), b"d\te\tf"]
    write(folder / "movie_triples" / "Training_1.txt", b"\n".join(lines) + b"\n")
    found, complaints = load("movie_triples", skip=True)
    assert found == [("a", "b", "c"), ("d", "e", "f")]
    assert complaints.count == len(BAD_TRIPLES)
    assert "line 2: found 2 utterances" in complaints.first
