import io

import pytest
import sentencepiece
from hypothesis import given
from hypothesis import strategies as st

from dialogue.vocabulary import (
    BOS,
    EOS,
    PAD,
    PLACEHOLDERS,
    UNK,
    Vocabulary,
    normalise,
    without_marks,
)
from training.data.vocabulary import MODEL_TYPES, build

SENTENCES = [
    "Hi there, how are you?",
    "i'm fine, thanks <person>.",
    "what do you like, <person> ?",
    "i like <number> kinds of music.",
    "do you like music , too ?",
    "no <continued_utterance> i don ' t",
] * 5
VOCABULARIES = {kind: build(SENTENCES, size=400, model_type=kind) for kind in MODEL_TYPES}
READS_BYTES = [kind for kind in MODEL_TYPES if kind != "word"]

# Text as people, corpora and fuzzers write it: what normalise and sentencepiece treat specially,
# and any other code point.
AWKWARD = [
    *" '\"’`´ʼ‘“”„«».,!?;:stmdvrel<>_aAİΣςß\u2581\ufeff\u200b\n\r\t\x00\x07\x85\u2028",
    "''",
    " ' ",
    "don't",
    "🙂",
    "👩‍👧",
    "é",
    "e\u0301",
]
AWKWARD += [PAD, UNK, BOS, EOS, *PLACEHOLDERS, "<0x41>", "\ufffd", "\U0010ffff", "\uffff"]
TEXTS = st.lists(
    st.one_of(
        st.sampled_from(AWKWARD),
        st.characters(exclude_categories=()),
        st.characters(categories=["Cs"]),
    ),
    max_size=16,
).map("".join)

QUOTE_FORMS = str.maketrans(dict.fromkeys("‘’ʼ´`'“”„«»\"", ""))


def bare(text):
    """What must not change: the text without case, spacing and quotes."""
    kept = (
        text.translate(QUOTE_FORMS).lower().replace("ς", "σ")
    )  # whether a sigma is final depends on the spacing
    unprinted = {*map(chr, range(0x20)), *map(chr, range(0x7F, 0xA0)), "\u2581", "\ufeff", "\u200b"}
    return "".join(
        c for c in kept if not c.isspace() and c not in unprinted and not 0xD800 <= ord(c) <= 0xDFFF
    )


# --- normalise -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("don ' t", "don't"),
        ("don’t", "don't"),
        ("Don't", "don't"),
        ("DON `T", "don't"),
        ("we ' ll see what they ' ve got", "we'll see what they've got"),
        ("i ' d say it ' s what i ' m after , they ' re", "i'd say it's what i'm after, they're"),
        ("hello  , you", "hello, you"),
        ("so what ?", "so what?"),
        ("really ? !", "really?!"),
        ("  a\tb\r\nc ", "a b c"),
        ("“quoted”", '"quoted"'),
        ("`` quoted ''", '" quoted "'),
        ("«hi»", '"hi"'),
        ("a\u200bb\ufeffc\x07d\ud83d", "a b c d"),
        ("rock ' n ' roll", "rock ' n ' roll"),
        ("version .5 of it", "version .5 of it"),
        ("ÄÖÜ 🙂", "äöü 🙂"),
        ("", ""),
        (" \n ", ""),
    ],
)
def test_normalise_brings_case_spacing_and_quotes_to_one_form(written, read):
    assert normalise(written) == read


@given(TEXTS)
def test_normalising_twice_changes_nothing_more(text):
    assert normalise(normalise(text)) == normalise(text)


@given(TEXTS)
def test_normalise_changes_only_case_spacing_and_quote_forms(text):
    assert bare(normalise(text)) == bare(text)


@pytest.mark.parametrize("kind", MODEL_TYPES)
def test_forms_of_one_contraction_have_the_same_token_ids(kind):
    forms = ["i don ' t", "i don’t", "I Don't", " i  don`t "]
    assert len({tuple(VOCABULARIES[kind].encode(form)) for form in forms}) == 1


