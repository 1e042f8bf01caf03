"""The candidates for an answer: replies found or recalled, each with its likelihood."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from dialogue.conversation import Conversation
from dialogue.decoding.paths import Hypothesis
from dialogue.decoding.scoring import log_probs_of
from dialogue.known_replies import Known
from dialogue.models import History, PreparedModel
from dialogue.models.history import stack_histories
from dialogue.ranking import Candidate
from dialogue.recall import Recalled
from dialogue.stock_replies import Stock
from dialogue.vocabulary import Vocabulary

LanguageModel = Callable[[Sequence[Sequence[int]]], Tensor]
# Tokens read of a remembered or stock reply; the rest are assumed to be as likely on average.
READ = 8
Asked = tuple[int | None, tuple[int, ...]]  # a conversation's row, None for no history; token ids


class Scorer:
    """Makes candidates, and computes their likelihoods with a history and without one.

    The model runs in the precision of the search, and computes common prefixes only once.
    """

    def __init__(
        self,
        model: PreparedModel[Any],
        vocabulary: Vocabulary,
        empty_history: History,
        *,
        device: torch.device,
        language_model: LanguageModel | None = None,
    ) -> None:
        """Take the model. language_model: computes log p(reply), (N,), instead of the model."""
        self._model, self._vocabulary, self._empty = model, vocabulary, empty_history
        self._device, self._language_model = device, language_model

    def histories(self, conversations: Sequence[Conversation]) -> History:
        """Stack the histories of conversations, N rows; a new conversation has the empty one."""
        found = [conversation.history for conversation in conversations]
        return stack_histories([self._empty if one is None else one for one in found])

    def candidates(
        self,
        conversations: Sequence[Conversation],
        hypotheses: Sequence[Sequence[Hypothesis]],
        known: Sequence[Sequence[Known]],
        *,
        in_time: Sequence[bool],
        need_blank: bool,
    ) -> list[list[Candidate]]:
        """Make candidates of the known replies and the hypotheses of each conversation.

        known: remembered and stock replies. in_time: whether there is time to compute likelihoods,
        for each conversation. need_blank: whether likelihoods without a history are needed, too; if
        not, only the first READ tokens of known replies are read. All are computed in one pass.
        """
        encode = self._vocabulary.encode
        encoded = [[(one, tuple(encode(one.text))) for one in theirs] for theirs in known]
        asked: list[Asked] = []
        for row, theirs in enumerate(encoded):
            if not in_time[row]:
                continue
            asked += [(row, ids) for _, ids in theirs]
            if need_blank:
                asked += [(None, ids) for _, ids in theirs]
                asked += [(None, one.token_ids) for one in hypotheses[row]]
        log_probs = self._log_probs(conversations, asked, most=None if need_blank else READ)
        return [
            [
                Candidate(
                    one.text, log_probs.get((row, ids), 0.0), log_probs.get((row, ids), 0.0),
                    log_probs[None, ids] if need_blank and in_time[row] else None,
                    len(ids),
                    similarity=one.similarity if isinstance(one, Recalled) else None,
                    fit=one.fit if isinstance(one, Stock) else None,
                    is_topical=isinstance(one, Stock) and one.is_topical,
                    trust=one.trust if isinstance(one, Stock) else None,
                )
                for one, ids in encoded[row]
            ]
            + [
                Candidate(
                    self._vocabulary.decode(one.token_ids), one.log_prob, one.score,
                    log_probs[None, one.token_ids] if need_blank and in_time[row] else None,
                    len(one.token_ids), one.token_log_probs,
                )
                for one in hypotheses[row]
            ]
            for row in range(len(conversations))
        ]  # fmt: skip

    def of_texts(
        self,
        conversation: Conversation,
        texts: Sequence[str],
        similarities: Mapping[str, float],
        stock: Mapping[str, Stock],
    ) -> list[Candidate]:
        """Make a candidate of each text, as an answer to a conversation's last turn.

        similarities: of the texts that are remembered replies. stock: the texts that are stock
        replies.
        """
        token_ids = [tuple(self._vocabulary.encode(text)) for text in texts]
        log_probs: dict[Asked, float] = {}
        for most, are_known in ((None, False), (READ, True)):
            asked: list[Asked] = [
                (row, ids)
                for text, ids in zip(texts, token_ids, strict=True)
                if (text in similarities or text in stock) == are_known
                for row in (0, None)
            ]
            log_probs |= self._log_probs([conversation], asked, most=most)
        return [
            Candidate(
                text, log_probs[0, ids], log_probs[0, ids], log_probs[None, ids], len(ids),
                similarity=similarities.get(text),
                fit=stock[text].fit if text in stock else None,
                is_topical=text in stock and stock[text].is_topical,
                trust=stock[text].trust if text in stock else None,
            )
            for text, ids in zip(texts, token_ids, strict=True)
        ]  # fmt: skip

    def _log_probs(
        self,
        conversations: Sequence[Conversation],
        asked: Sequence[Asked],
        *,
        most: int | None = None,
    ) -> dict[Asked, float]:
        """Compute log p(reply | history), or log p(reply), for each pair asked for.

        most: how many tokens of each reply to read; None means all.
        """
        found: dict[Asked, float] = {}
        if self._language_model:
            without = [ids for row, ids in asked if row is None]
            if without:
                blanks = self._language_model(without).tolist()
                found |= {(None, ids): blank for ids, blank in zip(without, blanks, strict=True)}
        left = [one for one in dict.fromkeys(asked) if one not in found]
        if not left:
            return found
        log_probs = log_probs_of(
            self._model.read,
            self._model.log_probs,
            self._model.start(self.histories([*conversations, Conversation()])),
            [len(conversations) if row is None else row for row, _ in left],
            [ids for _, ids in left],
            bos_id=self._vocabulary.bos_id,
            eos_id=self._vocabulary.eos_id,
            most=most,
            device=self._device,
        )
        for one, log_prob in zip(left, log_probs.tolist(), strict=True):
            length = len(one[1]) + 1  # with </s>
            found[one] = log_prob * (max(1.0, length / most) if most else 1.0)
        return found
