"""The dialogue agent: utterances in, replies out.

    utterance -> history --+-> search ------------------------------+-> likelihoods -> ranker
                           +-> replies recalled from like moments --+                    |
                           +-> stock replies likely to suit --------+                    |
                                                            the best permitted candidate

Each step has its own module: models encodes, decoding.search searches, known_replies.py recalls
and proposes, candidates.py computes likelihoods, ranking.py ranks and choosing.py chooses.
"""

from __future__ import annotations

import copy
import hashlib
import logging
import math
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from dialogue import checkpoint
from dialogue.candidates import LanguageModel, Scorer
from dialogue.checkpoint import Checkpoint
from dialogue.choosing import Chooser
from dialogue.claims import claims_a_life
from dialogue.config import DecodeConfig
from dialogue.conversation import Conversation, Turn
from dialogue.decoding.paths import Hypothesis
from dialogue.decoding.search import search
from dialogue.known_replies import Known, KnownReplies
from dialogue.learned_ranker import LearnedRanker
from dialogue.limits import limits_of, limits_of_settings, read_phrases
from dialogue.listening import with_invitation
from dialogue.models import History, prepare
from dialogue.models.history import (
    empty_history,
    history_from_bytes,
    rows_apart,
)
from dialogue.ranking import Candidate, RecallRanker, ranked, ranker_of
from dialogue.recall import Recalled
from dialogue.safety import Level, guard
from dialogue.stock_replies import Stock
from dialogue.store import Conversations, ConversationStore
from dialogue.vocabulary import without_marks

log = logging.getLogger(__name__)

HEARD_TOKENS = 128  # a longer utterance is cut to its last tokens
STAGES = ("hear", "search", "recall", "rank", "choose", "say")  # say: encode into the history
FALLBACK = "i don't know what to say to that. what else is on your mind?"  # if none is permitted


@dataclass(frozen=True)
class Reply:
    """What the agent says, the conversation after it, and the candidates, best first.

    A stock reply that was chosen may be said in other words than it has among the candidates.
    The conversation keeps the reply as the model wrote it, with <continued_utterance>; `text` has
    no such marks.
    seconds: spent on each stage, in order, by the whole batch.
    has_failed: no hypothesis had a finite log-probability; do not continue the conversation.
    """

    text: str
    conversation: Conversation
    candidates: tuple[Candidate, ...]
    is_fallback: bool = False
    seconds: tuple[tuple[str, float], ...] = field(default=(), compare=False)
    has_failed: bool = False


