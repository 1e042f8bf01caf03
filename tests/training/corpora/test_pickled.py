"""MovieTriples as pickles, including Python 2's, and ones that try to run something."""

import os
import pickle
import struct

import pytest

from training import corpora
from training.corpora import pickled
from training.corpora.transcript import Complaints
from training.data import batches

WORDS = ["<unk>", "<s>", "</s>", ".", "hello", "caf\xe9", "don", "'", "t", "<person>"]
TEXT = "hello .\tdon ' t\tzorro caf\xe9 <person>\n.\thello\thello hello\n"
TRIPLES = [[1, 4, 3, 2, 1, 6, 7, 8, 2, 1, 0, 5, 9, 2], [1, 3, 2, 1, 4, 2, 1, 4, 4, 2]]


def python2(value):
    """Pickle as Python 2's cPickle does with protocol 2: its str are bytes, in SHORT_BINSTRING."""

    def body(value):
        if isinstance(value, bytes):
            return b"U" + struct.pack("<B", len(value)) + value
        if isinstance(value, int):
            return b"J" + struct.pack("<i", value)
        if isinstance(value, tuple):
            return b"(" + b"".join(map(body, value)) + b"t"
        return b"](" + b"".join(map(body, value)) + b"e"

    return b"\x80\x02" + body(value) + b"."


@pytest.fixture
def folder(tmp_path):
    """A folder in pickled form, and the same data as text beside it."""
    for place in ("pickled", "text"):
        (tmp_path / place).mkdir()
        entries = [(word.encode(), token_id, 9, 3) for token_id, word in enumerate(WORDS)]
        (tmp_path / place / "Training.dict.pkl").write_bytes(python2(entries))
    for split in ("Training", "Validation", "Test"):
        (tmp_path / "pickled" / f"{split}.triples.pkl").write_bytes(python2(TRIPLES))
        (tmp_path / "text" / f"{split}_Shuffled_Dataset.txt").write_text(TEXT, encoding="utf-8")
    return tmp_path


def ids_of(folder, split, vocabulary):
    transcripts = corpora.load([str(folder)], split, Complaints())
    return batches.encode(transcripts, vocabulary, truncate=None).conversations


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_both_shapes_of_a_split_give_the_ids_of_the_pickle(folder, split):
    vocabulary = pickled.vocabulary(corpora.word_list_of([str(folder / "pickled")]))
    found = ids_of(folder / "pickled", split, vocabulary)
    assert found == ids_of(folder / "text", split, vocabulary)
    assert [[token_id for turn in triple for token_id in (1, *turn)] for triple in found] == TRIPLES


@pytest.mark.corpora
@pytest.mark.parametrize("split", ["validation", "test"])
def test_both_shapes_of_the_real_files_give_the_same_ids(split, tmp_path):
    shared = corpora.path_of("movie_triples")
    if not (shared / "Training.dict.pkl").is_file():
        pytest.skip("the corpus is not there")
    for name in ("Validation.triples.pkl", "Test.triples.pkl", "Training.dict.pkl"):
        (tmp_path / name).symlink_to((shared / name).absolute())
    vocabulary = pickled.vocabulary(shared / "Training.dict.pkl")
    found = ids_of(tmp_path, split, vocabulary)
    assert found == ids_of(shared, split, vocabulary)
    assert len(found) > 6000


def test_words_of_python_2_are_utf8_or_latin_1(tmp_path):
    path = tmp_path / "Training.dict.pkl"
    path.write_bytes(
        python2(
            [
                (b"<unk>", 0, 0, 0),
                ("na\xefve".encode(), 1, 2, 2),
                ("na\xefve".encode("latin-1") + b"x", 2, 2, 2),
            ]
        )
    )
    assert pickled.read_words(path) == ["<unk>", "na\xefve", "na\xefvex"]
    path.write_bytes(pickle.dumps([("<unk>", 0, 0, 0), ("na\xefve", 1, 2, 2)], protocol=4))
    assert pickled.read_words(path) == ["<unk>", "na\xefve"]


class Runs:
    """An attacker's pickle: it calls something when loaded."""

    def __init__(self, call, *arguments):
        self.call, self.arguments = call, arguments

    def __reduce__(self):
        return self.call, self.arguments


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_pickle_that_calls_something_is_refused_by_name_and_nothing_ran(tmp_path, protocol):
    path, proof = tmp_path / "Test.triples.pkl", tmp_path / "proof"
    content = pickle.dumps([[1, 2], Runs(os.mkdir, str(proof))], protocol=protocol)
    path.write_bytes(content)
    with pytest.raises(
        ValueError, match=r"cannot read .*Test\.triples\.pkl: it asks for (posix|nt)\.mkdir"
    ):
        pickled.load_plain(path)
    assert not proof.exists()
    pickle.loads(content)
    assert proof.is_dir(), "a pickle that does nothing when it is loaded would prove nothing"


