"""A list of words with fixed ids, as in MovieTriples, with the interface of a sentencepiece model.

Text is split like MovieTriples: lower case, words and runs of punctuation separated (`don't` is
`don ' t`), numbers as <number>. A word that is not in the list is <unk>.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence

UNK = "<unk>"
_TOKEN = re.compile(r"<\w+>|\w+|[^\w\s]+")


def taken_apart(text: str) -> list[str]:
    """Split a text into words like those of MovieTriples."""
    return ["<number>" if stretch.isdigit() else stretch for stretch in stretches(text)]


def stretches(text: str) -> list[str]:
    """Split a text as `taken_apart` does, but keep numbers as they are."""
    return _TOKEN.findall(text.lower())


class WordVocabulary:
    """Words by id and ids by word, behind the calls of a sentencepiece processor."""

    def __init__(self, words: Sequence[str]) -> None:
        """Take the words in the order of their ids.

        Raises ValueError if a word occurs twice, is empty or contains a space, or if <unk> is
        missing.
        """
        self._words = list(words)
        self._ids = {word: token_id for token_id, word in enumerate(words)}
        if len(self._ids) != len(self._words):
            twice = next(word for token_id, word in enumerate(words) if self._ids[word] != token_id)
            raise ValueError(f"the word {twice!r} is in the list twice; each word has one id")
        wrong = next((word for word in words if word.split() != [word]), None)
        if wrong is not None:
            raise ValueError(
                f"{wrong!r} is not a word: a word has at least one character, and no space"
            )
        if UNK not in self._ids:
            raise ValueError(f"the list has no {UNK}, which stands for every other word")

    @classmethod
    def read(cls, serialised: bytes) -> WordVocabulary:
        """Load what `serialise` returned. Raises ValueError if it is not a list of words."""
        try:
            words = json.loads(serialised)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"this is not a list of words in JSON ({error})") from None
        if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
            raise ValueError("this is not a list of words: expected a JSON list of texts")
        return cls(words)

    def serialise(self) -> bytes:
        """Return the list as JSON: the words in the order of their ids."""
        return json.dumps(self._words, ensure_ascii=False).encode()

    def encode_words(self, words: Iterable[str]) -> list[int]:
        """Return the ids of words; a word that is not in the list is <unk>."""
        unk = self._ids[UNK]
        return [self._ids.get(word, unk) for word in words]

    def encode(self, text: str | Sequence[str]) -> list[int] | list[list[int]]:
        """Return the ids of the words of a text, or of several texts."""
        if isinstance(text, str):
            return self.encode_words(taken_apart(text))
        return [self.encode_words(taken_apart(one)) for one in text]

    def decode(self, token_ids: Iterable[int]) -> str:
        """Return the words of ids, separated by spaces."""
        return " ".join(self._words[token_id] for token_id in token_ids)

    def piece_to_id(self, piece: str) -> int:
        """Return the id of one word."""
        return self._ids.get(piece, self._ids[UNK])

    def id_to_piece(self, token_id: int) -> str:
        """Return the word of an id."""
        return self._words[token_id]

    def get_piece_size(self) -> int:
        """Return the number of words."""
        return len(self._words)

    def is_byte(self, token_id: int) -> bool:
        """Return False: unlike a piece of sentencepiece, no word stands for a single byte."""
        return False
