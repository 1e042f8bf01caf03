"""A run's vocabulary: built from texts by sentencepiece or loaded, and checked against a text."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import sentencepiece

from dialogue.atomic_file import replace_file
from dialogue.vocabulary import BOS, EOS, PAD, PLACEHOLDERS, UNK, Vocabulary, normalise
from training import corpora
from training.corpora import pickled
from training.corpora.transcript import Transcript
from training.data.batches import Encoded

THREADS = 4  # fixed, because the pieces may depend on it
MODEL_TYPES = ("unigram", "bpe", "word", "char")
# sentencepiece silently skips texts of more than LONGEST bytes, and texts that contain the
# character it uses internally to mark unknown words.
LONGEST, BYTES_A_CHARACTER, RESERVED = 1 << 16, 4, "\u2585"
# Fractions of tokens. Even in its own language a word list leaves some words unknown.
MUCH_FOREIGN, MOST_FOREIGN = 0.05, 0.4


def build(texts: Iterable[str], *, size: int = 8000, model_type: str = "unigram") -> Vocabulary:
    """Fit a vocabulary of at most `size` pieces to texts.

    Unigram, bpe and char fall back on bytes, so that they can encode any text. word cannot: its
    byte pieces would leak a space mark into decoded text. Raises ValueError on an unknown type, an
    impossible size, or if there is no text.
    """
    check_type(model_type)
    sentences = [part for text in map(normalise, texts) for part in _learnable(text)]
    if not sentences:
        raise ValueError("there is no text to build a vocabulary from")
    written = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(sentences),
            model_writer=written,
            vocab_size=size,
            model_type=model_type,
            hard_vocab_limit=False,  # a small corpus may not yield that many pieces
            use_all_vocab=model_type == "char",
            byte_fallback=model_type != "word",
            character_coverage=0.9995,
            normalization_rule_name="identity",  # only dialogue.vocabulary.normalise changes text
            pad_id=0, pad_piece=PAD, unk_id=1, unk_piece=UNK,
            bos_id=2, bos_piece=BOS, eos_id=3, eos_piece=EOS,
            user_defined_symbols=[
                f"\u2581{mark}" if model_type == "word" else mark for mark in PLACEHOLDERS
            ],
            max_sentence_length=LONGEST,
            num_threads=THREADS,
            minloglevel=2,
        )  # fmt: skip
    except (RuntimeError, ValueError) as error:  # ValueError: the size overflows an integer
        raise ValueError(_why_not(str(error), size=size, model_type=model_type)) from None
    return Vocabulary(written.getvalue())


def turns_of(transcripts: Iterable[Transcript]) -> Iterator[str]:
    """Yield the turns of conversations, each as many times as one pass reads it."""
    return (
        turn
        for transcript in transcripts
        for _ in range(transcript.times)
        for turn in transcript.turns
    )


def check_type(model_type: str) -> None:
    """Raise ValueError on an unknown vocabulary type."""
    if model_type not in MODEL_TYPES:
        raise ValueError(
            f"unknown vocabulary type {model_type!r}; it is one of {', '.join(MODEL_TYPES)}"
        )


def _learnable(text: str) -> Iterator[str]:
    """Cut a normalised text into parts that sentencepiece does not silently skip."""
    for part in text.split(RESERVED):
        start = 0
        # Cut at a space within a piece that fits even if every character takes four bytes.
        while len(part[start : start + LONGEST].encode()) > LONGEST or len(part) - start > LONGEST:
            end = start + LONGEST // BYTES_A_CHARACTER
            space = part.rfind(" ", start, end)
            end = space if space > start else end
            yield part[start:end].strip()
            start = end
        if rest := part[start:].strip():
            yield rest


def _why_not(reason: str, *, size: int, model_type: str) -> str:
    """Explain why sentencepiece built no vocabulary, and what to do, whichever command was used."""
    needed = re.search(r"required_chars\. \d+ vs (\d+)", reason)
    what = f"sentencepiece cannot build a {model_type} vocabulary of {size} pieces"
    if not needed and "vocab_size" not in reason:
        return f"{what}: {reason}"
    least = f"at least {needed[1]}" if needed else f"more than {size}"
    return (
        f"{what}: the marks, 256 bytes (except for type word) and every common character of the "
        f"texts come first, {least} in all; build one with python -m training.build_vocabulary "
        f"--type {model_type} --size {needed[1] if needed else 'N'} or more, "
        "and pass it to training.fit with --vocabulary"
    )


def save(vocabulary: Vocabulary, path: Path) -> None:
    """Write a vocabulary, replacing the file atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, lambda partial: partial.write_bytes(vocabulary.serialised))


def load_vocabulary(file: Path, names: Sequence[str]) -> Vocabulary:
    """Load a vocabulary from a file, or build one from MovieTriples' word list.

    `dict` stands for the word list that belongs to these corpora; a .pkl file is read as one.
    Raises ValueError if it is missing.
    """
    if str(file) == "dict":
        file = corpora.word_list_of(names)
    return pickled.vocabulary(file) if file.suffix == ".pkl" else Vocabulary.load(file)


def foreign(encoded: Encoded, vocabulary: Vocabulary) -> list[str]:
    """Return warnings if much of a text is bytes or unknown tokens in the vocabulary.

    Raises ValueError if their share exceeds MOST_FOREIGN: a model reads such tokens but never says
    them.
    """
    unwritable = vocabulary.byte_ids | {vocabulary.unk_id}
    tokens = [
        token for conversation in encoded.conversations for turn in conversation for token in turn
    ]
    share = sum(token in unwritable for token in tokens) / max(1, len(tokens))
    found = (
        f"{share:.0%} of the tokens are bytes or unknown: this vocabulary does not fit the "
        "language or script of the text"
    )
    if share > MOST_FOREIGN:
        raise ValueError(
            f"{found}; build one with python -m training.build_vocabulary, "
            "and pass it with --vocabulary"
        )
    return [f"{found}, and a model with it never says them"] if share > MUCH_FOREIGN else []
