"""What each row has said, and how far it has got into phrases that matter: earlier utterances, its own words, lists.

All phrases of a row lie in one line of columns, each after a column of padding, the reply itself last:

    .  stop word  .  blocked phrase  .  user's utterance  .  bot's reply  .  bot's reply  .  this reply ...

Every column knows how many tokens would match if its token were said now: itself, and the last tokens as far as they stand
right before it. A step brings that up to date by one comparison with all columns, wherever they come from and whatever n
is; a token whose n would match repeats an n-gram.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

NEVER = 1 << 30  # more tokens than can match
Phrases = Sequence[Sequence[int]]


@dataclass(frozen=True)
class NgramState:
    """The columns of R rows: tokens, matching and needed, (R, W); W is 0 where nobody asks. The reply begins at column `begin`.

    matching: how many tokens would match. needed: how many have to, for the column to count. What the reply has not reached
    yet matches only itself. prefix (R, P): what a reply begins with, -1 where it is free. length: tokens of the reply so far.
    """

    tokens: Tensor
    matching: Tensor
    needed: Tensor
    prefix: Tensor
    begin: int
    length: int = 0

    @property
    def written(self) -> Tensor:
        """The reply so far: (R, t)."""
        return self.tokens[:, self.begin : self.begin + self.length]

    def select(self, rows: Tensor) -> NgramState:
        """Take rows (M,) of whichever conversations."""
        tokens, matching, needed, prefix = (
            tensor[rows] for tensor in (self.tokens, self.matching, self.needed, self.prefix)
        )
        return NgramState(tokens, matching, needed, prefix, self.begin, self.length)

    def after(self, last: Tensor, rows: Tensor | None) -> NgramState:
        """Say one more token each, last (R,). rows (R,): the one that each goes on from, of the same conversation; None: itself."""
        tokens, matching = self.tokens, self.matching
        if tokens.shape[1]:
            tokens = tokens.clone() if rows is None else tokens.index_select(0, rows)
            matching = matching.clone() if rows is None else matching.index_select(0, rows)
            # Where the last token stands before a column, one more would match there than matched here.
            going_on = matching[:, :-1] * (tokens[:, :-1] == last[:, None])
            torch.add(going_on, 1, out=matching[:, 1:])
            tokens.select(1, self.begin + self.length).copy_(last)
        return NgramState(tokens, matching, self.needed, self.prefix, self.begin, self.length + 1)


@dataclass(frozen=True)
class Source:
    """Phrases of each conversation, and which of their tokens count."""

    phrases: Sequence[Phrases]  # of each conversation
    ngrams: int = 0  # every n-gram of a phrase counts; 0: only the whole phrase does
    closed: bool = False  # what counts is the column after the phrase: it is said


def lay_out(
    sources: Sequence[Source], *, conversations: int, padding: int
) -> tuple[Tensor, list[slice]]:
    """Lay out tokens and how many must match, (2, N, W), and tell the columns of each source.

    padding: a token that no row which goes on has said last, </s>.
    """
    tokens: list[list[int]] = [[] for _ in range(conversations)]
    needed: list[list[int]] = [[] for _ in range(conversations)]
    columns = []
    for source in sources:
        start = len(tokens[0])
        for row, phrases in enumerate(source.phrases):
            for phrase in phrases:
                tokens[row] += [padding, *phrase]
                needed[row] += [NEVER, *_needed(source, len(phrase))]
                if source.closed:
                    tokens[row].append(padding)
        end = max(map(len, tokens))
        for row in range(conversations):
            tokens[row] += [padding] * (end - len(tokens[row]))
            needed[row] += [NEVER] * (end - len(needed[row]))
        columns.append(slice(start, end))
    return torch.tensor([tokens, needed]), columns


def _needed(source: Source, length: int) -> list[int]:
    """Tell for each token of a phrase how many must match, and for the column after it if that one counts."""
    if source.ngrams:
        return [source.ngrams] * length
    return [NEVER] * length + [length + 1] if source.closed else [NEVER] * (length - 1) + [length]