class DialogueAgent:
    """An agent that talks with any number of people.

    Threads may share an agent: a lock guards the store and the model.
    """

    def __init__(
        self,
        source: Checkpoint,
        *,
        decode: DecodeConfig | None = None,
        store: Conversations | None = None,
        may_say: Callable[[str, str], bool] | None = None,
        never_say: Sequence[str] = (),
        avoid: Callable[[str, str], bool] | None = None,
        language_model: LanguageModel | None = None,
        clock: Callable[[], float] = time.monotonic,
        precision: str = "fp32",
        observe: Callable[[Sequence[Reply]], None] | None = None,
    ) -> None:
        """Take a checkpoint, and whatever differs from the defaults.

        may_say: (utterance, reply) -> whether the reply is permitted; the best permitted candidate
        is said.
        never_say: phrases that no hypothesis may contain; those that the vocabulary cannot spell
        are ignored.
        avoid: (utterance, reply) -> whether to say the reply only if no other is left.
        language_model: replies as token ids -> log p(reply), (N,), for ranking; by default, the
        model itself without a history.
        precision: of the output layer during search and scoring, as in dialogue.models.projection.
        observe: called with the replies of every batch.
        Raises ValueError if the block list or a stop word is not in the vocabulary's language.
        """
        self.model, self.vocabulary = source.model, source.vocabulary
        self.prepared = prepare(source.model, precision)
        self.device = next(source.model.parameters()).device
        self.empty_history: History = empty_history(source.model)
        self.known = KnownReplies(source.recall, source.stock, source.vocabulary, self.hear)
        self._source = source  # the settings may name its ranker
        self._store: Conversations = ConversationStore() if store is None else store  # may be falsy
        self._lock = threading.Lock()
        self._may_say, self._avoid, self._observe = may_say, avoid, observe
        self._clock, self._never_say = clock, tuple(never_say)
        self._scorer = Scorer(
            self.prepared,
            self.vocabulary,
            self.empty_history,
            device=self.device,
            language_model=language_model,
        )
        self._sentence_ends = [
            token_id
            for token_id in range(len(self.vocabulary))
            if self.vocabulary.piece(token_id).endswith((".", "?", "!"))
        ]
        self._use(decode or DecodeConfig())

    def _use(self, decode: DecodeConfig) -> None:
        """Take settings, and derive what depends on them."""
        self.decode_config = decode
        self.ranker = ranker_of(self._source, decode)
        self._late_ranker = RecallRanker(None, decode)
        self._needs_blank = getattr(self.ranker, "needs_blank", True)
        # Only the learned ranker's scores estimate how good a reply is.
        self._listens = decode.listen if isinstance(self.ranker, LearnedRanker) else 0.0
        block_list = read_phrases(decode.block_list) if decode.block_list else {}
        self.limits = limits_of_settings(
            self.vocabulary, decode, block_list=block_list, never_say=self._never_say
        )
        self._chooser = Chooser(
            decode.block_ngrams,
            tuple(block_list.values()),
            self._may_say,
            self._avoid,
            decode.block_reply_ngrams,
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
        """Load the agent of a checkpoint. Raises ValueError if the folder holds none.

        model_name: as in checkpoint.load. safety: how replies are filtered, as in dialogue.safety.
        observe: as in the constructor.
        """
        return cls(
            checkpoint.load(folder, device=device, model_name=model_name),
            precision=precision,
            decode=decode,
            may_say=guard.may_say(safety),
            never_say=guard.never_say(safety),
            avoid=lambda utterance, reply: claims_a_life(reply, utterance),
            observe=observe,
        )

    def with_settings(self, decode: DecodeConfig) -> DialogueAgent:
        """Return an agent with other settings, for the same model and conversations.

        Raises ValueError if the block list or a stop word is not in the vocabulary's language.
        """
        other = copy.copy(self)
        other._use(decode)
        return other

    def with_store(self, store: Conversations) -> DialogueAgent:
        """Return the same agent with the conversations of another store."""
        other = copy.copy(self)
        other._store = store
        return other

    def with_observer(self, observe: Callable[[Sequence[Reply]], None] | None) -> DialogueAgent:
        """Return the same agent with another observer."""
        other = copy.copy(self)
        other._observe = observe
        return other

    def free_weights(self) -> None:
        """Free the model's weights if the prepared model has its own; the agent can then only talk.

        They are kept for a custom ranker, which may read them.
        """
        if self.prepared.is_apart and ":" not in self.decode_config.ranker:
            _ = self.fingerprint  # computed from the weights, so it must come first
            self.model.to(torch.device("meta"))

    @cached_property
    def fingerprint(self) -> str:
        """A digest of the model, with all its weights, which identifies its histories."""
        return checkpoint.fingerprint(self._source)

    def history_from_bytes(self, data: bytes) -> History:
        """Read a history of this model. Raises ValueError if the data is not one."""
        return history_from_bytes(data, self.empty_history)

    # --- conversations by name -------------------------------------------------------------------

    def respond(
        self, conversations: Sequence[str], utterances: Sequence[str], *, deadline: float = math.inf
    ) -> list[str]:
        """Answer one utterance in each of the named conversations, which must be distinct.

        A new name begins a conversation. deadline: seconds from now after which the search stops
        and the best reply so far is said. Raises ValueError if names and utterances do not pair up.
        """
        return [reply.text for reply in self.replies(conversations, utterances, deadline=deadline)]

    def replies(
        self, conversations: Sequence[str], utterances: Sequence[str], *, deadline: float = math.inf
    ) -> list[Reply]:
        """Answer as `respond` does, and return each reply with the candidates behind it."""
        if len(conversations) != len(utterances) or len(set(conversations)) != len(conversations):
            raise ValueError(
                f"{len(utterances)} utterances for the conversations {list(conversations)}: "
                "expected one for each, no name twice"
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
        """Return the conversation of that name, or a new one."""
        with self._lock:
            return self._store.get(name)

    def keep(self, name: str, conversation: Conversation) -> None:
        """Store a conversation under its name."""
        with self._lock:
            self._store.put(name, conversation)

    def note(self, conversation: str, utterance: str, reply: str) -> None:
        """Add an exchange that was answered elsewhere, with a fixed sentence, to a conversation."""
        with self._lock:
            (heard,) = self.hear([self._store.get(conversation)], [Turn("user", utterance)])
            (said,) = self.hear([heard], [Turn("bot", reply)])
            self._store.put(conversation, said)

    def add(self, conversation: str, said: str) -> None:
        """Add to a conversation what was said after the agent's own reply."""
        with self._lock:
            (further,) = self.hear([self._store.get(conversation)], [Turn("bot", said)])
            self._store.put(conversation, further)

    def forget(self, conversation: str) -> None:
        """Drop a conversation and everything said in it."""
        with self._lock:
            self._store.forget(conversation)

    # --- conversations as values -----------------------------------------------------------------

    def answer(
        self,
        conversations: Sequence[Conversation],
        utterances: Sequence[str],
        *,
        prefixes: Sequence[str] = (),
        deadline: float | Sequence[float] = math.inf,
    ) -> list[Reply]:
        """Answer each utterance in its conversation, to which the reply is added as a turn.

        prefixes: what each reply must begin with, "" for nothing; empty, or one per conversation.
        deadline: as in `respond`, one for all conversations or one for each.
        """
        until = self._until(deadline, len(conversations))
        return self._answer(conversations, utterances, prefixes=prefixes, until=until)

    def _until(self, deadline: float | Sequence[float], count: int) -> list[float]:
        """Turn the seconds left into clock times, one per conversation."""
        seconds = list(deadline) if isinstance(deadline, Sequence) else [deadline] * count
        if not all(given >= 0 for given in seconds):
            raise ValueError(
                f"deadline is {deadline}; "
                "it must be the seconds that there are for an answer, 0 or more"
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
        stages = _Stages()
        heard = self.hear(conversations, [Turn("user", utterance) for utterance in utterances])
        stages.end("hear")
        hypotheses = self._search(heard, prefixes, until)
        stages.end("search")
        # Known replies are fixed, so they cannot begin with a given prefix.
        begun = prefixes or [""] * len(heard)
        found = self.known.find(heard, self.decode_config)
        known = [[] if prefix else theirs for prefix, theirs in zip(begun, found, strict=True)]
        stages.end("recall")
        unordered, late = self._candidates(heard, hypotheses, known, until)
        candidates = self._ranked(heard, unordered, late)
        if self._listens:
            candidates = [
                theirs if is_late or prefix else with_invitation(one, theirs, self._listens)
                for one, theirs, is_late, prefix in zip(heard, candidates, late, begun, strict=True)
            ]
        stages.end("rank")
        chosen = [
            self._chooser.choose(conversation, found)
            for conversation, found in zip(heard, candidates, strict=True)
        ]
        stages.end("choose")
        turns = [
            Turn("bot", self._chooser.wording(conversation, one) if one else FALLBACK)
            for conversation, one in zip(heard, chosen, strict=True)
        ]
        answered = self.hear(heard, turns)
        stages.end("say")
        replies = [
            Reply(
                without_marks(turn.text),
                conversation,
                tuple(found),
                is_fallback=candidate is None,
                seconds=tuple(stages.seconds),
                has_failed=not theirs,
            )
            for turn, conversation, found, candidate, theirs in zip(
                turns, answered, candidates, chosen, hypotheses, strict=True
            )
        ]
        if self._observe:
            self._observe(replies)
        return replies

    def hear(
        self, conversations: Sequence[Conversation], turns: Sequence[Turn]
    ) -> list[Conversation]:
        """Add one turn to each conversation without answering it."""
        encoded = [self.vocabulary.encode(turn.text) for turn in turns]
        cut = sum(len(ids) > HEARD_TOKENS for ids in encoded)
        if cut:
            log.info(
                "%d of %d utterances cut to their last %d tokens", cut, len(turns), HEARD_TOKENS
            )
        token_ids, lengths = self._pad(
            [[*ids[-HEARD_TOKENS:], self.vocabulary.eos_id] for ids in encoded]
        )
        before = self._scorer.histories(conversations)
        histories = self.prepared.encode_turn(token_ids, lengths, before)
        return [
            conversation.after(turn, history)
            for conversation, turn, history in zip(
                conversations, turns, rows_apart(histories), strict=True
            )
        ]

    def _pad(self, utterances: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
        rows = [torch.tensor(utterance) for utterance in utterances]
        padded = pad_sequence(rows, batch_first=True, padding_value=self.vocabulary.pad_id)
        return padded.to(self.device), torch.tensor([len(row) for row in rows])

    # --- candidates for the last turn ------------------------------------------------------------

    def candidates(
        self,
        conversations: Sequence[Conversation],
        *,
        prefixes: Sequence[str] = (),
        until: Sequence[float] = (),
    ) -> list[list[Candidate]]:
        """Search for the candidates of each conversation, best search score first.

        until: for each, the clock time after which no search step is begun. Candidates of a
        conversation that is late lack the likelihood without a history.
        """
        until = until or [math.inf] * len(conversations)
        hypotheses = self._search(conversations, prefixes, until)
        found, _ = self._candidates(conversations, hypotheses, [()] * len(conversations), until)
        return found

    def score(
        self,
        conversation: Conversation,
        texts: Sequence[str],
        *,
        similarities: Mapping[str, float] | None = None,
        stock: Mapping[str, Stock] | None = None,
    ) -> list[Candidate]:
        """Make a candidate of each text, with its likelihood given the history and without one.

        similarities: of the texts to treat as remembered replies. stock: the texts to treat as
        stock replies.
        """
        return self._scorer.of_texts(conversation, texts, similarities or {}, stock or {})

    def rank(self, conversation: Conversation, texts: Sequence[str]) -> list[Candidate]:
        """Rank arbitrary texts as answers to the last turn, best first."""
        (best_first,) = self._ranked([conversation], [self.score(conversation, texts)], [False])
        return best_first

    def why(self, reply: Reply) -> list[str]:
        """Return why each candidate of a reply was passed over, in the words of `Chooser.why`."""
        heard = Conversation(turns=reply.conversation.turns[:-1])
        return self._chooser.why(heard, reply.candidates)

    def _search(
        self, conversations: Sequence[Conversation], prefixes: Sequence[str], until: Sequence[float]
    ) -> list[list[Hypothesis]]:
        return search(
            self.prepared.step,
            self.prepared.start(self._scorer.histories(conversations)),
            len(conversations),
            config=self.decode_config,
            bos_id=self.vocabulary.bos_id,
            eos_id=self.vocabulary.eos_id,
            limits=limits_of(
                conversations, prefixes, always=self.limits, vocabulary=self.vocabulary
            ),
            seeds=[_seed(self.decode_config.seed, conversation) for conversation in conversations],
            sentence_ends=self._sentence_ends,
            deadline=until,
            clock=self._clock,
            device=self.device,
        )

    def _candidates(
        self,
        conversations: Sequence[Conversation],
        hypotheses: Sequence[Sequence[Hypothesis]],
        known: Sequence[Sequence[Known]],
        until: Sequence[float],
    ) -> tuple[list[list[Candidate]], list[bool]]:
        """Make the candidates; also return which conversations had no time left to score them.

        Nothing needs scoring if the ranker takes the search results as they are.
        """
        now = self._clock()
        in_time = [now < end for end in until]
        # The fit of a stock reply means nothing until it is weighed against other candidates.
        known = [
            theirs if timely else [one for one in theirs if isinstance(one, Recalled)]
            for timely, theirs in zip(in_time, known, strict=True)
        ]
        candidates = self._scorer.candidates(
            conversations, hypotheses, known, in_time=in_time, need_blank=self._needs_blank
        )
        late = [
            not timely and (self._needs_blank or bool(theirs))
            for timely, theirs in zip(in_time, known, strict=True)
        ]
        return candidates, late

    def _ranked(
        self,
        conversations: Sequence[Conversation],
        candidates: Sequence[Sequence[Candidate]],
        late: Sequence[bool],
    ) -> list[list[Candidate]]:
        """Order the candidates of each conversation, best first.

        If the deadline left no time to score hypotheses, their search scores order them, and
        remembered replies that fit well come before them.
        """
        best_first: dict[int, list[Candidate]] = {}
        for is_late, ranker in ((False, self.ranker), (True, self._late_ranker)):
            rows = [row for row, found in enumerate(late) if found == is_late]
            if rows:
                found = ranked(
                    ranker, [conversations[row] for row in rows], [candidates[row] for row in rows]
                )
                best_first.update(zip(rows, found, strict=True))
        return [best_first[row] for row in range(len(candidates))]


class _Stages:
    """A stopwatch for the stages of an answer, in the order of STAGES."""

    def __init__(self) -> None:
        self.seconds: list[tuple[str, float]] = []
        self._since = time.perf_counter()

    def end(self, stage: str) -> None:
        """End a stage and begin the next."""
        now = time.perf_counter()
        self.seconds.append((stage, now - self._since))
        self._since = now


def _seed(seed: int, conversation: Conversation) -> int:
    """Return a seed made from the configured one and from what was said.

    So a conversation draws the same samples whatever else is in its batch.
    """
    said = repr((seed, [(turn.speaker, turn.text) for turn in conversation.turns]))
    digest = hashlib.blake2b(said.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest) >> 1