@pytest.mark.parametrize("value", [1.5, {"a": 1}, {1}, None, True, [[1, (2, {})]], bytearray(b"x")])
def test_other_kinds_of_value_are_refused(tmp_path, value):
    path = tmp_path / "Test.triples.pkl"
    path.write_bytes(pickle.dumps([value], protocol=2))
    with pytest.raises(ValueError, match="only lists, tuples, texts and whole numbers are allowed"):
        pickled.load_plain(path)


def test_an_object_outside_of_the_file_is_refused(tmp_path):
    path = tmp_path / "x.pkl"
    path.write_bytes(b"\x80\x02K\x01Q.")
    with pytest.raises(ValueError, match="outside the file"):
        pickled.load_plain(path)


@pytest.mark.parametrize(
    "content",
    [b"", b"\x80\x02](J", b"not a pickle", b"\x80\x63.", python2(TRIPLES)[:-3], b"hello 1\n"],
)
def test_a_broken_pickle_is_an_error_that_names_it(tmp_path, content):
    path = tmp_path / "broken.pkl"
    path.write_bytes(content)
    with pytest.raises(
        ValueError, match=r"cannot read .*broken\.pkl: it is not a pickle, or a corrupt one"
    ):
        pickled.load_plain(path)


def test_a_list_that_holds_itself_is_read_to_its_end(tmp_path):
    path = tmp_path / "loop.pkl"
    endless = []
    endless.append(endless)
    path.write_bytes(pickle.dumps(endless))
    assert len(pickled.load_plain(path)) == 1


@pytest.mark.parametrize(
    ("triples", "complaint"),
    [
        ([[1, 3, 2, 1, 3, 2]], "triple 1: found 2 utterances; expected three"),
        ([TRIPLES[0], [1, 3, 2, 1, 2, 1, 3, 2]], "triple 2: utterance 2 is empty"),
        (
            [[1, 3, 2, 1, 99, 2, 1, 3, 2]],
            "triple 1: a token id is out of range; the word list has 10 words",
        ),
        ([(b"a", 1)], "triple 1: not a list of token ids"),
        (7, "triple 1: not a list of token ids"),
    ],
)
def test_what_is_no_triple_is_named_and_may_be_left_out(folder, triples, complaint):
    (folder / "pickled" / "Test.triples.pkl").write_bytes(python2(triples))
    with pytest.raises(ValueError, match=f"{complaint}.*--skip-bad-lines"):
        corpora.load([str(folder / "pickled")], "test", Complaints())
    complaints = Complaints(skip=True)
    if triples in (7, [(b"a", 1)]) or len(triples) == 1:
        with pytest.raises(ValueError, match="no conversation in its split"):
            corpora.load([str(folder / "pickled")], "test", complaints)
    else:
        assert len(corpora.load([str(folder / "pickled")], "test", complaints)) == 1
    assert complaints.count == 1


@pytest.mark.parametrize(
    ("entries", "complaint"),
    [
        ([(b"a", 0), (b"b", 0)], "the id 0 occurs twice"),
        ([(b"a", 0), (b"b", 2)], "ids are not 0 to 1"),
        ([b"a"], "found the entry b'a'; expected"),
        ([(b"a", 0), (b"a", 1)], "'a' is in the list twice"),
    ],
)
def test_a_list_of_words_that_is_none_is_named(tmp_path, entries, complaint):
    path = tmp_path / "Training.dict.pkl"
    path.write_bytes(python2(entries))
    with pytest.raises(ValueError, match=rf"Training\.dict\.pkl: .*{complaint}"):
        pickled.vocabulary(path)


@pytest.mark.parametrize(
    "place", ["dat/MovieTriples_Dataset", "data/MovieTriples_Dataset", "data/movie_triples"]
)
def test_movie_triples_is_found_where_people_keep_it(folder, tmp_path, monkeypatch, place):
    monkeypatch.delenv("CORPORA", raising=False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / place).parent.mkdir(exist_ok=True)
    (folder / "pickled").rename(tmp_path / place)
    assert len(corpora.load(["movie_triples"], "train", Complaints())) == 2
    assert corpora.default_names() == ["movie_triples"]
    assert corpora.word_list_of(["chitchat"]).name == "Training.dict.pkl"


def test_a_folder_without_a_list_of_words_says_so(folder):
    (folder / "pickled" / "Training.dict.pkl").unlink()
    with pytest.raises(ValueError, match=r"has no Training\.dict\.pkl"):
        corpora.load([str(folder / "pickled")], "test", Complaints())


# --- hed-dlg-truncated's own files ---------------------------------------------------------------

