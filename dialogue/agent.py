"""The dialogue agent: utterances in, replies out.

utterance -> token_ids -> history -> search ---------+-> ranker -> the first candidate that may be said
          -> replies remembered to what is like it --+
"""

from __future__ import annotations

import copy
import hashlib
import itertools
import logging
import math
import threading
import time
from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import cast

import torch
from torch import Tensor

from dialogue import checkpoint
from dialogue.checkpoint import Checkpoint
from dialogue.claims import claims_a_life
from dialogue.config import DecodeConfig
from dialogue.conversation import Conversation, Turn
from dialogue.decoding.constraints import Limits
from dialogue.decoding.paths import Hypothesis
from dialogue.decoding.scoring import log_probs_of
from dialogue.decoding.search import search
from dialogue.models import Batch, History, prepare
from dialogue.models.history import empty_history, history_from_bytes, stack_histories
from dialogue.ranking import Candidate, LikelihoodRanker, RecallRanker, ranker_of
from dialogue.recall import Recalled
from dialogue.safety import Level, may_say, never_say
from dialogue.store import Conversations, ConversationStore
from dialogue.text_files import read_lines
from dialogue.vocabulary import CONTINUED, without_marks
from dialogue.words import holds_phrase, repeats_ngram, words

log = logging.getLogger(__name__)

HEARD_TOKENS = 128  # of a longer utterance its last tokens are read
BLOCKED_REPLIES = 4  # how many of the bot's replies block_reply_ngrams looks back on
RECALLED_TURNS = 6  # that a remembered reply may speak of
RELUCTANCE = ("", "a life", "said before", "said before, a life")  # the most willingly said first
STAGES = (
    "hear",
    "search",
    "recall",
    "rank",
    "choose",
    "say",
)  # of an answer; say: into the history
FALLBACK = "i don't know what to say to that. what else is on your mind?"  # said only where not one hypothesis may be


@dataclass(frozen=True)
class Reply:
    """What the agent says, the conversation after it, and what it chose from, best first.

    The conversation keeps the reply as the model wrote it, with <continued_utterance>; the text is without such marks.
    seconds: by stage, in order; of the batch that it was found in. has_failed: not one hypothesis had a likelihood that is a
    number; the conversation is not to be gone on with.
    """

    text: str
    conversation: Conversation
    candidates: tuple[Candidate, ...]
    is_fallback: bool = False
    seconds: tuple[tuple[str, float], ...] = field(default=(), compare=False)
    has_failed: bool = False


