"""Retrieve remembered replies to similar moments, as candidates alongside the search's own.

    query: the last utterance, the turn before it, and the history vector
    score: the cosine of their words, each weighted by its inverse document frequency
           (Salton and Buckley 1988), and that of the history vectors (dialogue.nearest)

A small model writes well about only a few things; some ten thousand exchanges contain a good answer
to much of everyday talk. Only exchanges from training splits are ever remembered.
"""

from __future__ import annotations

import json
import lzma
import re
from array import array
from collections.abc import Iterable, Iterator, Sequence, Set
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from dialogue.nearest import Nearest
from dialogue.text_files import decoded
from dialogue.words import words

FILE = "replies.jsonl.xz"  # in a checkpoint's folder
BEFORE = 0.45  # weight of the turn before the utterance; the utterance itself has the rest
OPENING = 0.25  # bonus at the start of a conversation for a reply that was given at one
# Weight of the history vectors; the words have the rest. Chosen on 100 contexts of everyday-dev.
LIKENESS = 0.5
CONSIDERED = 80  # how many of the most similar exchanges have their reply examined, too
# Penalties for words of the reply itself. These, BEFORE and OPENING were chosen on 575 judged
# candidates in 64 contexts of everyday-dev.
FOREIGN = 0.2  # each word from the reply's own conversation that has not been said in this one
PRESUPPOSED = 0.05  # each thing taken as known ("the cake") but not mentioned here
NOBODY = 0.2  # "he" or "she" when nobody has been mentioned
PART = 4096  # exchanges that are parsed at a time
_ENDINGS = re.compile(r"(?<=\w\w\w)(?:'s|ing|ed|es|s)$")


class Exchange(NamedTuple):
    """A reply, the utterance that it answered, and the turn before that, "" at the beginning."""

    before: str
    heard: str
    reply: str


@dataclass(frozen=True)
class Recalled:
    """A remembered reply.

    similarity: how alike the moment that it answered and the present one are, up to about 1.
    """

    text: str
    similarity: float
    heard: str


class Recall:
    """An index of exchanges by the moment that each reply answered."""

    def __init__(self, exchanges: Iterable[Exchange], nearest: Nearest | None = None) -> None:
        """Index exchanges. nearest: the histories before their replies; None: only words count."""
        self._lines = exchanges if isinstance(exchanges, _Lines) else _Lines.of(exchanges)
        self.nearest = nearest
        terms: dict[str, int] = {}
        heard, before, opens = _Stems(terms), _Stems(terms), bytearray()
        for befores, utterances, _ in self._lines.parts():
            heard.add(utterances)
            before.add(befores)
            opens.extend(not text for text in befores)
        self._heard, self._before = heard.index(), before.index()
        self._opens = np.frombuffer(opens, dtype=bool)

    def __len__(self) -> int:
        return len(self._lines)

    @property
    def exchanges(self) -> tuple[Exchange, ...]:
        """All exchanges, parsed anew."""
        return tuple(self._lines)

    def find(
        self,
        heard: str,
        said: Sequence[str] = (),
        *,
        count: int,
        likeness: NDArray[np.floating] | None = None,
    ) -> list[Recalled]:
        """Return the replies to the most similar moments, best first and each text once.

        heard: the utterance to answer. said: the turns before it, oldest first. likeness: a row of
        what `likenesses` returns; None: only words count.
        """
        if not len(self) or count < 1:
            return []
        before = said[-1] if said else ""
        scores = self._heard.cosines(stems(heard))
        if before:
            scores = (1 - BEFORE) * scores + BEFORE * self._before.cosines(stems(before))
        else:
            scores += OPENING * self._opens * (scores > 0)
        if likeness is not None:
            scores = (1 - LIKENESS) * scores + LIKENESS * likeness
        known = {stem for text in (heard, *said) for stem in stems(text)}
        found: dict[str, Recalled] = {}
        for place in _largest(scores, max(CONSIDERED, count)):
            exchange = self._lines[place]
            similarity = float(scores[place]) - out_of_place(exchange, known)
            if exchange.reply not in found or found[exchange.reply].similarity < similarity:
                found[exchange.reply] = Recalled(exchange.reply, similarity, exchange.heard)
        return sorted(found.values(), key=lambda recalled: -recalled.similarity)[:count]

    def likenesses(self, histories: Tensor) -> NDArray[np.float32] | None:
        """Return the similarity of each history, (M, C), to each exchange's, (M, N), if known."""
        return None if self.nearest is None else self.nearest.cosines(histories)

    def save(self, path: Path) -> None:
        """Write the exchanges to a file; the same exchanges give the same bytes."""
        path.write_bytes(lzma.compress(self._lines.data, preset=9))

    @classmethod
    def load(cls, folder: Path) -> Recall:
        """Load a checkpoint's exchanges, without their histories; none if it has no such file.

        Raises ValueError on a broken file.
        """
        path = folder / FILE
        if not path.exists():
            return cls(())
        try:
            return cls(_Lines.read(lzma.decompress(path.read_bytes())))
        except (OSError, EOFError, lzma.LZMAError, ValueError, TypeError) as error:
            raise ValueError(
                f"{path} holds no remembered replies ({error}); "
                "make it again with python -m training.remember, or delete it"
            ) from None


