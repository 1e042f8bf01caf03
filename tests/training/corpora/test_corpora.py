import csv
import gzip
import json
import re
from types import SimpleNamespace

import pytest

from training import corpora
from training.corpora import chitchat, self_dialogue
from training.corpora.transcript import SPLITS, Complaints, Transcript, split_of


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty folder of corpora, set as CORPORA."""
    monkeypatch.setenv("CORPORA", str(tmp_path))
    return tmp_path


def load(name, split="train", *, skip=False):
    complaints = Complaints(skip=skip)
    return [
        transcript.turns for transcript in corpora.load([str(name)], split, complaints)
    ], complaints


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    content = content if isinstance(content, bytes) else content.encode()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def jsonl(*entries):
    return "".join(json.dumps(entry, ensure_ascii=False) + "\n" for entry in entries)


def ids_of(split, count):
    return [key for key in map(str, range(10_000)) if split_of(key) == split][:count]


# --- splits --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "split"),
    [
        ("53", "test"),  # sha1 c5b76da3...86906328: 0 of 20
        ("79", "validation"),  # 1
        ("23", "train"),  # 2
        ("0", "train"),  # sha1 b6589fc6...94e8410c: 8
        ("é", "train"),  # sha1 of its two bytes of UTF-8, bf15be71...1ff5073d: 5
    ],
)
def test_the_split_of_an_id_is_the_rest_of_its_sha1_by_twenty(key, split):
    assert split_of(key) == split


def test_about_a_twentieth_of_all_ids_goes_to_each_of_test_and_validation():
    found = [split_of(f"conversation {number}") for number in range(4000)]
    for split in ("test", "validation"):
        assert 150 < found.count(split) < 250


def test_every_split_of_a_corpus_together_is_all_of_it(tmp_path):
    keys = [str(number) for number in range(200)]
    path = write(
        tmp_path / "talk.jsonl", jsonl(*({"id": key, "turns": [key, "yes"]} for key in keys))
    )
    parts = {split: load(path, split)[0] for split in SPLITS}
    assert all(parts.values())
    assert sorted(turns[0] for part in parts.values() for turns in part) == sorted(keys)
    assert sorted(load(path, "all")[0]) == sorted(
        turns for part in parts.values() for turns in part
    )


# --- names ---------------------------------------------------------------------------------------


def test_corpora_are_looked_for_in_data_unless_the_environment_says_where(monkeypatch, tmp_path):
    monkeypatch.delenv("CORPORA", raising=False)
    assert str(corpora.corpora_folder()) == "data"
    monkeypatch.setenv("CORPORA", str(tmp_path))
    assert corpora.corpora_folder() == tmp_path


def test_without_a_name_movie_triples_is_taken_where_its_folder_is(folder):
    assert corpora.default_names() == ["chitchat"]
    (folder / "movie_triples").mkdir()
    assert corpora.default_names() == ["movie_triples"]


def test_an_unknown_corpus_is_refused_with_those_that_there_are(folder):
    with pytest.raises(
        ValueError,
        match=r"no corpus 'nonsense'.*companion, chitchat, self_dialogue, .*movie_triples.*folder.*JSONL",
    ):
        load("nonsense")
    with pytest.raises(ValueError, match="no corpus 'movie_triples'"):
        load("movie_triples")
    with pytest.raises(ValueError, match=r"no self_dialogue\.jsonl.*CORPORA"):
        load("self_dialogue")


def test_an_unknown_split_is_refused(folder):
    with pytest.raises(
        ValueError, match="unknown split 'dev'; it is one of train, validation, test, all"
    ):
        load("chitchat", "dev")


def test_a_corpus_without_a_conversation_in_the_split_is_refused(tmp_path):
    path = write(
        tmp_path / "talk.jsonl", jsonl({"id": ids_of("train", 1)[0], "turns": ["hi", "hello"]})
    )
    assert load(path)[0] == [("hi", "hello")]
    with pytest.raises(ValueError, match=r"talk\.jsonl has no conversation in its split 'test'"):
        load(path, "test")


def test_several_corpora_are_read_one_after_the_other(folder):
    write(folder / "movie_triples" / "Training_Shuffled.txt", "a\tb\tc\n")
    write(
        folder / "self_dialogue.jsonl",
        jsonl({"id": ids_of("train", 1)[0], "turns": ["hi", "hello"]}),
    )
    found = corpora.load(["self_dialogue", "movie_triples"], "train", Complaints())
    assert [(transcript.corpus, transcript.turns) for transcript in found] == [
        ("self_dialogue", ("hi", "hello")),
        ("movie_triples", ("a", "b", "c")),
    ]


# --- MovieTriples --------------------------------------------------------------------------------


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
        match=r"expected one file Test_\*, plain or \.gz, or Test\.triples\.pkl or Test\.dialogues\.pkl for this split; found none",
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


# --- JSONL ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", [".jsonl", ".jsonl.gz"])
def test_self_dialogue_is_read_plain_and_packed(folder, ending):
    one, two = ids_of("train", 2)
    text = jsonl(
        {"id": one, "topic": "movies", "turns": ["Hi – you", "Né?"]}, {"id": two, "turns": ["x"]}
    )
    write(folder / f"self_dialogue{ending}", text)
    assert load("self_dialogue")[0] == [("Hi – you", "Né?"), ("x",)]
    found = corpora.load([str(folder / f"self_dialogue{ending}")], "train", Complaints())
    assert [(t.id, t.corpus) for t in found] == [(one, "self_dialogue"), (two, "self_dialogue")]


BAD_CONVERSATIONS = {
    "no JSON": (b"{", "not a conversation"),
    "an empty line": (b"", "not a conversation"),
    "a list": (b'["a", "b"]', "not a conversation"),
    "a number": (b"3", "not a conversation"),
    "no id": (b'{"turns": ["a", "b"]}', "not a conversation"),
    "no turns": (b'{"id": "a"}', "not a conversation"),
    "an id that is no text": (b'{"id": 3, "turns": ["a"]}', "id must be a text"),
    "turns that are no list": (b'{"id": "a", "turns": "b"}', "turns a list of texts"),
    "a turn that is no text": (b'{"id": "a", "turns": ["b", 3]}', "turns a list of texts"),
    "an empty turn": (b'{"id": "a", "turns": ["b", " "]}', "an empty utterance"),
    "no turn at all": (b'{"id": "a", "turns": []}', "no turn at all"),
    "invalid UTF-8": (b'{"id": "a", "turns": ["b\xff"]}', "invalid UTF-8"),
    "half a character as id": (b'{"id": "\\ud800", "turns": ["b"]}', "half a character"),
    "half a character in a turn": (b'{"id": "a", "turns": ["b \\ud800"]}', "half a character"),
    "nested too deep": (b"[" * 100_000, "not a conversation"),
    "a number too long": (b'{"id": ' + b"1" * 5000 + b"}", "not a conversation"),
}


@pytest.mark.parametrize("ending", [".jsonl", ".jsonl.gz"])
@pytest.mark.parametrize(("line", "complaint"), BAD_CONVERSATIONS.values(), ids=BAD_CONVERSATIONS)
def test_a_line_that_is_no_conversation_stops_the_run_and_is_named(
    tmp_path, ending, line, complaint
):
    """An id that UTF-8 cannot encode was reported without file or line."""
    good = jsonl({"id": ids_of("train", 1)[0], "turns": ["hi", "hello"]}).encode()
    path = write(tmp_path / f"talk{ending}", good + line + b"\n" + good)
    with pytest.raises(ValueError, match=rf"talk{ending}, line 2: .*{complaint}"):
        load(path)


def test_bad_conversations_are_counted_where_they_are_to_be_skipped(tmp_path):
    good = jsonl({"id": ids_of("train", 1)[0], "turns": ["hi", "hello"]}).encode()
    path = write(
        tmp_path / "talk.jsonl",
        b"".join(line + b"\n" for line, _ in BAD_CONVERSATIONS.values()) + good,
    )
    found, complaints = load(path, skip=True)
    assert found == [("hi", "hello")]
    assert complaints.count == len(BAD_CONVERSATIONS)
    assert "line 1: not a conversation" in complaints.first


# --- broken files --------------------------------------------------------------------------------


@pytest.mark.parametrize("skip", [False, True])
@pytest.mark.parametrize("damage", ["not gzip", "cut short", "flipped"])
def test_a_broken_gzip_file_is_refused_by_name(tmp_path, damage, skip):
    """Even if bad lines are to be skipped: half a corpus is not a corpus."""
    entries = [{"id": key, "turns": ["hi", f"hello {key}"]} for key in ids_of("train", 400)]
    content = gzip.compress(jsonl(*entries).encode())
    if damage == "not gzip":
        content = b"plain text"
    elif damage == "cut short":
        content = content[: len(content) // 2]
    else:
        content = content[:-20] + bytes([content[-20] ^ 0xFF]) + content[-19:]
    path = tmp_path / "talk.jsonl.gz"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"cannot read .*talk\.jsonl\.gz"):
        load(path, skip=skip)


def test_complaints_raise_unless_they_are_to_be_skipped():
    with pytest.raises(ValueError, match="the first; fix the file, or pass --skip-bad-lines"):
        Complaints()("the first")
    complaints = Complaints(skip=True)
    complaints("the first")
    complaints("the second")
    assert (complaints.count, complaints.first) == (2, "the first")


# --- the converter of the Self-dialogue Corpus ---------------------------------------------------

COLUMNS = [
    "AssignmentId",
    "WorkerId",
    "Reject",
    *(f"Answer.sentence{number}" for number in range(1, 5)),
]


@pytest.fixture
def checkout(tmp_path):
    """A checkout of the public corpus in its own layout, but small."""
    rows = {
        "movies/1.csv": [
            ["A1", "good", "", "Hi there", "  Hello, “you”  ", "{}", ""],
            ["A2", "blocked", "", "spam", "spam", "spam", "spam"],
            ["A3", "good", "x", "rejected", "work", "{}", "{}"],
            ["A4", "good", "", "just one sentence", "{}", "{}", "{}"],
        ],
        "music/7.csv": [["A0", "other", "", "one", "{}", "three\nlines", "four"]],
    }
    for name, lines in rows.items():
        path = tmp_path / "checkout" / "corpus" / name
        path.parent.mkdir(parents=True)
        with path.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([COLUMNS, *lines])
    (tmp_path / "checkout" / "blocked_workers.txt").write_text("other-blocked\nblocked\n")
    return tmp_path / "checkout"


@pytest.mark.parametrize("ending", [".jsonl", ".jsonl.gz"])
def test_a_checkout_of_the_self_dialogue_corpus_is_converted(checkout, tmp_path, ending, capsys):
    """The empty answer is "{}"; rejected work and blocked workers are left out, as in the corpus's
    own script.
    """
    out = tmp_path / "new" / f"self_dialogue{ending}"
    assert self_dialogue.main([str(checkout), str(out)]) == 0
    assert capsys.readouterr().out.startswith("2 conversations written to")
    lines = (
        (gzip.decompress(out.read_bytes()) if ending.endswith("gz") else out.read_bytes())
        .decode()
        .splitlines()
    )
    assert [json.loads(line) for line in lines] == [
        {"id": "A0", "topic": "music", "turns": ["one", "three\nlines", "four"]},
        {"id": "A1", "topic": "movies", "turns": ["Hi there", "Hello, “you”"]},
    ]
    assert list(out.parent.iterdir()) == [out]
    read, complaints = load(out, "all")
    assert sorted(read) == [("Hi there", "Hello, “you”"), ("one", "three\nlines", "four")]
    assert complaints.count == 0


def test_a_folder_that_is_no_checkout_is_refused(tmp_path, capsys):
    assert self_dialogue.main([str(tmp_path), str(tmp_path / "out.jsonl")]) == 2
    assert "has no corpus/*/*.csv; expected a checkout" in capsys.readouterr().err
    assert not (tmp_path / "out.jsonl").exists()


# --- chitchat ------------------------------------------------------------------------------------


@pytest.fixture
def chats(tmp_path, monkeypatch):
    """Write conversations to where the chitchat package is looked for."""

    def install(dataset):
        (tmp_path / "dataset.json").write_text(json.dumps(dataset), encoding="utf-8")
        monkeypatch.setattr(
            chitchat,
            "find_spec",
            lambda name: SimpleNamespace(origin=str(tmp_path / "__init__.py")),
        )

    return install


def message(sender, text):
    return {"sender": sender, "text": text}


def test_messages_of_one_sender_in_a_row_are_one_turn(chats):
    one, other = ids_of("train", 2)
    chats(
        {
            one: {
                "messages": [
                    [message("x", "hi "), message("x", "there")],
                    [message("y", "hello")],
                    [message("x", "bye")],
                ]
            },
            other: {
                "messages": [
                    [message("x", "a")],
                    [message("x", "b")],
                    [message("y", " "), message("y", "c")],
                    [message("z", "d")],
                ]
            },
        }
    )
    assert load("chitchat")[0] == [
        ("hi <continued_utterance> there", "hello", "bye"),
        ("a <continued_utterance> b", "c", "d"),
    ]


def test_a_chat_without_text_is_complained_of_in_its_own_split_alone(chats):
    one, empty = ids_of("train", 2)
    validation = ids_of("validation", 1)[0]
    talk = {"messages": [[message("x", "hi")], [message("y", "hello")]]}
    chats({one: talk, empty: {"messages": [[message("x", " ")], []]}, validation: talk})
    with pytest.raises(
        ValueError, match=rf"dataset\.json, conversation {empty}: no message with text"
    ):
        load("chitchat")
    found, complaints = load("chitchat", skip=True)
    assert found == [("hi", "hello")]
    assert complaints.count == 1
    assert load("chitchat", "validation")[0] == [("hi", "hello")]


def test_chitchat_that_is_not_installed_is_a_sentence(monkeypatch):
    monkeypatch.setattr(chitchat, "find_spec", lambda name: None)
    with pytest.raises(
        ValueError, match=r"chitchat corpus is not installed; install it with pip install"
    ):
        load("chitchat")


# --- the full corpora ----------------------------------------------------------------------------

COUNTS = {
    "movie_triples": {"train": 120_148, "validation": 6_154, "test": 6_986},
    "self_dialogue": {"train": 21_040, "validation": 1_165, "test": 1_162},
    "chitchat": {"train": 6_437, "validation": 344, "test": 387},
}
# One writer submitted the same text nine times; by their ids, one copy is in the test split and
# eight are in training.
HANDED_IN_OFTEN = {"bbe691202db5"}
TELLING_WORDS = (
    12  # shorter turns ("hi how are you?", "good talking to you", "you too") coincide by chance
)


@pytest.fixture(scope="module")
def full():
    """Every split of every corpus. Skips if the files are not available."""
    folder = corpora.corpora_folder()
    if not (folder / "movie_triples").is_dir() or not list(folder.glob("self_dialogue.jsonl*")):
        pytest.skip(
            f"a full corpus is not there: set CORPORA to the folder of movie_triples and self_dialogue, it is {folder}"
        )
    return {
        name: {split: corpora.load([name], split, Complaints()) for split in SPLITS}
        for name in COUNTS
    }


def bare(turn):
    """A turn reduced to its letters: MovieTriples is tokenised, in lower case, and has <number> for
    digits.
    """
    return re.sub(r"<\w+>|[^a-z]", "", turn.lower())


def size(turns):
    return len(" ".join(turns).split())


@pytest.mark.corpora
def test_the_full_corpora_are_read_whole_and_without_a_complaint(full):
    assert {
        name: {split: len(found) for split, found in parts.items()} for name, parts in full.items()
    } == COUNTS
    assert all(
        len(transcript.turns) == 3 for part in full["movie_triples"].values() for transcript in part
    )
    assert (
        sum(len(transcript.turns) for part in full["self_dialogue"].values() for transcript in part)
        == 364_118
    )


@pytest.mark.corpora
def test_no_id_stands_in_two_splits_of_any_corpus(full):
    seen = {}
    for name in ("self_dialogue", "chitchat"):
        for split, found in full[name].items():
            assert len({transcript.id for transcript in found}) == len(found)
            for transcript in found:
                assert split_of(transcript.id) == split
                assert seen.setdefault(transcript.id, split) == split


@pytest.mark.corpora
def test_no_conversation_of_a_test_split_stands_in_any_training_split_under_another_id(full):
    trained = {"".join(map(bare, t.turns)) for name in full for t in full[name]["train"]}
    leaked = {
        t.id
        for name in ("self_dialogue", "chitchat")
        for t in full[name]["test"]
        if size(t.turns) >= TELLING_WORDS and "".join(map(bare, t.turns)) in trained
    }
    assert leaked == HANDED_IN_OFTEN


@pytest.mark.corpora
def test_no_test_triple_stands_in_a_training_conversation(full):
    """MovieTriples comes with its own split: its test triples must come from test conversations of
    self-dialogue, and from nothing that is trained on.
    """
    triples = {
        tuple(map(bare, t.turns))
        for t in full["movie_triples"]["test"]
        if size(t.turns) >= TELLING_WORDS
    }

    def stretches(name, split):
        for transcript in full[name][split]:
            turns = list(map(bare, transcript.turns))
            yield from (tuple(turns[start : start + 3]) for start in range(len(turns) - 2))

    known = {
        t.id: list(map(bare, t.turns))
        for t in full["self_dialogue"]["test"]
        if t.id in HANDED_IN_OFTEN
    }
    excused = {
        tuple(turns[start : start + 3])
        for turns in known.values()
        for start in range(len(turns) - 2)
    }
    originals = triples & set(stretches("self_dialogue", "test"))
    assert len(originals) > 0.7 * len(triples), (
        "this cannot even find the triples where they come from"
    )
    for name in COUNTS:
        leaked = triples & set(stretches(name, "train")) - excused
        assert not leaked, (name, leaked)
