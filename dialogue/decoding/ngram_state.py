"""What each row has said, and how much of each relevant phrase it has just matched.

The phrases of a row lie side by side in one line of columns, with a column of padding before each:
stop words, blocked phrases, the reply itself, the bot's earlier replies, the user's utterance. Each
column counts how many tokens would match if its own token were said next: that token, and as many
of the last tokens said as stand right before it. With the user's "b c d" (bigrams count, n = 2) and
a reply that is "a b" so far (trigrams count, n = 3):

                this reply, up to five   the user's
    tokens      .   a   b   .   .   .    .   b   c   d
    matching    1   1   1   1   1   1    1   1   2   1
    needed      -   3   3   3   3   3    -   2   2   2

The reply ends in "b", which stands before "c": saying "c" would match the two tokens "b c", and two
are needed, so "c" is blocked. Any other token is allowed. If the reply had gone on to "a b e a b",
"e" would match three tokens and be blocked as well.

Saying a token updates all columns at once, wherever they come from and whatever their n: where that
token stands just before a column, the column matches one more than its left neighbour did;
everywhere else only its own token matches.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dialogue.device import sent

NEVER = 1 << 30  # more tokens than can ever match
Phrases = Sequence[Sequence[int]]


@dataclass(frozen=True)
class NgramState:
    """The columns of R rows: tokens, matching and needed, (R, W); W is 0 if there are no phrases.

    matching: how many tokens would match. needed: how many must match for the token to be blocked
    (or the phrase to be complete). The reply begins at column `begin`; columns it has not reached
    yet match only their own token. prefix (R, P): what a reply must begin with, -1 where it is
    free. length: tokens of the reply so far.
    """

    tokens: Tensor
    matching: Tensor
    needed: Tensor
    prefix: Tensor
    begin: int
    length: int = 0

    @property
    def written(self) -> Tensor:
        """Return the reply so far: (R, t)."""
        return self.tokens[:, self.begin : self.begin + self.length]

    def select(self, rows: Tensor) -> NgramState:
        """Take rows (M,) of any conversations."""
        tokens, matching, needed, prefix = (
            tensor[rows] for tensor in (self.tokens, self.matching, self.needed, self.prefix)
        )
        return NgramState(tokens, matching, needed, prefix, self.begin, self.length)

    def after(self, last: Tensor, rows: Tensor | None) -> NgramState:
        """Return the state with one more token said in each row, last (R,).

        rows (R,): the row of the same conversation that each continues; None means itself.
        """
        tokens, matching = self.tokens, self.matching
        if tokens.shape[1]:
            tokens = tokens.clone() if rows is None else tokens.index_select(0, rows)
            matching = matching.clone() if rows is None else matching.index_select(0, rows)
            # Where the token just said stands before a column, that column matches one more.
            going_on = matching[:, :-1] * (tokens[:, :-1] == last[:, None])
            torch.add(going_on, 1, out=matching[:, 1:])
            tokens.select(1, self.begin + self.length).copy_(last)
        return NgramState(tokens, matching, self.needed, self.prefix, self.begin, self.length + 1)


@dataclass(frozen=True, eq=False)  # two sources are never the same, even with the same phrases
class Source:
    """Phrases of each conversation, and which of their tokens count."""

    phrases: Sequence[Phrases]  # of each conversation
    ngrams: int | None = None  # n, if every n-gram of a phrase counts; None: only the whole phrase
    closed: bool = False  # the column after the phrase counts, once all of the phrase has been said

    @property
    def counts(self) -> bool:
        """Return whether anything can match."""
        return self.ngrams not in (0, NEVER) and any(self.phrases)


def lay_out(
    sources: Sequence[Source],
    reply: Source,
    prefixes: Phrases,
    *,
    conversations: int,
    repeat: int,
    padding: int,
    device: torch.device | None,
) -> tuple[NgramState, dict[Source, slice]]:
    """Lay out the columns of N conversations before anything is said, `repeat` rows each.

    Return them with the columns of each source. reply: the source whose columns the reply will be
    written into. padding: a token that no unfinished row has said last, </s>.
    """
    tokens: list[list[int]] = [[] for _ in range(conversations)]
    needed: list[list[int]] = [[] for _ in range(conversations)]
    columns = {}
    for source in sources:
        start = len(tokens[0])
        for row, phrases in enumerate(source.phrases if source.ngrams != 0 else ()):
            for phrase in phrases:
                tokens[row] += [padding, *phrase]
                needed[row] += [NEVER, *_needed(source, len(phrase))]
                if source.closed:
                    tokens[row].append(padding)
        end = max(map(len, tokens))
        for row in range(conversations):
            tokens[row] += [padding] * (end - len(tokens[row]))
            needed[row] += [NEVER] * (end - len(needed[row]))
        columns[source] = slice(start, end)
    laid = sent([tokens, needed], device, dtype=torch.long)  # (2, N, W)
    laid = laid.repeat_interleave(repeat, dim=1)  # (2, R, W)
    width = max(map(len, prefixes), default=0)
    prefix = sent(
        [[*prefix, *[-1] * (width - len(prefix))] for prefix in prefixes or [()] * conversations],
        device,
        dtype=torch.long,
    ).repeat_interleave(repeat, dim=0)  # (R, P)
    begin = columns[reply].start + 1 if reply in columns else 0
    return NgramState(laid[0], torch.ones_like(laid[0]), laid[1], prefix, begin), columns


def _needed(source: Source, length: int) -> list[int]:
    """Return how many must match at each token of a phrase, and at its closing column, if any."""
    if source.closed:
        return [NEVER] * length + [length + 1]
    if source.ngrams is None:
        return [NEVER] * (length - 1) + [length]
    return [source.ngrams] * length