# --- ids -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", MODEL_TYPES)
def test_each_special_piece_has_an_id_of_its_own(kind):
    vocabulary = VOCABULARIES[kind]
    ids = [
        vocabulary.pad_id,
        vocabulary.unk_id,
        vocabulary.bos_id,
        vocabulary.eos_id,
        *vocabulary.placeholder_ids,
    ]
    assert len(set(ids)) == 7
    assert [vocabulary.piece(token_id).removeprefix("▁") for token_id in ids] == [
        PAD,
        UNK,
        BOS,
        EOS,
        *PLACEHOLDERS,
    ]
    assert all(0 <= token_id < len(vocabulary) for token_id in ids)


@pytest.mark.parametrize("kind", MODEL_TYPES)
@pytest.mark.parametrize("place", range(len(PLACEHOLDERS)))
def test_a_placeholder_in_a_text_becomes_its_own_id(kind, place):
    """The word type made a second piece of it, "▁<person>", which never_generated did not know."""
    vocabulary = VOCABULARIES[kind]
    ids = vocabulary.encode(f"music {PLACEHOLDERS[place]} music")
    assert ids.count(vocabulary.placeholder_ids[place]) == 1
    space = [token_id for token_id in range(len(vocabulary)) if vocabulary.piece(token_id) == "▁"]
    around = [token_id for token_id in vocabulary.encode("music") if token_id not in space]
    assert [token_id for token_id in ids if token_id not in space] == [
        *around,
        vocabulary.placeholder_ids[place],
        *around,
    ]


@pytest.mark.parametrize("kind", MODEL_TYPES)
def test_control_pieces_written_out_in_a_text_are_plain_text(kind):
    vocabulary = VOCABULARIES[kind]
    ids = vocabulary.encode(f"{PAD} {BOS} a {EOS} b")
    assert not {vocabulary.pad_id, vocabulary.bos_id, vocabulary.eos_id} & set(ids)


@pytest.mark.parametrize("kind", MODEL_TYPES)
def test_never_generated_are_the_silent_pieces_and_nothing_else(kind):
    vocabulary = VOCABULARIES[kind]
    person, number, continued = PLACEHOLDERS
    silent = {PAD, UNK, BOS, person, number, *(f"<0x{byte:02X}>" for byte in range(256))}
    pieces = [vocabulary.piece(token_id) for token_id in range(len(vocabulary))]
    expected = [
        token_id for token_id, piece in enumerate(pieces) if piece.removeprefix("▁") in silent
    ]
    assert list(vocabulary.never_generated) == expected
    assert len(expected) >= (5 if kind == "word" else 5 + 256)
    assert not {EOS, continued} & {
        pieces[token_id].removeprefix("▁") for token_id in vocabulary.never_generated
    }


@pytest.mark.parametrize("kind", MODEL_TYPES)
def test_encoding_many_texts_is_encoding_each(kind):
    texts = ["hi there", "", "I don ' t", "ünknown"]
    assert VOCABULARIES[kind].encode_all(texts) == [
        VOCABULARIES[kind].encode(text) for text in texts
    ]


# --- text -> ids -> text -------------------------------------------------------------------------


@pytest.mark.parametrize("kind", READS_BYTES)
@given(text=TEXTS)
def test_any_text_comes_back_from_its_ids_in_its_normal_form(kind, text):
    vocabulary = VOCABULARIES[kind]
    ids = vocabulary.encode(text)
    assert all(0 <= token_id < len(vocabulary) for token_id in ids)
    assert vocabulary.decode(ids) == normalise(text)


def test_words_of_a_word_vocabulary_come_back_and_others_become_unk():
    vocabulary = VOCABULARIES["word"]
    assert (
        vocabulary.decode(vocabulary.encode("do you like music, you")) == "do you like music, you"
    )
    assert vocabulary.encode("zebra") == [vocabulary.unk_id]


@pytest.mark.parametrize("kind", READS_BYTES)
def test_no_character_reads_as_unk_where_bytes_do(kind):
    assert VOCABULARIES[kind].unk_id not in VOCABULARIES[kind].encode("ünïcödé 🙂 中文 \U0010ffff")


