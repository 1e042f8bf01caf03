"""What each row has said, and how far it has got into phrases that matter: earlier utterances, its own words, block lists.

All phrases of a row lie in one line of columns, each after a column of padding, the reply itself last:

    .  stop word  .  blocked phrase  .  user's utterance  .  bot's reply  .  bot's reply  .  this reply ...

For every column the number of last tokens is kept that stand right before it: `matched`. A new token costs one comparison
with all columns, whatever n is, and an n-gram would be repeated where n - 1 tokens are matched: that many are `needed`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

NEVER = 1 << 30  # more tokens than can be matched
Phrases = Sequence[Sequence[int]]


@dataclass(frozen=True)
class Said:
    """Columns of R rows: tokens, matched, needed (R, W); W is 0 where nobody asks. prefix (R, P): what a reply begins with, or -1.

    The reply begins at column `begin` and has `length` tokens so far.
    """

    tokens: Tensor
    matched: Tensor
    needed: Tensor
    prefix: Tensor
    begin: int
    length: int = 0

    @property
    def end(self) -> int:
        """The column after the reply's last token."""
        return self.begin + self.length

    @property
    def written(self) -> Tensor:
        """The reply so far: (R, t)."""
        return self.tokens[:, self.begin : self.end]

    def select(self, rows: Tensor) -> Said:
        """Take rows (M,) of whichever conversations."""
        tokens, matched, needed, prefix = (tensor[rows] for tensor in (self.tokens, self.matched, self.needed, self.prefix))
        return Said(tokens, matched, needed, prefix, self.begin, self.length)

    def after(self, last: Tensor, rows: Tensor | None) -> Said:
        """Say one more token each, last (R,). rows (R,): the one that each goes on from, of the same conversation; None: itself."""
        if not self.tokens.shape[1]:
            return replace(self, length=self.length + 1)
        tokens = self.tokens.clone() if rows is None else self.tokens.index_select(0, rows)
        matched = self.matched.clone() if rows is None else self.matched.index_select(0, rows)
        end = self.end
        tokens[:, end] = last
        matched[:, 1 : end + 1] = (matched[:, :end] + 1) * (tokens[:, :end] == last[:, None])
        return Said(tokens, matched, self.needed, self.prefix, self.begin, self.length + 1)


@dataclass(frozen=True)
class Source:
    """Phrases of each conversation, and how much of one must be matched for its next token to count."""

    phrases: Sequence[Phrases]  # of each conversation
    ngrams: int = 0  # every n-gram of a phrase counts; 0: only the whole phrase does
    closed: bool = False  # what counts is the column after the phrase


def lay_out(
    sources: Sequence[Source], *, conversations: int, reply_ngrams: int, longest: int, padding: int
) -> tuple[Tensor, list[slice]]:
    """Lay out tokens and what is needed, (2, N, W), before a reply, and tell the columns of each source; the last is the reply's.

    padding: a token that no row which goes on has said last, </s>. longest: columns of the reply.
    """
    tokens: list[list[int]] = [[] for _ in range(conversations)]
    needed: list[list[int]] = [[] for _ in range(conversations)]
    columns = []
    for source in (*sources, Source([[[padding] * longest]] * conversations, reply_ngrams or NEVER)):
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
    """Tell for each token of a phrase how many before it must be matched, and for the column after it if that one counts."""
    if source.ngrams:
        return [source.ngrams - 1] * length
    return [NEVER] * length + [length] if source.closed else [NEVER] * (length - 1) + [length - 1]