class _Lines:
    """Exchanges, each kept as a line of JSON, which takes a third of the memory of its strings.

    `data[_ends[k - 1] + 1 : _ends[k]]` is the line of exchange k.
    """

    def __init__(self, data: bytes) -> None:
        self.data = data
        self._ends = np.flatnonzero(np.frombuffer(data, dtype=np.uint8) == ord("\n"))

    @classmethod
    def of(cls, exchanges: Iterable[Exchange]) -> _Lines:
        """Write exchanges as lines."""
        lines = (json.dumps(one, ensure_ascii=False) + "\n" for one in exchanges)
        return cls("".join(lines).encode("utf-8", "surrogatepass"))

    @classmethod
    def read(cls, data: bytes) -> _Lines:
        """Take the lines of a file. Raises ValueError if they are not UTF-8."""
        decoded(data)
        return cls(b"".join(line + b"\n" for line in data.split(b"\n") if line))

    def __len__(self) -> int:
        return len(self._ends)

    def __iter__(self) -> Iterator[Exchange]:
        return (Exchange(*one) for some in self.parts() for one in zip(*some, strict=True))

    def __getitem__(self, place: int) -> Exchange:
        return Exchange(*json.loads(self.data[self._start(place) : int(self._ends[place])]))

    def parts(self) -> Iterator[list[tuple[str, ...]]]:
        """Parse the exchanges PART at a time, which is much faster than one by one.

        Yields the turns before, the utterances, and the replies. Raises ValueError or TypeError if
        a line is not an exchange.
        """
        for first in range(0, len(self), PART):
            size = min(PART, len(self) - first)
            lines = self.data[self._start(first) : int(self._ends[first + size - 1])]
            columns = list(zip(*json.loads(b"[%b]" % lines.replace(b"\n", b",")), strict=True))
            kinds = {kind for texts in columns for kind in map(type, texts)}
            if [len(texts) for texts in columns] != [size] * 3 or kinds != {str}:
                raise ValueError(f"one of lines {first + 1} to {first + size} is not three texts")
            yield columns

    def _start(self, place: int) -> int:
        return int(self._ends[place - 1]) + 1 if place else 0


class _Numbers(dict[str, int]):
    """The number of each word's stem; new stems get the next numbers."""

    def __init__(self, terms: dict[str, int]) -> None:
        super().__init__()
        self._terms = terms

    def __missing__(self, word: str) -> int:
        self[word] = number = self._terms.setdefault(_stem(word), len(self._terms))
        return number


class _Stems:
    """Collects the stems of texts, as numbers, for an index."""

    def __init__(self, terms: dict[str, int]) -> None:
        """Take the numbers of stems, which may be shared with other collectors."""
        self._terms, self._number_of = terms, _Numbers(terms)
        self._lengths, self._numbers = array("I"), array("I")

    def add(self, texts: Iterable[str]) -> None:
        """Add the stems of texts."""
        for found in map(words, texts):
            self._lengths.append(len(found))
            self._numbers.extend(map(self._number_of.__getitem__, found))

    def index(self) -> _Index:
        """Index the texts."""
        lengths = np.array(self._lengths, dtype=np.int64)
        return _Index(lengths, np.array(self._numbers, dtype=np.int64), self._terms)


