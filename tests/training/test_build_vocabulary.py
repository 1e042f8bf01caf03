import json
import re

import pytest

from dialogue.vocabulary import Vocabulary
from training import build_vocabulary
from training.corpora.transcript import split_of
from training.data.vocabulary import LONGEST, MODEL_TYPES, _learnable, _why_not, build

WORDS = [
    "music",
    "movies",
    "dogs",
    "cats",
    "football",
    "tennis",
    "books",
    "coffee",
    "snow",
    "beaches",
]


@pytest.fixture
def talk(tmp_path):
    """A JSONL corpus: training is about music and the like, the other splits about zebras."""
    lines = []
    for number in range(300):
        word = WORDS[number % len(WORDS)] if split_of(str(number)) == "train" else "zebra"
        lines.append(
            json.dumps(
                {"id": str(number), "turns": [f"do you like {word}?", f"yes, i like {word} a lot"]}
            )
        )
    path = tmp_path / "talk.jsonl"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def run(*arguments):
    return build_vocabulary.main([str(argument) for argument in arguments])


@pytest.mark.parametrize("kind", MODEL_TYPES)
def test_the_command_writes_a_vocabulary_of_the_type_and_reports_it(talk, tmp_path, capsys, kind):
    out = tmp_path / "new" / "vocabulary.model"
    assert run("--data", talk, "--out", out, "--size", 320, "--type", kind) == 0
    vocabulary = Vocabulary.load(out)
    assert len(vocabulary) <= 320
    texts = [f"do you like {word}?" for word in WORDS]
    assert all(vocabulary.unk_id not in vocabulary.encode(text) for text in texts)
    assert [vocabulary.decode(vocabulary.encode(text)) for text in texts] == texts
    conversations = sum(split_of(str(number)) == "train" for number in range(300))
    written = f"{len(vocabulary)} pieces from {conversations} conversations written to {out}\n"
    assert capsys.readouterr().out == "cleaned: nothing to clean\n" + written
    assert list(out.parent.iterdir()) == [out]


def test_a_vocabulary_is_built_from_the_training_split_alone(talk, tmp_path):
    out = tmp_path / "vocabulary.model"
    assert run("--data", talk, "--out", out, "--type", "word") == 0
    vocabulary = Vocabulary.load(out)
    assert vocabulary.encode("zebra?") == [vocabulary.unk_id]
    assert vocabulary.encode("music?") != [vocabulary.unk_id]


def test_no_piece_is_a_private_detail_unless_the_text_is_left_as_it_is(tmp_path, capsys):
    talk = tmp_path / "talk.txt"
    talk.write_text("write to zoe@example.org\nwrite to her\n" * 40, encoding="utf-8")
    found = {}
    for option in ("--clean", "--no-clean"):
        assert run("--data", talk, "--out", tmp_path / option, "--type", "word", option) == 0
        vocabulary = Vocabulary.load(tmp_path / option)
        found[option] = {vocabulary.piece(token_id) for token_id in range(len(vocabulary))}
    cleaned = capsys.readouterr().out.splitlines()[0]
    assert cleaned.startswith("cleaned: ")
    assert cleaned.endswith(" e-mail addresses")
    assert not any("zoe" in piece for piece in found["--clean"])
    assert any("zoe" in piece for piece in found["--no-clean"])


def test_unigram_is_the_type_where_none_is_named(talk, tmp_path):
    run("--data", talk, "--out", tmp_path / "named", "--size", 320, "--type", "unigram")
    run("--data", talk, "--out", tmp_path / "default", "--size", 320)
    assert (
        Vocabulary.load(tmp_path / "named").sha256 == Vocabulary.load(tmp_path / "default").sha256
    )


def test_the_same_texts_build_the_same_vocabulary(talk):
    texts = ["hi there you", "how are you", "do you like music"] * 3
    for kind in MODEL_TYPES:
        assert (
            build(texts, size=300, model_type=kind).sha256
            == build(texts, size=300, model_type=kind).sha256
        )


