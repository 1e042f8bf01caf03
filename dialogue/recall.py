"""Replies remembered from good talk: what was said to something like this, as candidates beside the search's own.

    query: what was heard last, and what had been said before it
    score: cosine of the two's words, each weighted by its inverse document frequency (Salton and Buckley 1988)

A small model writes well about little; a few ten thousand exchanges know a good answer to much of
everyday talk. Only exchanges of training splits are ever remembered.
"""

from __future__ import annotations

import gzip
import json
import re
import zlib
from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dialogue.text_files import decoded
from dialogue.words import words

FILE = "replies.jsonl.gz"  # within a checkpoint's folder
BEFORE = 0.45  # weight of what was said before the utterance; the utterance itself has the rest
OPENING = 0.25  # for a reply to an opening, where this is one: it needs nothing said before
CONSIDERED = 80  # the most alike, of which the reply itself is looked at
# What a reply costs, looked at by itself. These and the weights above were chosen on 575 judged
# candidates in 64 contexts of everyday-dev.
FOREIGN = 0.2  # a word that its own conversation had said and this one has not
PRESUPPOSED = 0.05  # something that it takes for known ("the cake", "your boss") and that nobody has said here
NOBODY = 0.2  # he or she, where nobody has been spoken of
_ENDINGS = re.compile(r"(?<=\w\w\w)(?:'s|ing|ed|es|s)$")


class Exchange(NamedTuple):
    """A reply, what it answered, and what had been said before that, "" at the beginning."""

    before: str
    heard: str
    reply: str


@dataclass(frozen=True)
class Recalled:
    """A remembered reply. similarity: of what it answered to what was heard, up to about 1."""

    text: str
    similarity: float
    heard: str


class Recall:
    """An index of exchanges by what was heard."""

    def __init__(self, exchanges: Sequence[Exchange]) -> None:
        self.exchanges = tuple(exchanges)
        self._terms: dict[str, int] = {}
        self._heard = self._index(exchange.heard for exchange in exchanges)
        self._before = self._index(exchange.before for exchange in exchanges)
        self._opens = np.array([not exchange.before for exchange in exchanges], dtype=bool)

    def __len__(self) -> int:
        return len(self.exchanges)

    def find(self, heard: str, said: Sequence[str] = (), *, count: int) -> list[Recalled]:
        """Return the replies to what is most like this, best first, no text twice.

        heard: the utterance to answer. said: the turns before it, oldest first.
        """
        if not self.exchanges or count < 1:
            return []
        before = said[-1] if said else ""
        scores = self._heard.cosines(stems(heard))
        if before:
            scores = (1 - BEFORE) * scores + BEFORE * self._before.cosines(stems(before))
        else:
            scores += OPENING * self._opens * (scores > 0)
        known = {stem for text in (heard, *said) for stem in stems(text)}
        found: dict[str, Recalled] = {}
        for place in np.argsort(-scores, kind="stable")[: max(CONSIDERED, count)].tolist():
            exchange = self.exchanges[place]
            similarity = float(scores[place]) - out_of_place(exchange, known)
            if exchange.reply not in found or found[exchange.reply].similarity < similarity:
                found[exchange.reply] = Recalled(exchange.reply, similarity, exchange.heard)
        return sorted(found.values(), key=lambda recalled: -recalled.similarity)[:count]

    def save(self, path: Path) -> None:
        """Write the exchanges into a file, the same bytes for the same exchanges."""
        lines = "".join(
            json.dumps(exchange, ensure_ascii=False) + "\n" for exchange in self.exchanges
        )
        path.write_bytes(gzip.compress(lines.encode(), mtime=0))

    @classmethod
    def load(cls, folder: Path) -> Recall:
        """Read a checkpoint's exchanges; none where it has no such file. Raises ValueError on a broken one."""
        path = folder / FILE
        if not path.exists():
            return cls(())
        try:
            lines = decoded(gzip.decompress(path.read_bytes())).split("\n")
            return cls([Exchange(*map(str, json.loads(line))) for line in lines if line])
        except (OSError, EOFError, zlib.error, ValueError, TypeError) as error:
            raise ValueError(
                f"{path} holds no remembered replies ({error}); make it again with python -m training.remember, or delete it"
            ) from None

    def _index(self, texts: Iterable[str]) -> _Index:
        """Number the stems of texts, new ones after the known ones, and index the texts by them."""
        numbers = [
            [self._terms.setdefault(stem, len(self._terms)) for stem in stems(text)]
            for text in texts
        ]
        return _Index(numbers, self._terms)