class DialogueAgent:
    """Talks with any number of people. Threads may share one: a lock guards the store and the model."""

    def __init__(
        self,
        source: Checkpoint,
        *,
        decode: DecodeConfig | None = None,
        store: Conversations | None = None,
        may_say: Callable[[str, str], bool] | None = None,
        never_say: Sequence[str] = (),
        avoid: Callable[[str], bool] | None = None,
        language_model: Callable[[Sequence[Sequence[int]]], Tensor] | None = None,
        clock: Callable[[], float] = time.monotonic,
        precision: str = "fp32",
        observe: Callable[[Sequence[Reply]], None] | None = None,
    ) -> None:
        """Take a checkpoint, and what is to differ from the defaults.

        may_say: (utterance, reply) -> whether this may be the answer; the best candidate of which it is true is said.
        never_say: phrases that no hypothesis may hold; those that the vocabulary cannot write are left out.
        avoid: reply -> whether it is said only where no other is left.
        language_model: replies as token ids -> log p(reply), (N,), for re-ranking; else the model's own without history.
        precision: of the output layer while a reply is searched for, as dialogue.models.projection has it.
        observe: is told the replies of every batch.
        Raises ValueError where the block list or a stop word is not of the vocabulary's language.
        """
        self.model, self.vocabulary = source.model, source.vocabulary
        self.prepared = prepare(source.model, precision)
        self.device = next(source.model.parameters()).device
        self.empty_history: History = empty_history(source.model)
        self.memory = source.recall
        self._source = source  # whose own ranker the settings may name
        self._store: Conversations = ConversationStore() if store is None else store  # may be false
        self._lock = threading.Lock()
        self._may_say, self._avoid, self._observe = may_say, avoid, observe
        self._language_model, self._clock, self._never_say = language_model, clock, tuple(never_say)
        pieces = (
            (token_id, self.vocabulary.piece(token_id)) for token_id in range(len(self.vocabulary))
        )
        self._sentence_ends = [
            token_id for token_id, piece in pieces if piece.endswith((".", "?", "!"))
        ]
        self._search_by(decode or DecodeConfig())

    def _search_by(self, decode: DecodeConfig) -> None:
        self.decode_config = decode
        self.ranker = ranker_of(self._source, decode)
        # A likelihood without its correction is that of the search; there is nothing to compute then.
        self._needs_blank = decode.anti_lm != 0 or not isinstance(self.ranker, LikelihoodRanker)
        self._block_list = (
            _read_phrases(self.decode_config.block_list) if self.decode_config.block_list else {}
        )
        self._limits = Limits(
            forbidden=self.vocabulary.never_generated,
            block_list=[
                *(self._encode_phrase(phrase, where) for where, phrase in self._block_list.items()),
                *(
                    ids
                    for ids in map(self.vocabulary.encode, self._never_say)
                    if ids and self.vocabulary.unk_id not in ids
                ),
            ],
            stop_words=[
                self._encode_phrase(phrase, "stop_words")
                for phrase in self.decode_config.stop_words
            ],
        )

    @classmethod
    def load(
        cls,
        folder: str | Path = checkpoint.PRETRAINED,
        *,
        device: torch.device | None = None,
        model_name: str | None = None,
        precision: str = "auto",
        decode: DecodeConfig | None = None,
        safety: Level = "standard",
        observe: Callable[[Sequence[Reply]], None] | None = None,
    ) -> DialogueAgent:
        """Load the agent of a checkpoint. Raises ValueError where it is none.

        model_name: as checkpoint.load has it. safety: how its replies are filtered, as in dialogue.safety.
        observe: as above.
        """
        return cls(
            checkpoint.load(folder, device=device, model_name=model_name),
            precision=precision,
            decode=decode,
            may_say=may_say(safety),
            never_say=never_say(safety),
            avoid=claims_a_life,
            observe=observe,
        )

    def with_settings(self, decode: DecodeConfig) -> DialogueAgent:
        """Return the agent with other settings of the search: the same model, in the same conversations.

        Raises ValueError where the block list or a stop word is not of the vocabulary's language.
        """
        other = copy.copy(self)
        other._search_by(decode)
        return other

    def with_store(self, store: Conversations) -> DialogueAgent:
        """Return the same agent, in the conversations of another store."""
        other = copy.copy(self)
        other._store = store
        return other

    @cached_property
    def fingerprint(self) -> str:
        """Digits that no other model has, to know its histories by; from all of its weights."""
        return checkpoint.fingerprint(self._source)

    def history_from_bytes(self, data: bytes) -> History:
        """Read a history of this model. Raises ValueError where it is none."""
        return history_from_bytes(data, self.empty_history)

    # --- conversations by name ---------------------------------------------------------------------------------------

    def respond(
        self, conversations: Sequence[str], utterances: Sequence[str], *, deadline: float = math.inf
    ) -> list[str]:
        """Answer one utterance in each of the named conversations, which must be different ones.

        A name that is new begins a conversation. deadline: seconds from now after which no further token is searched for, and
        the best so far is said. Raises ValueError where names and utterances do not pair.
        """
        return [reply.text for reply in self.replies(conversations, utterances, deadline=deadline)]

    def replies(
        self, conversations: Sequence[str], utterances: Sequence[str], *, deadline: float = math.inf
    ) -> list[Reply]:
        """Answer as `respond` does, and return with each reply what it was chosen from."""
        if len(conversations) != len(utterances) or len(set(conversations)) != len(conversations):
            raise ValueError(
                f"{len(utterances)} utterances for the conversations {list(conversations)}: expected one for each, no name twice"
            )
        until = self._until(deadline, len(conversations))  # so that waiting for the lock counts
        with self._lock:
            replies = self._answer(
                [self._store.get(name) for name in conversations], utterances, until=until
            )
            for name, reply in zip(conversations, replies, strict=True):
                if not reply.has_failed:
                    self._store.put(name, reply.conversation)
        return replies

    def conversation(self, name: str) -> Conversation:
        """Return the conversation of that name, a new one where there is none."""
        with self._lock:
            return self._store.get(name)

    def keep(self, name: str, conversation: Conversation) -> None:
        """Keep what a conversation of that name has become."""
        with self._lock:
            self._store.put(name, conversation)

    def note(self, conversation: str, utterance: str, reply: str) -> None:
        """Take into a conversation what was answered elsewhere, by a fixed sentence."""
        with self._lock:
            (heard,) = self.hear([self._store.get(conversation)], [Turn("user", utterance)])
            (said,) = self.hear([heard], [Turn("bot", reply)])
            self._store.put(conversation, said)

    def add(self, conversation: str, said: str) -> None:
        """Take into a conversation what was said after the agent's own reply."""
        with self._lock:
            (further,) = self.hear([self._store.get(conversation)], [Turn("bot", said)])
            self._store.put(conversation, further)

    def forget(self, conversation: str) -> None:
        """Drop a conversation and all that was said in it."""
        with self._lock:
            self._store.forget(conversation)

    # --- conversations as values ---------------------------------------------------------------------------------------

    def answer(
        self,
        conversations: Sequence[Conversation],
        utterances: Sequence[str],
        *,
        prefixes: Sequence[str] = (),
        deadline: float | Sequence[float] = math.inf,
    ) -> list[Reply]:
        """Answer each utterance in its conversation; the reply becomes a turn of it.

        prefixes: what each reply begins with, "" for nothing; none are given, or one for each. deadline: as in `respond`, for
        all conversations or for each of them.
        """
        until = self._until(deadline, len(conversations))
        return self._answer(conversations, utterances, prefixes=prefixes, until=until)

    def _until(self, deadline: float | Sequence[float], count: int) -> list[float]:
        """Turn the seconds that there are into times of the clock, one a conversation."""
        seconds = list(deadline) if isinstance(deadline, Sequence) else [deadline] * count
        if not all(given >= 0 for given in seconds):
            raise ValueError(
                f"deadline is {deadline}; it must be the seconds that there are for an answer, 0 or more"
            )
        now = self._clock()
        return [now + given for given in seconds]

    def _answer(
        self,
        conversations: Sequence[Conversation],
        utterances: Sequence[str],
        *,
        until: Sequence[float],
        prefixes: Sequence[str] = (),
    ) -> list[Reply]:
        if not conversations:
            return []
        moments = [time.perf_counter()]
        heard = self.hear(conversations, [Turn("user", utterance) for utterance in utterances])
        moments.append(time.perf_counter())
        hypotheses = self._hypotheses(heard, prefixes, until)
        moments.append(time.perf_counter())
        recalls = self.decode_config.recall and len(self.memory) and not any(prefixes)
        recalled = self.remember(conversations, heard) if recalls else None
        moments.append(time.perf_counter())
        found = self.ranked(heard, self._candidates(heard, hypotheses, recalled, until))
        moments.append(time.perf_counter())
        chosen = [
            self._choose(conversation, utterance, candidates)
            for conversation, utterance, candidates in zip(heard, utterances, found, strict=True)
        ]
        turns = [
            Turn("bot", FALLBACK if candidate is None else candidate.text) for candidate in chosen
        ]
        moments.append(time.perf_counter())
        said = self.hear(heard, turns)
        moments.append(time.perf_counter())
        seconds = tuple(
            zip(
                STAGES,
                (after - before for before, after in itertools.pairwise(moments)),
                strict=True,
            )
        )
        replies = [
            Reply(
                without_marks(turn.text),
                conversation,
                tuple(candidates),
                candidate is None,
                seconds,
                failed,
            )
            for turn, conversation, candidate, candidates, failed in zip(
                turns, said, chosen, found, [not their for their in hypotheses], strict=True
            )
        ]
        if self._observe:
            self._observe(replies)
        return replies

    def hear(
        self, conversations: Sequence[Conversation], turns: Sequence[Turn]
    ) -> list[Conversation]:
        """Take one turn into each conversation without an answer to it."""
        encoded = [self.vocabulary.encode(turn.text) for turn in turns]
        cut = sum(len(ids) > HEARD_TOKENS for ids in encoded)
        if cut:
            log.info(
                "%d of %d utterances cut to their last %d tokens", cut, len(turns), HEARD_TOKENS
            )
        token_ids, lengths = self._pad(
            [[*ids[-HEARD_TOKENS:], self.vocabulary.eos_id] for ids in encoded]
        )
        histories = self.model.encode_turn(token_ids, lengths, self._histories(conversations))
        # copied row by row: a view would keep the whole batch alive as long as one conversation
        return [
            conversation.after(turn, histories[[row]])
            for row, (conversation, turn) in enumerate(zip(conversations, turns, strict=True))
        ]

    def _histories(self, conversations: Sequence[Conversation | None]) -> History:
        """Stack the histories of conversations, N rows; one without has the empty one."""
        found = [None if c is None else c.history for c in conversations]
        return stack_histories([self.empty_history if h is None else h for h in found])

    @torch.no_grad()
    def score(
        self, conversations: Sequence[Conversation | None], replies: Sequence[Sequence[int]]
    ) -> Tensor:
        """Give log p(reply | history) of each reply's token ids, </s> included: (N,). None is no history."""
        token_ids, lengths = self._pad([[*reply, self.vocabulary.eos_id] for reply in replies])
        batch = Batch(
            token_ids,
            lengths,
            torch.ones(len(replies), dtype=torch.long),
            history=self._histories(conversations),
        )
        return self.model.log_likelihood(batch).log_probs

    def _pad(self, utterances: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
        lengths = torch.tensor([len(utterance) for utterance in utterances])
        rows = [
            [*utterance, *[self.vocabulary.pad_id] * (int(lengths.max()) - len(utterance))]
            for utterance in utterances
        ]
        return torch.tensor(rows, device=self.device), lengths

    # --- what to say -----------------------------------------------------------------------------------------------

    def search(
        self,
        conversations: Sequence[Conversation],
        *,
        prefixes: Sequence[str] = (),
        until: Sequence[float] = (),
    ) -> list[list[Candidate]]:
        """Find the candidates of each conversation, best score first.

        until: of each, the time of the clock after which no step is begun for it. One that is late has its candidates
        without their likelihood without a history.
        """
        until = until or [math.inf] * len(conversations)
        hypotheses = self._hypotheses(conversations, prefixes, until)
        return self._candidates(conversations, hypotheses, None, until)

    def _hypotheses(
        self, conversations: Sequence[Conversation], prefixes: Sequence[str], until: Sequence[float]
    ) -> list[list[Hypothesis]]:
        return search(
            self.prepared.step,
            self.prepared.start(self._histories(conversations)),
            len(conversations),
            config=self.decode_config,
            bos_id=self.vocabulary.bos_id,
            eos_id=self.vocabulary.eos_id,
            limits=self._limits_of(conversations, prefixes),
            seeds=[_seed(self.decode_config.seed, conversation) for conversation in conversations],
            sentence_ends=self._sentence_ends,
            deadline=until,
            clock=self._clock,
            device=self.device,
        )

    def remember(
        self, before: Sequence[Conversation], heard: Sequence[Conversation]
    ) -> list[list[Recalled]]:
        """Recall replies to what is like the last turn of each conversation. before: the conversations without that turn."""
        return [
            self.memory.find(
                now.turns[-1].text,
                [turn.text for turn in then.turns[-RECALLED_TURNS:]],
                count=self.decode_config.recall,
            )
            for then, now in zip(before, heard, strict=True)
        ]

    def _candidates(
        self,
        conversations: Sequence[Conversation],
        hypotheses: Sequence[Sequence[Hypothesis]],
        recalled: Sequence[Sequence[Recalled]] | None,
        until: Sequence[float],
    ) -> list[list[Candidate]]:
        """Make candidates of each conversation's replies, those recalled first, and score them all in one pass."""
        now = self._clock()
        remembered = [
            [(self.vocabulary.encode(one.text), one) for one in found]
            for found in recalled or [()] * len(conversations)
        ]
        in_time = [self._needs_blank and now < end for end in until]
        asked: list[tuple[Conversation | None, Sequence[int]]] = []
        for conversation, found, known, is_in_time in zip(
            conversations, hypotheses, remembered, in_time, strict=True
        ):
            for token_ids, _ in known:
                asked += [(conversation, token_ids), (None, token_ids)]
            asked += [(None, one.token_ids) for one in found if is_in_time]
        log_probs = iter(self._log_probs(asked))
        return [
            [
                Candidate(
                    one.text, log_prob := next(log_probs), log_prob, next(log_probs),
                    len(token_ids), similarity=one.similarity,
                )
                for token_ids, one in known
            ]
            + [
                Candidate(
                    self.vocabulary.decode(one.token_ids), one.log_prob, one.score,
                    next(log_probs) if is_in_time else None, len(one.token_ids), one.token_log_probs,
                )
                for one in found
            ]
            for found, known, is_in_time in zip(hypotheses, remembered, in_time, strict=True)
        ]  # fmt: skip

    def ranked(
        self, conversations: Sequence[Conversation], candidates: Sequence[Sequence[Candidate]]
    ) -> list[list[Candidate]]:
        """Order the candidates of each conversation by the ranker, best first.

        Where the deadline left no time to score what the search found, its own scores order it, and
        remembered replies that fit well stand before it.
        """
        late = [
            self._needs_blank and any(candidate.blank is None for candidate in found)
            for found in candidates
        ]
        if any(late) and not all(late):  # each kind by itself
            kinds = {
                kind: iter(
                    self.ranked(
                        [
                            one
                            for one, found in zip(conversations, late, strict=True)
                            if found == kind
                        ],
                        [one for one, found in zip(candidates, late, strict=True) if found == kind],
                    )
                )
                for kind in (False, True)
            }
            return [next(kinds[kind]) for kind in late]
        rank = (
            RecallRanker(None, self.decode_config) if any(late) else self.ranker
        )  # needs no likelihood without history
        scores = rank(conversations, candidates)
        if (expected := [len(found) for found in candidates]) != (
            found := [len(theirs) for theirs in scores]
        ):
            raise ValueError(
                f"{type(rank).__name__} gave {sum(found)} scores for {sum(expected)} candidates; each needs one"
            )
        return [
            sorted(
                (replace(c, score=score) for c, score in zip(found, theirs, strict=True)),
                key=lambda c: -c.score,
            )
            for found, theirs in zip(candidates, scores, strict=True)
        ]

    def rank(self, conversation: Conversation, candidates: Sequence[str]) -> list[Candidate]:
        """Order any texts by how well they answer what was heard last, best first, as an answer's candidates are."""
        (ranked,) = self.ranked(
            [conversation], [self.scored([conversation] * len(candidates), candidates)]
        )
        return ranked

    def scored(
        self, conversations: Sequence[Conversation], texts: Sequence[str]
    ) -> list[Candidate]:
        """Make a candidate of each text, with its likelihoods in its conversation and without one."""
        if not texts:
            return []
        token_ids = [self.vocabulary.encode(text) for text in texts]
        asked = [*zip(conversations, token_ids, strict=True), *((None, ids) for ids in token_ids)]
        log_probs = self._log_probs(asked)
        return [
            Candidate(text, log_prob, log_prob, blank, len(ids))
            for text, log_prob, blank, ids in zip(
                texts, log_probs[: len(texts)], log_probs[len(texts) :], token_ids, strict=True
            )
        ]

    def _log_probs(self, asked: Sequence[tuple[Conversation | None, Sequence[int]]]) -> list[float]:
        """Compute log p(reply | history) of each pair, or log p(reply) where there is no conversation.

        As `score` does, but in the precision of the search, and much cheaper for replies that begin alike.
        """
        without = [reply for conversation, reply in asked if conversation is None]
        if self._language_model and without:
            blanks = iter(self._language_model(without).tolist())
            given = iter(self._log_probs([pair for pair in asked if pair[0] is not None]))
            return [next(blanks if pair[0] is None else given) for pair in asked]
        if not asked:
            return []
        different = {id(conversation): conversation for conversation, _ in asked}
        rows = {key: row for row, key in enumerate(different)}
        found = log_probs_of(
            self.prepared.step,
            self.prepared.start(self._histories(list(different.values()))),
            [rows[id(conversation)] for conversation, _ in asked],
            [reply for _, reply in asked],
            bos_id=self.vocabulary.bos_id,
            eos_id=self.vocabulary.eos_id,
            device=self.device,
        )
        return cast(list[float], found.tolist())

    def _limits_of(self, conversations: Sequence[Conversation], prefixes: Sequence[str]) -> Limits:
        encode = self.vocabulary.encode
        return replace(
            self._limits,
            user=[[encode(text) for text in c.said("user")[-1:]] for c in conversations],
            replies=[
                [encode(text) for text in c.said("bot")[-BLOCKED_REPLIES:]] for c in conversations
            ],
            prefixes=[encode(prefix) for prefix in prefixes],
        )

    def _encode_phrase(self, phrase: str, where: str) -> list[int]:
        token_ids = self.vocabulary.encode(phrase)
        if not token_ids or self.vocabulary.unk_id in token_ids:
            raise ValueError(
                f"{where}: {phrase!r} holds characters that the vocabulary lacks; no reply could hold it: leave it out"
            )
        return token_ids

    def _choose(
        self, conversation: Conversation, utterance: str, candidates: Sequence[Candidate]
    ) -> Candidate | None:
        """Take the best candidate that may be said; one to avoid, or said before, only where no other is left."""
        said = _spoken(conversation)
        # stable: the best first among equals
        willingly_first = sorted(
            candidates, key=lambda c: RELUCTANCE.index(self._misgiving(c.text, said))
        )
        return next(
            (
                candidate
                for candidate in willingly_first
                if not self._objection(candidate.text, utterance)
            ),
            None,
        )

    def why(self, reply: Reply) -> list[str]:
        """Say of each candidate of a reply of this agent why it was passed over; "" is the one that was said.

        "ranker": others come before it. Else what keeps it from being said: "empty", "repetition", "block list",
        "safety"; or why it is said only where no other is left: "a life", "said before".
        """
        heard, utterance = reply.conversation.turns[:-1], reply.conversation.turns[-2].text
        said = _spoken(Conversation(turns=heard))
        chosen = self._choose(Conversation(turns=heard), utterance, reply.candidates)
        return [
            ""
            if candidate is chosen
            else self._objection(candidate.text, utterance)
            or self._misgiving(candidate.text, said)
            or "ranker"
            for candidate in reply.candidates
        ]

    def _misgiving(self, text: str, said: Set[tuple[str, ...]]) -> str:
        """Say why a candidate is said only where no other is left, one of RELUCTANCE."""
        spoken = without_marks(text)
        is_avoided = self._avoid is not None and self._avoid(spoken)
        if tuple(words(spoken)) in said:
            return "said before, a life" if is_avoided else "said before"
        return "a life" if is_avoided else ""

    def _objection(self, text: str, utterance: str) -> str:
        """Say what keeps a candidate from being said; "": nothing does."""
        n, spoken = self.decode_config.block_ngrams, text.replace(CONTINUED, " ")
        if not words(spoken):
            return "empty"
        if n and repeats_ngram(spoken, n):
            return "repetition"
        if any(holds_phrase(spoken, phrase) for phrase in self._block_list.values()):
            return "block list"
        return "" if self._may_say is None or self._may_say(utterance, text) else "safety"


def _spoken(conversation: Conversation) -> set[tuple[str, ...]]:
    """Return the words of every reply that a conversation has had."""
    return {tuple(words(without_marks(text))) for text in conversation.said("bot")}


def _read_phrases(path: str) -> dict[str, str]:
    """Read a file of phrases, one a line: where each stands, and the phrase."""
    try:
        lines = read_lines(path)
    except ValueError as error:
        raise ValueError(
            f"block_list: {error}; it must be a text file with one phrase a line"
        ) from None
    return {
        f"{path}, line {number}": line.strip()
        for number, line in enumerate(lines, start=1)
        if line.strip()
    }


def _seed(seed: int, conversation: Conversation) -> int:
    """Make a seed of the config's and of what was said: the same conversation draws the same, whatever else is answered with it."""
    said = repr((seed, [(turn.speaker, turn.text) for turn in conversation.turns]))
    return (
        int.from_bytes(
            hashlib.blake2b(said.encode("utf-8", "surrogatepass"), digest_size=8).digest()
        )
        >> 1
    )
