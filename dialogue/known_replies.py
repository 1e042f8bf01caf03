"""Replies known before a turn is heard, which need no search: remembered ones and stock ones."""

from __future__ import annotations

from dataclasses import dataclass

from dialogue.config import DecodeConfig
from dialogue.conversation import Conversation
from dialogue.limits import BLOCKED_REPLIES
from dialogue.models.history import history_vectors
from dialogue.recall import Recall, Recalled
from dialogue.stock_replies import Stock, StockReplies
from dialogue.vocabulary import Vocabulary, without_marks
from dialogue.words import ngrams

RECALLED_TURNS = 6  # earlier turns that a remembered reply may speak of

Known = Recalled | Stock


@dataclass(frozen=True)
class KnownReplies:
    """Finds those known replies that may answer the last turn of a conversation.

    recall: what the checkpoint remembers. stock: its sets of stock replies.
    """

    recall: Recall
    stock: tuple[StockReplies, ...]
    vocabulary: Vocabulary

    def find(self, conversation: Conversation, decode: DecodeConfig) -> list[Known]:
        """Return as many as the settings ask for, each text once.

        Like what the search finds, none copies an n-gram of the bot's last replies, here of words.
        """
        found: list[Known] = list(self.recalled(conversation, count=decode.recall))
        texts = {one.text for one in found}
        suiting = self.suiting(conversation, plain=decode.stock, topical=decode.topical)
        found += [one for one in suiting if one.text not in texts]
        n = decode.block_reply_ngrams
        if not n:
            return found
        last = [without_marks(text) for text in conversation.said("bot")[-BLOCKED_REPLIES:]]
        said = {gram for text in last for gram in ngrams(text, n)}
        return [one for one in found if not said.intersection(ngrams(one.text, n))]

    def recalled(self, conversation: Conversation, *, count: int) -> list[Recalled]:
        """Recall replies to moments like the last turn, the most alike first."""
        *before, last = [turn.text for turn in conversation.turns[-RECALLED_TURNS - 1 :]]
        history = None if conversation.history is None else history_vectors(conversation.history)
        return self.recall.find(last, before, count=count, history=history)

    def suiting(self, conversation: Conversation, *, plain: int, topical: int) -> list[Stock]:
        """Find the stock replies that suit the last turn best, so many of each set, best first."""
        if not self.stock or conversation.history is None:
            return []
        history = history_vectors(conversation.history)
        if history is None:
            return []
        before, last = (["", *(turn.text for turn in conversation.turns)])[-2:]
        heard, said = self.vocabulary.encode(last), self.vocabulary.encode(before)
        found: list[Stock] = []
        for replies in self.stock:
            count = topical if replies.is_topical else plain
            found += replies.find(history, heard, said, count=count)
        return found