class _Index:
    """Postings of every term, in one array: which texts hold it, and with what weight."""

    def __init__(self, texts: Sequence[Sequence[int]], terms: dict[str, int]) -> None:
        self._terms, self._size = terms, len(texts)
        lengths = np.array([len(ids) for ids in texts], dtype=np.int64)
        flat = np.fromiter(chain.from_iterable(texts), dtype=np.int64, count=int(lengths.sum()))
        # Each term once a text, in the order of the terms.
        pairs = np.unique(flat * self._size + np.repeat(np.arange(self._size), lengths))
        found, self._texts = np.divmod(pairs, max(1, self._size))
        self._starts = np.searchsorted(found, np.arange(len(terms) + 1))
        counts = np.diff(self._starts)
        self._idf: NDArray[np.float64] = np.log(1 + (self._size - counts + 0.5) / (counts + 0.5))
        squares = np.bincount(self._texts, weights=self._idf[found] ** 2, minlength=self._size)
        self._norms = np.sqrt(np.maximum(squares, 1e-9))
        self._rarest = float(np.log(2 * self._size + 2))

    def cosines(self, query: Sequence[str]) -> NDArray[np.float64]:
        """Return the cosine of a query to every text; what no text holds counts as rare."""
        scores, square = np.zeros(self._size), 0.0
        for stem in set(query):
            term = self._terms.get(stem)
            if (
                term is None
                or term >= len(self._idf)
                or self._starts[term] == self._starts[term + 1]
            ):
                square += self._rarest**2
                continue
            weight = float(self._idf[term])
            square += weight**2
            scores[self._texts[self._starts[term] : self._starts[term + 1]]] += weight**2
        scores /= self._norms * np.sqrt(max(square, 1e-9))
        return scores


def out_of_place(exchange: Exchange, known: Set[str]) -> float:
    """Return what a reply costs by its own words, where the stems `known` have been said."""
    of_its_own = (set(stems(exchange.heard)) | set(stems(exchange.before))) - known
    foreign = len(of_its_own & (set(stems(exchange.reply)) - _EVERYBODYS))
    assumed = presupposed(exchange.reply, known) - of_its_own
    return FOREIGN * foreign + PRESUPPOSED * len(assumed) + NOBODY * nobody(exchange.reply, known)


def presupposed(reply: str, known: Set[str]) -> set[str]:
    """Return the stems of what a reply takes for known ("the cake", "your boss") and is not."""
    return {_stem(word) for word in _DEFINITE.findall(reply.lower())} - known - _EVERYBODYS


def nobody(reply: str, known: Set[str]) -> int:
    """Count he and she, where nobody was spoken of who could be meant."""
    return sum(
        bool(pronouns.search(reply.lower())) and not people & known
        for pronouns, people in _REFERENTS
    )


def stems(text: str) -> list[str]:
    """Return the words of a text without their commonest endings."""
    return [_stem(word) for word in words(text)]


@lru_cache(maxsize=100_000)
def _stem(word: str) -> str:
    return _ENDINGS.sub("", word)


_DEFINITE = re.compile(r"\b(?:the|your|that|this|those|these|his|her|their) (?:\w+ )??(\w{3,})")
_ANYBODY = (
    "baby child kid friend neighbor neighbour boss teacher doctor dog cat pet parent cousin partner roommate coworker somebody "
    "someone driver nurse student twin puppy kitten horse hamster rabbit parrot bird guest stranger "
)
_REFERENTS = (
    (
        re.compile(r"\b(?:he|him|his|he's|he'll|he'd)\b"),
        frozenset(
            stems(
                _ANYBODY
                + "he him his he's he'll he'd man men guy boy brother father dad daddy husband son grandpa grandfather "
                "uncle nephew boyfriend grandson mister mr groom king"
            )
        ),
    ),
    (
        re.compile(r"\b(?:she|her|hers|she's|she'll|she'd)\b"),
        frozenset(
            stems(
                _ANYBODY
                + "she her hers she's she'll she'd woman women girl lady sister mother mom mum mommy wife daughter grandma "
                "grandmother aunt niece girlfriend granddaughter bride queen"
            )
        ),
    ),
)
_EVERYBODYS = frozenset(
    stems(
        "a an the i you he she it we they me him her us them my your his its our their this that these those and or but so if "
        "then than as at by for from in into of on out to up with about not no yes do does did don't is are was were be been "
        "am i'm you're it's that's what who when where why how which there here have has had can could will would should "
        "just very too more much many some any all one like good nice great oh well now got get go going know think "
        "day time way thing first best rest end middle world night morning evening weekend moment kind next last other whole"
    )
)
