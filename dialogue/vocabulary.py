"""Text <-> token ids, by the pieces of sentencepiece or by a list of words. The only file that knows sentencepiece.

`normalise` is what training and talking have in common: it changes case, spacing and the form of quotes, nothing else.
"""

from __future__ import annotations

import codecs
import hashlib
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import sentencepiece

from dialogue.word_vocabulary import WordVocabulary, stretches

PAD, UNK, BOS, EOS = "<pad>", "<unk>", "<s>", "</s>"
CONTINUED = "<continued_utterance>"
PLACEHOLDERS = ("<person>", "<number>", CONTINUED)  # MovieTriples' own marks: one id each

_QUOTES = str.maketrans(
    {
        "‘": "'",
        "’": "'",
        "ʼ": "'",
        "´": "'",
        "`": "'",
        "“": '"',
        "”": '"',
        "„": '"',
        "«": '"',
        "»": '"',
    }
)
# Characters that end or break a line, sentencepiece's own mark for a space, and halves of surrogate pairs: all of them spacing.
_SPACING = re.compile("[\\s\x00-\x1f\x7f-\x9f\u2581\ud800-\udfff\ufeff\u200b]+")
_DOUBLED_QUOTE = re.compile(r"''+")
_CONTRACTION = re.compile(r"(?<=[\w>]) ' ?(?=(?:s|t|m|re|ve|ll|d)\b)")
_CONTINUATION_BYTE = re.compile(
    r"<0x[89AB][0-9A-F]>"
)  # of UTF-8: one that does not begin a character
_SPACED_STOP = re.compile(r" (?=[.,!?;:](?:\s|[.,!?;:]|$))")


def normalise(text: str) -> str:
    """Bring an utterance to the form that the model reads: lower case, plain quotes, "don't", no space before a stop.

    `don ' t`, `don’t` and `Don't` become `don't`; `hello  , you` becomes `hello, you`. Idempotent.
    """
    text = _DOUBLED_QUOTE.sub('"', text.translate(_QUOTES))
    text = _SPACING.sub(" ", text.lower()).strip()
    return _SPACED_STOP.sub("", _CONTRACTION.sub("'", text))


def spaceless(text: str) -> str:
    """Give the characters of a text in the form that the model reads, without the spaces between them."""
    return normalise(text).replace(" ", "")


def without_marks(text: str) -> str:
    """Write a reply as one says it: where a speaker went on after <continued_utterance>, a sentence ends."""
    parts = [part for part in (part.strip() for part in text.split(CONTINUED)) if part]
    ended = [part if part[-1] in ".!?,;:" else f"{part}." for part in parts[:-1]]
    return " ".join([*ended, *parts[-1:]])


