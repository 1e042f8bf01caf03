"""The vocabulary of a run: built from texts by sentencepiece, read from a file, and how far it fits a text."""

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

THREADS = 4  # a constant: the pieces may depend on it
MODEL_TYPES = ("unigram", "bpe", "word", "char")
# What sentencepiece leaves out: texts of more bytes, and texts with the character that it marks
# unknown words by inside.
LONGEST, BYTES_A_CHARACTER, RESERVED = 1 << 16, 4, "\u2585"
MUCH_FOREIGN, MOST_FOREIGN = (
    0.05,
    0.4,
)  # shares of tokens; a list of words has some unknown ones in its own language, too


def build(texts: Iterable[str], *, size: int = 8000, model_type: str = "unigram") -> Vocabulary:
    """Fit a vocabulary of at most `size` pieces to texts.

    Unigram, bpe and char fall back on bytes, so that any text can be read; words cannot (their pieces would leak a
    space mark into decoded text). Raises ValueError on an unknown type, a size out of reach, or no text at all.
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
            hard_vocab_limit=False,  # a small corpus may have fewer pieces to give
            use_all_vocab=model_type == "char",
            byte_fallback=model_type != "word",
            character_coverage=0.9995,
            normalization_rule_name="identity",  # dialogue.vocabulary.normalise is the one place that changes text
            pad_id=0, pad_piece=PAD, unk_id=1, unk_piece=UNK, bos_id=2, bos_piece=BOS, eos_id=3, eos_piece=EOS,
            user_defined_symbols=[f"\u2581{mark}" if model_type == "word" else mark for mark in PLACEHOLDERS],
            max_sentence_length=LONGEST,
            num_threads=THREADS,
            minloglevel=2,
        )  # fmt: skip
    except (RuntimeError, ValueError) as error:  # the latter of a size that no computer counts to
        raise ValueError(_why_not(str(error), size=size, model_type=model_type)) from None
    return Vocabulary(written.getvalue())


def turns_of(transcripts: Iterable[Transcript]) -> Iterator[str]:
    """Yield the turns of conversations, each as many times as a pass reads it."""
    return (
        turn
        for transcript in transcripts
        for _ in range(transcript.times)
        for turn in transcript.turns
    )


def check_type(model_type: str) -> None:
    """Make sure that there is such a type of vocabulary. Raises ValueError where there is none."""
    if model_type not in MODEL_TYPES:
        raise ValueError(
            f"unknown vocabulary type {model_type!r}; it is one of {', '.join(MODEL_TYPES)}"
        )


def _learnable(text: str) -> Iterator[str]:
    """Cut a normalised text where sentencepiece would leave all of it out, without a word."""
    for part in text.split(RESERVED):
        start = 0
        while len(part[start : start + LONGEST].encode()) > LONGEST or len(part) - start > LONGEST:
            end = start + LONGEST // BYTES_A_CHARACTER
            space = part.rfind(" ", start, end)
            end = space if space > start else end
            yield part[start:end].strip()
            start = end
        if rest := part[start:].strip():
            yield rest


def _why_not(reason: str, *, size: int, model_type: str) -> str:
    """Say why sentencepiece built no vocabulary, and what to do, in whichever command it was to."""
    needed = re.search(r"required_chars\. \d+ vs (\d+)", reason)
    what = f"sentencepiece cannot build a {model_type} vocabulary of {size} pieces"
    if not needed and "vocab_size" not in reason:
        return f"{what}: {reason}"
    least = f"at least {needed[1]}" if needed else f"more than {size}"
    return (
        f"{what}: the marks, 256 bytes (but for words) and every common character of the texts come first, {least} in all; "
        f"build one with python -m training.build_vocabulary --type {model_type} --size {needed[1] if needed else 'N'} "
        "or more, which training.fit takes by --vocabulary"
    )


def save(vocabulary: Vocabulary, path: Path) -> None:
    """Write a vocabulary, replacing the file atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, lambda partial: partial.write_bytes(vocabulary.serialised))


def load_vocabulary(file: Path, names: Sequence[str]) -> Vocabulary:
    """Read a vocabulary, or MovieTriples' list of words as one: `dict`, where the corpora of these names lie, or its file.

    Raises ValueError where there is none.
    """
    if str(file) == "dict":
        file = corpora.word_list_of(names)
    return pickled.vocabulary(file) if file.suffix == ".pkl" else Vocabulary.load(file)


def foreign(encoded: Encoded, vocabulary: Vocabulary) -> list[str]:
    """Say how much of a text the vocabulary can only spell in bytes, where that is much.

    Raises ValueError where it is most: what is spelt so is read, but never said.
    """
    unwritable = vocabulary.byte_ids | {vocabulary.unk_id}
    tokens = [
        token for conversation in encoded.conversations for turn in conversation for token in turn
    ]
    share = sum(token in unwritable for token in tokens) / max(1, len(tokens))
    found = f"{share:.0%} of the tokens are bytes or unknown: this vocabulary does not know the language or the signs of the text"
    if share > MOST_FOREIGN:
        raise ValueError(
            f"{found}; build one with python -m training.build_vocabulary, and name it with --vocabulary"
        )
    return [f"{found}, and a model with it never says them"] if share > MUCH_FOREIGN else []
