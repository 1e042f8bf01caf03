"""Replies that exist before a turn is heard and need no search: remembered and stock replies."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dialogue.config import DecodeConfig
from dialogue.conversation import Conversation, Turn
from dialogue.limits import BLOCKED_REPLIES
from dialogue.models.history import history_vectors
from dialogue.recall import Recall, Recalled
from dialogue.stock_replies import Stock, StockReplies
from dialogue.vocabulary import Vocabulary
from dialogue.words import ngrams

RECENT = 5  # turns that the choice of stock replies depends on
RECALLED_TURNS = 6  # earlier turns that a remembered reply may refer to

Known = Recalled | Stock


@dataclass(frozen=True)
class KnownReplies:
    """A finder of known replies that may answer the last turn of a conversation.

    recall: the checkpoint's remembered replies. stock: its stock replies. hear: adds a turn to each
    conversation.
    """

    recall: Recall
    stock: StockReplies | None
    vocabulary: Vocabulary
    hear: Callable[[Sequence[Conversation], Sequence[Turn]], list[Conversation]]

    def find(
        self, conversations: Sequence[Conversation], decode: DecodeConfig
    ) -> list[list[Known]]:
        """Return as many known replies for each as the settings ask for, each text once.

        Like hypotheses of the search, none copies an n-gram of the bot's last replies; here n-grams
        are of words.
        """
        recalled = self.recalled(conversations, count=decode.recall)
        suiting = self.suiting(conversations, plain=decode.stock, topical=decode.topical)
        found: list[list[Known]] = []
        for row, conversation in enumerate(conversations):
            theirs: list[Known] = [*recalled[row], *suiting[row]]
            texts = {one.text: one for one in reversed(theirs)}  # the first of equal texts stays
            distinct = [one for one in theirs if texts[one.text] is one]
            n = decode.block_reply_ngrams
            said = conversation.ngrams_said(n, last=BLOCKED_REPLIES)
            found.append([one for one in distinct if said.isdisjoint(ngrams(one.text, n))])
        return found

    def recalled(
        self, conversations: Sequence[Conversation], *, count: int
    ) -> list[list[Recalled]]:
        """Recall replies to moments like the last turn of each, the most similar first."""
        histories = _histories(conversations)
        likenesses = None if histories is None or not count else self.recall.likenesses(histories)
        found = []
        for row, conversation in enumerate(conversations):
            *before, last = [turn.text for turn in conversation.turns[-RECALLED_TURNS - 1 :]]
            likeness = None if likenesses is None else likenesses[row]
            found.append(self.recall.find(last, before, count=count, likeness=likeness))
        return found

    def suiting(
        self, conversations: Sequence[Conversation], *, plain: int, topical: int
    ) -> list[list[Stock]]:
        """Find the stock replies that best suit each last turn, best first.

        plain, topical: how many of each set.
        """
        histories = _histories(self._recent(conversations)) if self.stock else None
        if self.stock is None or histories is None:
            return [[] for _ in conversations]
        turns = [["", *(turn.text for turn in one.turns)][-2:] for one in conversations]
        said, heard = zip(*(map(self.vocabulary.encode, pair) for pair in turns), strict=True)
        return self.stock.find(histories, heard, said, plain=plain, topical=topical)

    def _recent(self, conversations: Sequence[Conversation]) -> list[Conversation]:
        """Return conversations as they would be if they had begun RECENT turns ago.

        The network for stock replies has learnt from contexts of at most so many turns; the
        histories of longer conversations are unlike any of those.
        """
        found = list(conversations)
        long = [row for row, one in enumerate(found) if len(one.turns) > RECENT]
        if long:
            begun = [Conversation() for _ in long]
            for at in range(-RECENT, 0):
                begun = self.hear(begun, [found[row].turns[at] for row in long])
            for row, one in zip(long, begun, strict=True):
                found[row] = one
        return found


def _histories(conversations: Sequence[Conversation]) -> Tensor | None:
    """Return the history vectors, (N, C), or None if any conversation lacks one."""
    vectors = [
        None if one.history is None else history_vectors(one.history) for one in conversations
    ]
    known = [vector for vector in vectors if vector is not None]
    return torch.cat(known) if known and len(known) == len(vectors) else None