class Vocabulary:
    """A sentencepiece model, or a list of words, behind the few things that the project asks of one."""

    def __init__(self, serialised: bytes) -> None:
        """Load from the bytes of a sentencepiece model or of a WordVocabulary.

        Raises ValueError where they are none, or where the special pieces of this project are missing.
        """
        self._pieces: Any = (
            WordVocabulary.read(serialised)
            if serialised.startswith(b"[")
            else self._sentencepiece(serialised)
        )
        self.serialised = serialised
        self.pad_id, self.unk_id, self.bos_id, self.eos_id = (
            self._special(piece) for piece in (PAD, UNK, BOS, EOS)
        )
        self.placeholder_ids = tuple(self._special(piece) for piece in PLACEHOLDERS)

    @staticmethod
    def _sentencepiece(serialised: bytes) -> Any:
        try:
            if not serialised:  # sentencepiece would take them for no argument
                raise RuntimeError("it is empty")
            return sentencepiece.SentencePieceProcessor(model_proto=serialised)
        except (RuntimeError, TypeError) as error:
            raise ValueError(
                f"this is not a sentencepiece model ({error}); build one with python -m training.build_vocabulary"
            ) from None

    @classmethod
    def of_words(cls, words: Sequence[str]) -> Vocabulary:
        """Make a vocabulary of whole words at the places of their ids; the marks of this project that lack come after them."""
        marks = (PAD, UNK, BOS, EOS, *PLACEHOLDERS)
        known = set(words)
        return cls(
            WordVocabulary([*words, *(mark for mark in marks if mark not in known)]).serialise()
        )

    def _special(self, piece: str) -> int:
        for written in (piece, "\u2581" + piece):  # words carry the space before them
            token_id = self._pieces.piece_to_id(written)
            if self._pieces.id_to_piece(token_id) == written:
                break
        else:
            raise ValueError(
                f"the vocabulary has no piece {piece}; build one with python -m training.build_vocabulary"
            )
        return int(token_id)

    @classmethod
    def load(cls, path: str | Path) -> Vocabulary:
        """Read a vocabulary file. Raises ValueError where it is missing or no sentencepiece model."""
        path = Path(path)
        if not path.is_file():
            raise ValueError(
                f"there is no vocabulary at {path}; build one with python -m training.build_vocabulary"
            )
        try:
            # An editor may have put a mark before a list of words.
            return cls(path.read_bytes().removeprefix(codecs.BOM_UTF8))
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None

    def __len__(self) -> int:
        return int(self._pieces.get_piece_size())

    @property
    def sha256(self) -> str:
        """Name the vocabulary by its content: what a checkpoint remembers of it."""
        return hashlib.sha256(self.serialised).hexdigest()

    def encode(self, text: str) -> list[int]:
        """Turn text into token ids, normalised first, without <s> and </s>."""
        ids: list[int] = self._pieces.encode(normalise(text))
        return ids

    def encode_beginning(self, text: str) -> list[int]:
        """Encode what a text begins with: where a space ends it, that stays, if the vocabulary has a piece for it."""
        space = self._pieces.piece_to_id("\u2581")
        known = self._pieces.id_to_piece(space) == "\u2581"
        return (
            [*self.encode(text), space]
            if known and text.strip() and text[-1].isspace()
            else self.encode(text)
        )

    def encode_all(self, texts: Sequence[str], *, spaced: bool = False) -> list[list[int]]:
        """Encode many texts in one call. spaced: they are words apart by spaces, which a list of words takes as they are."""
        if spaced and isinstance(self._pieces, WordVocabulary):
            return [self._pieces.encode_words(text.split()) for text in texts]
        ids: list[list[int]] = self._pieces.encode([normalise(text) for text in texts])
        return ids

    def widths(self, text: str, *, spaced: bool = False) -> list[int]:
        """Count the characters of the normalised text, without spaces, that each of its tokens stands for.

        In the order of the tokens of `encode_all`. Of a character that is read as bytes the last one stands for it.
        """
        if isinstance(self._pieces, WordVocabulary):
            return [
                len(spaceless(word))
                for word in (text.split() if spaced else stretches(normalise(text)))
            ]
        pieces: list[str] = self._pieces.encode(
            normalise(text), out_type=str
        )  # what is unknown stands for itself here
        goes_on = [bool(_CONTINUATION_BYTE.fullmatch(piece)) for piece in [*pieces, ""][1:]]
        is_byte = [self._pieces.is_byte(token_id) for token_id in self.encode(text)]
        return [
            int(not more) if byte else len(piece.replace("\u2581", ""))
            for piece, byte, more in zip(pieces, is_byte, goes_on, strict=True)
        ]

    def decode(self, token_ids: Iterable[int]) -> str:
        """Turn token ids into text; <s>, </s> and <pad> vanish. Raises ValueError where an id is out of range."""
        ids = [int(token_id) for token_id in token_ids]
        size = len(self)
        for token_id in ids:
            if not 0 <= token_id < size:
                raise ValueError(
                    f"token id {token_id} is out of range: this vocabulary has {size} pieces, 0 to {size - 1}"
                )
        skipped = (self.pad_id, self.bos_id, self.eos_id)
        text: str = self._pieces.decode([token_id for token_id in ids if token_id not in skipped])
        return (
            normalise(text) if isinstance(self._pieces, WordVocabulary) else text
        )  # "don ' t ." is "don't."

    def piece(self, token_id: int) -> str:
        """Show one token as sentencepiece writes it."""
        return str(self._pieces.id_to_piece(token_id))

    @property
    def never_generated(self) -> tuple[int, ...]:
        """List the ids that no reply may hold: pad, unk, bos, <person>, <number> and the byte pieces.

        A lone byte piece would decode to U+FFFD or a control character, so bytes are read but never written.
        """
        return tuple(
            sorted(
                {self.pad_id, self.unk_id, self.bos_id, *self.placeholder_ids[:2], *self.byte_ids}
            )
        )

    @property
    def byte_ids(self) -> frozenset[int]:
        """The pieces that stand for single bytes of what the vocabulary has no letters for."""
        return frozenset(
            token_id for token_id in range(len(self)) if self._pieces.is_byte(token_id)
        )
