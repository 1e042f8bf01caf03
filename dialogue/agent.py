"""The dialogue agent: utterances in, replies out.

utterance -> token_ids -> history vector -> beam search -> re-ranking -> the first hypothesis that may be said
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from dialogue import checkpoint
from dialogue.checkpoint import Checkpoint
from dialogue.config import DecodeConfig
from dialogue.conversation import Conversation, Turn
from dialogue.decoding import constraints
from dialogue.decoding.beam import Hypothesis, beam_search
from dialogue.models import Batch
from dialogue.store import ConversationStore
from dialogue.vocabulary import CONTINUED
from dialogue.words import repeats_ngram, words

log = logging.getLogger(__name__)

HEARD_TOKENS = 128  # of a longer utterance its last tokens are read
BLOCKED_REPLIES = 4  # how many of the bot's replies block_reply_ngrams looks back on
FALLBACK = "tell me more about that."  # said only where not one hypothesis may be


@dataclass(frozen=True)
class Candidate:
    """A hypothesis as text. rank: log p(reply | history) - lambda * log p(reply | no history) + gamma * length."""

    text: str
    log_prob: float
    rank: float


@dataclass(frozen=True)
class Reply:
    """What the agent says, the conversation after it, and what it chose from, best first."""

    text: str
    conversation: Conversation
    candidates: tuple[Candidate, ...]
    is_fallback: bool = False


class DialogueAgent:
    """Talks with any number of people. Threads may share one: a lock guards the store and the model."""

    def __init__(self, source: Checkpoint, *, decode: DecodeConfig | None = None, store: ConversationStore | None = None) -> None:
        self.model, self.vocabulary = source.model, source.vocabulary
        self.decode = decode or DecodeConfig()
        self.device = next(source.model.parameters()).device
        self._store = ConversationStore() if store is None else store  # an empty one is false
        self._lock = threading.Lock()
        self._never = constraints.forbid(self.vocabulary.never_generated, device=self.device)

    @classmethod
    def load(cls, folder: str | Path = checkpoint.PRETRAINED, *, device: torch.device | None = None) -> DialogueAgent:
        """Load the agent of a checkpoint. Raises ValueError where it is none."""
        return cls(checkpoint.load(folder, device=device))

    # --- conversations by name ---------------------------------------------------------------------------------------

    def respond(self, conversations: Sequence[str], utterances: Sequence[str]) -> list[str]:
        """Answer one utterance in each of the named conversations, which must be different ones.

        A name that is new begins a conversation. Raises ValueError where names and utterances do not pair.
        """
        if len(conversations) != len(utterances) or len(set(conversations)) != len(conversations):
            raise ValueError(
                f"{len(utterances)} utterances for the conversations {list(conversations)}: expected one for each, no name twice"
            )
        with self._lock:
            replies = self.answer([self._store.get(name) for name in conversations], utterances)
            for name, reply in zip(conversations, replies, strict=True):
                self._store.put(name, reply.conversation)
        return [reply.text for reply in replies]

    def forget(self, conversation: str) -> None:
        """Drop a conversation and all that was said in it."""
        with self._lock:
            self._store.forget(conversation)

    # --- conversations as values ---------------------------------------------------------------------------------------

    def answer(self, conversations: Sequence[Conversation], utterances: Sequence[str]) -> list[Reply]:
        """Answer each utterance in its conversation; the reply becomes a turn of it."""
        if not conversations:
            return []
        heard = self.hear(conversations, [Turn("user", utterance) for utterance in utterances])
        chosen: list[tuple[Candidate | None, list[Candidate]]] = []
        for conversation, found in zip(heard, self.search(heard), strict=True):
            chosen.append((self._choose(conversation, found), found))
        turns = [Turn("bot", FALLBACK if candidate is None else candidate.text) for candidate, _ in chosen]
        return [
            Reply(turn.text, conversation, tuple(found), is_fallback=candidate is None)
            for turn, conversation, (candidate, found) in zip(turns, self.hear(heard, turns), chosen, strict=True)
        ]

    def hear(self, conversations: Sequence[Conversation], turns: Sequence[Turn]) -> list[Conversation]:
        """Take one turn into each conversation without an answer to it."""
        encoded = [self.vocabulary.encode(turn.text) for turn in turns]
        cut = sum(len(ids) > HEARD_TOKENS for ids in encoded)
        if cut:
            log.info("%d of %d utterances cut to their last %d tokens", cut, len(turns), HEARD_TOKENS)
        token_ids, lengths = self._pad([[*ids[-HEARD_TOKENS:], self.vocabulary.eos_id] for ids in encoded])
        histories = self.model.encode_turn(token_ids, lengths, _histories(conversations))  # (N, C)
        # a clone each: a view would keep the whole batch alive for as long as one conversation lasts
        return [c.after(turn, row.clone()) for c, turn, row in zip(conversations, turns, histories, strict=True)]

    @torch.no_grad()
    def score(self, conversations: Sequence[Conversation | None], replies: Sequence[Sequence[int]]) -> Tensor:
        """Give log p(reply | history) of each reply's token ids, </s> included: (N,). None is no history."""
        token_ids, lengths = self._pad([[*reply, self.vocabulary.eos_id] for reply in replies])
        batch = Batch(token_ids, lengths, torch.ones(len(replies), dtype=torch.long), history=_histories(conversations))
        return self.model.log_likelihood(batch).log_probs

    def _pad(self, utterances: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
        lengths = torch.tensor([len(utterance) for utterance in utterances])
        rows = [[*utterance, *[self.vocabulary.pad_id] * (int(lengths.max()) - len(utterance))] for utterance in utterances]
        return torch.tensor(rows, device=self.device), lengths

    # --- what to say -----------------------------------------------------------------------------------------------

    def search(self, conversations: Sequence[Conversation]) -> list[list[Candidate]]:
        """Find the candidates of each conversation, best rank first."""
        histories = torch.stack([c.history for c in conversations if c.history is not None])
        found = beam_search(
            self.model.step,
            self.model.start(histories),
            len(conversations),
            config=self.decode,
            bos_id=self.vocabulary.bos_id,
            eos_id=self.vocabulary.eos_id,
            constraints=self._constraints(conversations),
            device=self.device,
        )
        flat = [hypothesis.token_ids for hypotheses in found for hypothesis in hypotheses]
        blank = iter(self.score([None] * len(flat), flat).tolist()) if self.decode.anti_lm else iter([0.0] * len(flat))
        return [sorted((self._candidate(h, next(blank)) for h in hypotheses), key=lambda c: -c.rank) for hypotheses in found]

    def _candidate(self, hypothesis: Hypothesis, without_history: float) -> Candidate:
        rank = hypothesis.score
        if self.decode.anti_lm:
            rank = (
                hypothesis.log_prob - self.decode.anti_lm * without_history + self.decode.length_bonus * len(hypothesis.token_ids)
            )
        return Candidate(self.vocabulary.decode(hypothesis.token_ids), hypothesis.log_prob, rank)

    def _constraints(self, conversations: Sequence[Conversation]) -> list[constraints.Constraint]:
        eos, beam = self.vocabulary.eos_id, self.decode.beam_size
        chosen = [self._never]
        if self.decode.min_length:
            chosen.append(constraints.at_least(self.decode.min_length, eos_id=eos))
        if self.decode.block_ngrams:
            chosen.append(constraints.block_repeats(self.decode.block_ngrams, keep=eos))
        for n, speaker, turns in (
            (self.decode.block_user_ngrams, "user", 1),
            (self.decode.block_reply_ngrams, "bot", BLOCKED_REPLIES),
        ):
            if n:
                said = [[token for text in c.said(speaker)[-turns:] for token in self._reference(text)] for c in conversations]
                width = max(map(len, said))
                rows = [[*tokens, *[constraints.NO_TOKEN] * (width - len(tokens))] for tokens in said]
                references = (
                    torch.tensor(rows, dtype=torch.long, device=self.device).view(len(rows), width).repeat_interleave(beam, dim=0)
                )
                chosen.append(constraints.block_ngrams_of(references, n, keep=eos))
        return chosen

    def _reference(self, text: str) -> list[int]:
        return [*self.vocabulary.encode(text), constraints.NO_TOKEN]

    def _choose(self, conversation: Conversation, candidates: Sequence[Candidate]) -> Candidate | None:
        """Take the best candidate that may be said; one that was said before only where no other is left."""
        sayable = [candidate for candidate in candidates if self._may_be_said(candidate.text)]
        said = {tuple(words(text)) for text in conversation.said("bot")}
        fresh = (candidate for candidate in sayable if tuple(words(candidate.text)) not in said)
        return next(fresh, sayable[0] if sayable else None)

    def _may_be_said(self, text: str) -> bool:
        n = self.decode.block_ngrams
        return bool(words(text.replace(CONTINUED, " "))) and not (n and repeats_ngram(text.replace(CONTINUED, " "), n))


def _histories(conversations: Sequence[Conversation | None]) -> Tensor | None:
    """Stack history vectors, (N, C); conversations without one have zeros, the empty history. None where none has one."""
    found = [None if conversation is None else conversation.history for conversation in conversations]
    known = next((history for history in found if history is not None), None)
    if known is None:
        return None
    empty = torch.zeros_like(known)
    return torch.stack([empty if history is None else history for history in found])
