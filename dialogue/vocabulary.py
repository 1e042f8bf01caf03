"""Convert between text and token ids, with a sentencepiece model or a list of words.

Only this file knows sentencepiece. `normalise` is shared by training and talking: it changes case,
spacing and the form of quotes, and nothing else.
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
FEW = 1000  # so few texts are encoded before sentencepiece has started its threads
PLACEHOLDERS = ("<person>", "<number>", CONTINUED)  # MovieTriples' own marks, one id each

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
# White space and control characters, sentencepiece's own mark for a space, and halves of surrogate
# pairs: all of them count as spaces.
_SPACING = re.compile("[\\s\x00-\x1f\x7f-\x9f\u2581\ud800-\udfff\ufeff\u200b]+")
_DOUBLED_QUOTE = re.compile(r"''+")
_CONTRACTION = re.compile(r"(?<=[\w>]) ' ?(?=(?:s|t|m|re|ve|ll|d)\b)")
# A byte of UTF-8 that does not begin a character.
_CONTINUATION_BYTE = re.compile(r"<0x[89AB][0-9A-F]>")
_SPACED_STOP = re.compile(r" (?=[.,!?;:](?:\s|[.,!?;:]|$))")


def normalise(text: str) -> str:
    """Return an utterance in the form that the model reads.

    That is lower case, with plain quotes and no space before a stop: `don ' t`, `don’t` and `Don't`
    become `don't`, and `hello  , you` becomes `hello, you`. Idempotent.
    """
    text = _DOUBLED_QUOTE.sub('"', text.translate(_QUOTES))
    text = _SPACING.sub(" ", text.lower()).strip()
    return _SPACED_STOP.sub("", _CONTRACTION.sub("'", text))


def spaceless(text: str) -> str:
    """Return a text in the form that the model reads, without its spaces."""
    return normalise(text).replace(" ", "")


def without_marks(text: str) -> str:
    """Return a reply without <continued_utterance>, at each of which a sentence ends instead."""
    parts = [part for part in (part.strip() for part in text.split(CONTINUED)) if part]
    ended = [part if part[-1] in ".!?,;:" else f"{part}." for part in parts[:-1]]
    return " ".join([*ended, *parts[-1:]])


class Vocabulary:
    """A sentencepiece model or a list of words, behind the few calls that the project needs."""

    def __init__(self, serialised: bytes) -> None:
        """Load the bytes of a sentencepiece model or of a WordVocabulary.

        Raises ValueError if they are neither, or if the project's special pieces are missing.
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
            if not serialised:  # sentencepiece would take empty bytes for a missing argument
                raise RuntimeError("it is empty")
            return sentencepiece.SentencePieceProcessor(model_proto=serialised)
        except (RuntimeError, TypeError) as error:
            raise ValueError(
                f"this is not a sentencepiece model ({error}); "
                "build one with python -m training.build_vocabulary"
            ) from None

    @classmethod
    def of_words(cls, words: Sequence[str]) -> Vocabulary:
        """Return a vocabulary of whole words in the order of their ids.

        Any of the project's own marks that are missing are appended.
        """
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
                f"the vocabulary has no piece {piece}; "
                "build one with python -m training.build_vocabulary"
            )
        return int(token_id)

    @classmethod
    def load(cls, path: str | Path) -> Vocabulary:
        """Load a vocabulary file. Raises ValueError if it is missing or not a vocabulary."""
        path = Path(path)
        if not path.is_file():
            raise ValueError(
                f"there is no vocabulary at {path}; "
                "build one with python -m training.build_vocabulary"
            )
        try:
            # An editor may have put a byte order mark before a list of words.
            return cls(path.read_bytes().removeprefix(codecs.BOM_UTF8))
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None

    def __len__(self) -> int:
        return int(self._pieces.get_piece_size())

    @property
    def sha256(self) -> str:
        """The hash of the vocabulary, by which a checkpoint recognises it."""
        return hashlib.sha256(self.serialised).hexdigest()

    def encode(self, text: str) -> list[int]:
        """Return the token ids of a text after normalising it, without <s> and </s>."""
        ids: list[int] = self._pieces.encode(normalise(text))
        return ids

    def encode_beginning(self, text: str) -> list[int]:
        """Return the token ids of the beginning of a text.

        A final space is kept if the vocabulary has a piece for it.
        """
        space = self._pieces.piece_to_id("\u2581")
        known = self._pieces.id_to_piece(space) == "\u2581"
        return (
            [*self.encode(text), space]
            if known and text.strip() and text[-1].isspace()
            else self.encode(text)
        )

    def encode_all(self, texts: Sequence[str], *, spaced: bool = False) -> list[list[int]]:
        """Return the token ids of many texts.

        spaced: the texts are space-separated words, which a list of words looks up unchanged.
        """
        if spaced and isinstance(self._pieces, WordVocabulary):
            return [self._pieces.encode_words(text.split()) for text in texts]
        if len(texts) < FEW:
            return [self.encode(text) for text in texts]
        ids: list[list[int]] = self._pieces.encode([normalise(text) for text in texts])
        return ids

    def widths(self, text: str, *, spaced: bool = False) -> list[int]:
        """Return how many characters of the normalised text, spaces aside, each token stands for.

        Tokens are in the order of `encode_all`. A character that is read as several bytes is
        counted at the last of them.
        """
        if isinstance(self._pieces, WordVocabulary):
            return [
                len(spaceless(word))
                for word in (text.split() if spaced else stretches(normalise(text)))
            ]
        # With out_type=str an unknown piece is the text itself, not <unk>.
        pieces: list[str] = self._pieces.encode(normalise(text), out_type=str)
        goes_on = [bool(_CONTINUATION_BYTE.fullmatch(piece)) for piece in [*pieces, ""][1:]]
        is_byte = [self._pieces.is_byte(token_id) for token_id in self.encode(text)]
        return [
            int(not more) if byte else len(piece.replace("\u2581", ""))
            for piece, byte, more in zip(pieces, is_byte, goes_on, strict=True)
        ]

    def decode(self, token_ids: Iterable[int]) -> str:
        """Return the text of token ids, without <s>, </s> and <pad>.

        Raises ValueError if an id is out of range.
        """
        ids = [int(token_id) for token_id in token_ids]
        size = len(self)
        for token_id in ids:
            if not 0 <= token_id < size:
                raise ValueError(
                    f"token id {token_id} is out of range: "
                    f"this vocabulary has {size} pieces, 0 to {size - 1}"
                )
        skipped = (self.pad_id, self.bos_id, self.eos_id)
        text: str = self._pieces.decode([token_id for token_id in ids if token_id not in skipped])
        # A list of words gives "don ' t .", which becomes "don't."
        return normalise(text) if isinstance(self._pieces, WordVocabulary) else text

    def piece(self, token_id: int) -> str:
        """Return one token as sentencepiece writes it."""
        return str(self._pieces.id_to_piece(token_id))

    @property
    def never_generated(self) -> tuple[int, ...]:
        """The ids that no reply may contain: pad, unk, bos, <person>, <number> and byte pieces.

        A lone byte piece would decode to U+FFFD or a control character, so bytes are read but never
        written.
        """
        return tuple(
            sorted(
                {self.pad_id, self.unk_id, self.bos_id, *self.placeholder_ids[:2], *self.byte_ids}
            )
        )

    @property
    def byte_ids(self) -> frozenset[int]:
        """The pieces that stand for single bytes of characters missing from the vocabulary."""
        return frozenset(
            token_id for token_id in range(len(self)) if self._pieces.is_byte(token_id)
        )
