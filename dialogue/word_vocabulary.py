"""A list of words with fixed ids, as MovieTriples has it: what `Vocabulary` asks of a sentencepiece model, for whole words.

Written text is taken apart as MovieTriples was: lower case, words and runs of punctuation apart (`don't` is `don ' t`),
numbers as <number>. A word that is not in the list is <unk>.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence

UNK = "<unk>"
_TOKEN = re.compile(r"<\w+>|\w+|[^\w\s]+")


def taken_apart(text: str) -> list[str]:
    """Split a written text into the words that MovieTriples would have of it."""
    return ["<number>" if stretch.isdigit() else stretch for stretch in stretches(text)]


def stretches(text: str) -> list[str]:
    """Split a written text where `taken_apart` does, numbers as they are."""
    return _TOKEN.findall(text.lower())


class WordVocabulary:
    """Words by id and ids by word, behind the calls of a sentencepiece processor."""

    def __init__(self, words: Sequence[str]) -> None:
        """Take the words, each at the place of its id. Raises ValueError where one stands twice, holds a space, or <unk> lacks."""
        self._words, self._ids = (
            list(words),
            {word: token_id for token_id, word in enumerate(words)},
        )
        if len(self._ids) != len(self._words):
            twice = next(word for token_id, word in enumerate(words) if self._ids[word] != token_id)
            raise ValueError(f"the word {twice!r} stands twice in the list; each has one id")
        wrong = next((word for word in words if word.split() != [word]), None)
        if wrong is not None:
            raise ValueError(
                f"{wrong!r} is no word: a word has no space, and one character at least"
            )
        if UNK not in self._ids:
            raise ValueError(f"the list has no {UNK}, which stands for every other word")

    @classmethod
    def read(cls, serialised: bytes) -> WordVocabulary:
        """Read what `serialise` wrote. Raises ValueError where it is no list of words."""
        try:
            words = json.loads(serialised)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"this is no list of words as JSON ({error})") from None
        if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
            raise ValueError("this is no list of words: a JSON list of texts is expected")
        return cls(words)

    def serialise(self) -> bytes:
        """Write the list as JSON: the words in the order of their ids."""
        return json.dumps(self._words, ensure_ascii=False).encode()

    def encode_words(self, words: Iterable[str]) -> list[int]:
        """Look words up: those that are not in the list are <unk>."""
        unk = self._ids[UNK]
        return [self._ids.get(word, unk) for word in words]

    def encode(self, text: str | Sequence[str]) -> list[int] | list[list[int]]:
        """Look up the words of a written text, or of several."""
        if isinstance(text, str):
            return self.encode_words(taken_apart(text))
        return [self.encode_words(taken_apart(one)) for one in text]

    def decode(self, token_ids: Iterable[int]) -> str:
        """Write words with spaces between them."""
        return " ".join(self._words[token_id] for token_id in token_ids)

    def piece_to_id(self, piece: str) -> int:
        """Look one word up."""
        return self._ids.get(piece, self._ids[UNK])

    def id_to_piece(self, token_id: int) -> str:
        """Give the word of an id."""
        return self._words[token_id]

    def get_piece_size(self) -> int:
        """Count the words."""
        return len(self._words)

    def is_byte(self, token_id: int) -> bool:
        """Tell that no word is a single byte of another text, as a piece of sentencepiece may be."""
        return False