@pytest.mark.parametrize("kind", MODEL_TYPES)
def test_pad_bos_and_eos_vanish_when_decoded(kind):
    vocabulary = VOCABULARIES[kind]
    ids = vocabulary.encode("do you like")
    closed = [vocabulary.bos_id, *ids, vocabulary.eos_id, vocabulary.pad_id, vocabulary.pad_id]
    assert vocabulary.decode(closed) == "do you like"
    assert vocabulary.decode([]) == ""


@pytest.mark.parametrize("kind", MODEL_TYPES)
def test_decoding_an_id_out_of_range_is_refused(kind):
    """An earlier bot's vocabulary had 10,004 rows and ids up to 10,007, which killed it inside
    CUDA.
    """
    size = len(VOCABULARIES[kind])
    VOCABULARIES[kind].decode([size - 1])
    for token_id in (-1, size, size + 3, 1 << 40):
        with pytest.raises(
            ValueError, match=f"token id {token_id} is out of range.* {size} pieces"
        ):
            VOCABULARIES[kind].decode([7, token_id])


# --- files ---------------------------------------------------------------------------------------


def test_a_vocabulary_read_from_its_file_is_the_same_one(tmp_path):
    path = tmp_path / "vocabulary.model"
    path.write_bytes(VOCABULARIES["bpe"].serialised)
    read = Vocabulary.load(path)
    assert read.sha256 == VOCABULARIES["bpe"].sha256
    assert read.encode("do you like music?") == VOCABULARIES["bpe"].encode("do you like music?")
    assert read.sha256 != VOCABULARIES["char"].sha256


def test_a_missing_vocabulary_file_is_refused_by_name(tmp_path):
    with pytest.raises(ValueError, match=r"no vocabulary at .*nowhere\.model.*build_vocabulary"):
        Vocabulary.load(tmp_path / "nowhere.model")


@pytest.mark.parametrize(
    "content", [b"", b"\x00", b"not a model", VOCABULARIES["unigram"].serialised[:100]]
)
def test_bytes_that_are_no_sentencepiece_model_are_refused(content):
    """Empty bytes counted as "no model given": the processor stayed empty and failed later with an
    IndexError.
    """
    with pytest.raises(ValueError, match=r"not a sentencepiece model"):
        Vocabulary(content)


@pytest.mark.parametrize("lacking", ["<pad>", "<person>"])
def test_a_sentencepiece_model_without_our_special_pieces_is_refused(lacking):
    pad = {} if lacking == PAD else {"pad_id": 3, "pad_piece": PAD}
    symbols = [] if lacking == "<person>" else list(PLACEHOLDERS)
    written = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(SENTENCES), model_writer=written, vocab_size=60,
        hard_vocab_limit=False, minloglevel=2,
        user_defined_symbols=symbols, **pad,
    )  # fmt: skip
    with pytest.raises(ValueError, match=f"no piece {lacking}"):
        Vocabulary(written.getvalue())


@pytest.mark.parametrize(
    ("written", "spoken"),
    [
        ("haha <continued_utterance> me too", "haha. me too"),
        ("really? <continued_utterance> why", "really? why"),
        ("<continued_utterance> hi <continued_utterance>", "hi"),
        ("plain", "plain"),
        ("<continued_utterance>", ""),
    ],
)
def test_a_mark_is_the_end_of_a_sentence(written, spoken):
    assert without_marks(written) == spoken


# --- widths --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", MODEL_TYPES)
@given(TEXTS)
def test_tokens_stand_for_all_characters_of_a_text_and_for_each_once(kind, text):
    vocabulary = VOCABULARIES[kind]
    widths = vocabulary.widths(text)
    assert len(widths) == len(vocabulary.encode(text))
    assert sum(widths) == len(normalise(text).replace(" ", ""))


def test_a_character_of_several_bytes_stands_at_its_last_one():
    assert VOCABULARIES["char"].widths("hi漢i")[-6:] == [1, 1, 0, 0, 1, 1]