class _Index:
    """An inverted index: for each term the texts that contain it, all in one array.

    `_texts[_starts[t]:_starts[t + 1]]` are the texts that contain term t.
    """

    def __init__(
        self, lengths: NDArray[np.int64], numbers: NDArray[np.int64], terms: dict[str, int]
    ) -> None:
        """Index texts. lengths: of each; numbers: of their terms, text by text."""
        self._terms, self._size = terms, len(lengths)
        # A (term, text) pair is coded as term * size + text, so that one sort both removes
        # duplicates and orders the pairs by term.
        pairs = np.sort(numbers * self._size + np.repeat(np.arange(self._size), lengths))
        pairs = pairs[np.diff(pairs, prepend=-1) > 0]
        found, texts = np.divmod(pairs, max(1, self._size))
        self._texts = texts.astype(np.int32)
        self._starts = np.searchsorted(found, np.arange(len(terms) + 1))
        counts = np.diff(self._starts)
        self._idf: NDArray[np.float64] = np.log(1 + (self._size - counts + 0.5) / (counts + 0.5))
        squares = np.bincount(self._texts, weights=self._idf[found] ** 2, minlength=self._size)
        self._norms = np.sqrt(np.maximum(squares, 1e-9))
        self._rarest = float(np.log(2 * self._size + 2))

    def cosines(self, query: Sequence[str]) -> NDArray[np.float64]:
        """Return the cosine of a query to every text; unknown terms weigh like the rarest."""
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


def _largest(scores: NDArray[np.float64], count: int) -> list[int]:
    """Return the places of the largest scores, largest first; ties go to the earlier place."""
    if count < len(scores):
        least = np.partition(scores, -count)[-count]
        places = np.flatnonzero(scores >= least)
    else:
        places = np.arange(len(scores))
    found: list[int] = places[np.argsort(-scores[places], kind="stable")][:count].tolist()
    return found


def out_of_place(exchange: Exchange, known: Set[str]) -> float:
    """Return the penalty for a reply's own words, given the stems that have been said."""
    of_its_own = (set(stems(exchange.heard)) | set(stems(exchange.before))) - known
    foreign = len(of_its_own & (set(stems(exchange.reply)) - _EVERYBODYS))
    assumed = presupposed(exchange.reply, known) - of_its_own
    return FOREIGN * foreign + PRESUPPOSED * len(assumed) + NOBODY * nobody(exchange.reply, known)


def presupposed(reply: str, known: Set[str]) -> set[str]:
    """Return the stems of the things that a reply wrongly takes as known ("the cake")."""
    return {_stem(word) for word in _DEFINITE.findall(reply.lower())} - known - _EVERYBODYS


def nobody(reply: str, known: Set[str]) -> int:
    """Return how many of "he" and "she" a reply uses although nobody fitting has been mentioned."""
    return sum(
        bool(pronouns.search(reply.lower())) and not people & known
        for pronouns, people in _REFERENTS
    )


def stems(text: str) -> list[str]:
    """Return a text's words without their most common endings."""
    return [_stem(word) for word in words(text)]


@lru_cache(maxsize=100_000)
def _stem(word: str) -> str:
    return _ENDINGS.sub("", word)


_DEFINITE = re.compile(r"\b(?:the|your|that|this|those|these|his|her|their) (?:\w+ )??(\w{3,})")
_ANYBODY = (
    "baby child kid friend neighbor neighbour boss teacher doctor dog cat pet parent cousin "
    "partner roommate coworker somebody someone driver nurse student twin puppy kitten horse "
    "hamster rabbit parrot bird guest stranger "
)
_REFERENTS = (
    (
        re.compile(r"\b(?:he|him|his|he's|he'll|he'd)\b"),
        frozenset(
            stems(
                _ANYBODY
                + "he him his he's he'll he'd man men guy boy brother father dad daddy husband "
                "son grandpa grandfather uncle nephew boyfriend grandson mister mr groom king"
            )
        ),
    ),
    (
        re.compile(r"\b(?:she|her|hers|she's|she'll|she'd)\b"),
        frozenset(
            stems(
                _ANYBODY
                + "she her hers she's she'll she'd woman women girl lady sister mother mom mum "
                "mommy wife daughter grandma grandmother aunt niece girlfriend granddaughter "
                "bride queen"
            )
        ),
    ),
)
_EVERYBODYS = frozenset(
    stems(
        "a an the i you he she it we they me him her us them my your his its our their this that "
        "these those and or but so if "
        "then than as at by for from in into of on out to up with about not no yes do does did "
        "don't is are was were be been "
        "am i'm you're it's that's what who when where why how which there here have has had can "
        "could will would should "
        "just very too more much many some any all one like good nice great oh well now got get "
        "go going know think "
        "day time way thing first best rest end middle world night morning evening weekend moment "
        "kind next last other whole"
    )
)