OWN_WORDS = [
    "<unk>",
    "</s>",
    "</d>",
    "<first_speaker>",
    "hello",
    ".",
    "why",
    "?",
]  # as its script writes them: no <s>
OWN_DIALOGUES = [[1, 4, 5, 1, 6, 7, 1, 2], [4, 1, 3, 6, 7, 1, 0, 5], [6, 7, 1]]
OWN_TURNS = [("hello .", "why ?"), ("hello", "<first_speaker> why ?", "<unk> ."), ("why ?",)]


def dialogues_folder(place, dialogues, words=OWN_WORDS, dictionary="Training.dict.pkl"):
    place.mkdir(exist_ok=True)
    entries = [(word.encode(), token_id, 9, 3) for token_id, word in enumerate(words)]
    (place / dictionary).write_bytes(python2(entries))
    for split in ("Training", "Validation", "Test"):
        (place / f"{split}.dialogues.pkl").write_bytes(python2(dialogues))
    return place


@pytest.mark.parametrize("dictionary", ["Training.dict.pkl", "Dataset.dict.pkl"])
@pytest.mark.parametrize(
    "dialogues",
    [
        OWN_DIALOGUES,
        [token_id for ids in OWN_DIALOGUES for token_id in [*ids, 2]],
        [1, 4, 5, 1, 6, 7, 1, 1, 4, 1, 3, 6, 7, 1, 0, 5, 1, 1, 6, 7, 1],
    ],
    ids=["a list each", "one flat list", "one flat list without </d>"],
)
def test_the_dialogues_of_hed_dlg_truncated_are_read(tmp_path, dialogues, dictionary):
    """Neither the flat lists of ids nor a dictionary without <s> could be read."""
    folder = dialogues_folder(tmp_path / "ubuntu", dialogues, dictionary=dictionary)
    for split in ("train", "validation", "test"):
        found = corpora.load([str(folder)], split, Complaints())
        assert [transcript.turns for transcript in found] == OWN_TURNS
        assert {transcript.spaced for transcript in found} == {True}
    assert {path.name for path in corpora.files_of(str(folder))} >= {
        dictionary,
        "Test.dialogues.pkl",
    }
    vocabulary = pickled.vocabulary(corpora.word_list_of([str(folder)]))
    assert vocabulary.encode_all(["hello ."], spaced=True) == [[4, 5]], (
        "with the ids of its own dictionary"
    )


def test_the_turns_of_the_ubuntu_dialogues_end_in_a_mark_of_their_own(tmp_path):
    folder = dialogues_folder(
        tmp_path / "ubuntu", [[4, 5, 1, 6, 7, 1]], words=["<unk>", "__eot__", *OWN_WORDS[2:]]
    )
    assert corpora.load([str(folder)], "train", Complaints())[0].turns == ("hello .", "why ?")


@pytest.mark.parametrize(
    ("dialogues", "complaint"),
    [
        ([OWN_DIALOGUES[0], [4, 1, 1, 6]], "dialogue 2: an empty utterance, or no turn at all"),
        ([OWN_DIALOGUES[0], [1, 2]], "dialogue 2: an empty utterance, or no turn at all"),
        (
            [OWN_DIALOGUES[0], [4, 99]],
            "dialogue 2: a token id is out of range; the word list has 8 words",
        ),
        ([OWN_DIALOGUES[0], [[4], [5]]], "dialogue 2: not a list of token ids"),
    ],
)
def test_what_is_no_dialogue_is_named_and_may_be_left_out(tmp_path, dialogues, complaint):
    folder = dialogues_folder(tmp_path / "own", dialogues)
    with pytest.raises(ValueError, match=rf"Test\.dialogues\.pkl, {complaint}.*--skip-bad-lines"):
        corpora.load([str(folder)], "test", Complaints())
    assert len(corpora.load([str(folder)], "test", Complaints(skip=True))) == 1


def test_words_without_a_mark_for_the_end_of_a_turn_say_so(tmp_path):
    folder = dialogues_folder(tmp_path / "own", [[0, 1]], words=["<unk>", "hello"])
    with pytest.raises(ValueError, match="lack </s>, which closes each utterance"):
        corpora.load([str(folder)], "test", Complaints())


def test_triples_need_no_mark_for_the_beginning_of_a_turn(tmp_path):
    folder = dialogues_folder(tmp_path / "own", OWN_DIALOGUES)
    for path in folder.glob("*.dialogues.pkl"):
        path.unlink()
    (folder / "Test.triples.pkl").write_bytes(python2([[4, 5, 1, 6, 7, 1, 4, 1]]))
    assert corpora.load([str(folder)], "test", Complaints())[0].turns == (
        "hello .",
        "why ?",
        "hello",
    )