def test_a_larger_size_gives_more_pieces_up_to_what_the_texts_have():
    texts = [
        "the quick brown fox jumps over the lazy dog",
        "pack my box with five dozen liquor jugs",
    ] * 5
    sizes = [len(build(texts, size=size, model_type="bpe")) for size in (300, 330, 100_000)]
    assert sizes[:2] == [300, 330]
    assert 330 < sizes[2] < 1000


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (
            ["--type", "sentence"],
            "unknown vocabulary type 'sentence'; it is one of unigram, bpe, word, char",
        ),
        (["--size", "3"], "cannot build a unigram vocabulary of 3 pieces"),
        (["--size", "-1"], "--size is -1; it must be at least 1"),
        (["--size", "200", "--type", "char"], "build_vocabulary --type char --size N or more"),
        (["--size", "200"], "every common character of the texts come first, at least 28"),
        (["--data", "nowhere"], "no corpus 'nowhere'"),
    ],
)
def test_an_option_out_of_reach_is_a_sentence_and_writes_nothing(
    talk, tmp_path, capsys, arguments, complaint
):
    out = tmp_path / "out"
    assert run("--data", talk, "--out", out, *arguments) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("error: ")
    assert complaint in captured.err
    assert captured.out == ""
    assert not out.exists()


def test_bad_lines_stop_the_command_unless_they_are_to_be_skipped(talk, tmp_path, capsys):
    with talk.open("a") as file:
        file.write("no json\n{}\n")
    out = tmp_path / "out"
    assert run("--data", talk, "--out", out) == 2
    assert "talk.jsonl, line 301: not a conversation" in capsys.readouterr().err
    assert run("--data", talk, "--out", out, "--skip-bad-lines") == 0
    assert "2 bad lines skipped, the first: " in capsys.readouterr().out
    assert out.exists()


@pytest.mark.parametrize("texts", [[], [""], ["  ", "\n"]])
def test_no_text_at_all_is_refused(texts):
    with pytest.raises(ValueError, match="no text to build a vocabulary from"):
        build(texts)


def test_a_failing_build_keeps_the_vocabulary_that_was_there(talk, tmp_path):
    out = tmp_path / "vocabulary.model"
    out.write_bytes(b"the old one")
    assert run("--data", talk, "--out", out, "--size", 3) == 2
    assert out.read_bytes() == b"the old one"


@pytest.mark.parametrize("kind", ["unigram", "bpe", "char"])
@pytest.mark.parametrize(
    "long",
    [
        "zebra quick brown " * 5000,
        "zebraquickbrown" * 6000,
        "zebra quick ☃ brown " * 5000,
        "▅ zebra quick brown",
        "zebra ▅quick▅ brown",
    ],
    ids=["long", "without spaces", "of wide characters", "reserved", "reserved within"],
)
def test_no_turn_is_left_out_of_a_vocabulary(kind, long):
    """sentencepiece silently skips turns of over 65,536 bytes and turns that contain its own mark.

    Words that only they contained were then read as bytes, which no reply may have.
    """
    vocabulary = build([long, "hi there"], size=300, model_type=kind)
    for word in ("zebra", "quick", "brown"):
        pieces = "".join(vocabulary.piece(token_id) for token_id in vocabulary.encode(word))
        assert not re.search("<0x[67]", pieces), "a letter as a byte"


def test_turns_are_cut_for_the_vocabulary_alone_where_sentencepiece_would_leave_them_out():
    parts = list(_learnable("zebra quick " * 10_000))
    assert " ".join(parts).split() == ["zebra", "quick"] * 10_000
    assert all(len(part.encode()) <= LONGEST for part in parts)
    assert list(_learnable("a" * LONGEST)) == ["a" * LONGEST]
    wide = "☃" * 30_000
    assert "".join(_learnable(wide)) == wide


def test_the_advice_names_the_size_that_would_do_and_a_command_that_has_the_option():
    """The advice was to raise training.fit's --size, which does not exist; and not every failure
    was about the size.
    """
    with pytest.raises(
        ValueError,
        match=r"9260 in all; build one with .*build_vocabulary --type unigram --size 9260 or more",
    ):
        build(["".join(chr(0x4E00 + number) for number in range(9000))], size=8000)
    assert "--size" not in _why_not("INTERNAL: disk", size=8000, model_type="bpe")
