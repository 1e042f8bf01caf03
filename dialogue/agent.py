"""The dialogue agent: utterances in, replies out.

    utterance -> history --+-> search ------------------------------+-> likelihoods -> ranker
                           +-> replies recalled to what is like it -+                    |
                           +-> stock replies likely to suit --------+                    |
                                                        the best candidate that may be said

Each step is a module's: models encode, decoding.search finds, known_replies.py recalls and
proposes, candidates.py computes likelihoods, ranking.py ranks and choosing.py chooses.
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

HEARD_TOKENS = 128  # of a longer utterance its last tokens are read
STAGES = ("hear", "search", "recall", "rank", "choose", "say")  # say: into the history
FALLBACK = "i don't know what to say to that. what else is on your mind?"  # where none may be said


@dataclass(frozen=True)
class Reply:
    """What the agent says, the conversation after it, and what it chose from, best first.

    The conversation keeps the reply as the model wrote it, with <continued_utterance>; the text is
    without such marks.
    seconds: of each stage, in order; of the batch that it was found in.
    has_failed: not one hypothesis had a likelihood that is a number; the conversation is not to be
    gone on with.
    """

    text: str
    conversation: Conversation
    candidates: tuple[Candidate, ...]
    is_fallback: bool = False
    seconds: tuple[tuple[str, float], ...] = field(default=(), compare=False)
    has_failed: bool = False


class DialogueAgent:
    """Talks with any number of people.

    Threads may share one: a lock guards the store and the model.
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
        """Take a checkpoint, and what is to differ from the defaults.

        may_say: (utterance, reply) -> whether this may be the answer; the best candidate of which
        it is true is said.
        never_say: phrases that no hypothesis may hold; those that the vocabulary cannot write are
        left out.
        avoid: (utterance, reply) -> whether it is said only where no other is left.
        language_model: replies as token ids -> log p(reply), (N,), for ranking; else the model's
        own without a history.
        precision: of the output layer while replies are searched for and scored, as
        dialogue.models.projection has it.
        observe: is told the replies of every batch.
        Raises ValueError where the block list or a stop word is not of the vocabulary's language.
        """
        self.model, self.vocabulary = source.model, source.vocabulary
        self.prepared = prepare(source.model, precision)
        self.device = next(source.model.parameters()).device
        self.empty_history: History = empty_history(source.model)
        self.known = KnownReplies(source.recall, source.stock, source.vocabulary, self.hear)
        self._source = source  # whose own ranker the settings may name
        self._store: Conversations = ConversationStore() if store is None else store  # may be false
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
        """Take settings, and what follows from them."""
        self.decode_config = decode
        self.ranker = ranker_of(self._source, decode)
        self._late_ranker = RecallRanker(None, decode)
        self._needs_blank = getattr(self.ranker, "needs_blank", True)
        # Only the learned ranker's scores say how good a reply is expected to be.
        self._listens = decode.listen if isinstance(self.ranker, LearnedRanker) else 0.0
        block_list = read_phrases(decode.block_list) if decode.block_list else {}
        self.limits = limits_of_settings(
            self.vocabulary, decode, block_list=block_list, never_say=self._never_say
        )
        self._chooser = Chooser(
            decode.block_ngrams, tuple(block_list.values()), self._may_say, self._avoid
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

        model_name: as checkpoint.load has it. safety: how its replies are filtered, as in
        dialogue.safety. observe: as above.
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
        """Return the agent with other settings: the same model, in the same conversations.

        Raises ValueError where the block list or a stop word is not of the vocabulary's language.
        """
        other = copy.copy(self)
        other._use(decode)
        return other

    def with_store(self, store: Conversations) -> DialogueAgent:
        """Return the same agent, in the conversations of another store."""
        other = copy.copy(self)
        other._store = store
        return other

    def with_observer(self, observe: Callable[[Sequence[Reply]], None] | None) -> DialogueAgent:
        """Return the same agent, which tells somebody else the replies of every batch."""
        other = copy.copy(self)
        other._observe = observe
        return other

    def free_weights(self) -> None:
        """Free the model's weights if it was laid out apart from them: it can only talk then.

        A ranker of the user's own may read them, so they are kept for one.
        """
        if self.prepared.is_apart and ":" not in self.decode_config.ranker:
            _ = self.fingerprint  # which is made from them
            self.model.to(torch.device("meta"))

    @cached_property
    def fingerprint(self) -> str:
        """Digits that no other model has, to know its histories by; from all of its weights."""
        return checkpoint.fingerprint(self._source)

    def history_from_bytes(self, data: bytes) -> History:
        """Read a history of this model. Raises ValueError where it is none."""
        return history_from_bytes(data, self.empty_history)

    # --- conversations by name -------------------------------------------------------------------

    def respond(
        self, conversations: Sequence[str], utterances: Sequence[str], *, deadline: float = math.inf
    ) -> list[str]:
        """Answer one utterance in each of the named conversations, which must be different ones.

        A name that is new begins a conversation. deadline: seconds from now after which no further
        token is searched for, and the best so far is said. Raises ValueError where names and
        utterances do not pair.
        """
        return [reply.text for reply in self.replies(conversations, utterances, deadline=deadline)]

    def replies(
        self, conversations: Sequence[str], utterances: Sequence[str], *, deadline: float = math.inf
    ) -> list[Reply]:
        """Answer as `respond` does, and return with each reply what it was chosen from."""
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

    # --- conversations as values -----------------------------------------------------------------

    def answer(
        self,
        conversations: Sequence[Conversation],
        utterances: Sequence[str],
        *,
        prefixes: Sequence[str] = (),
        deadline: float | Sequence[float] = math.inf,
    ) -> list[Reply]:
        """Answer each utterance in its conversation; the reply becomes a turn of it.

        prefixes: what each reply begins with, "" for nothing; none are given, or one for each.
        deadline: as in `respond`, for all conversations or for each of them.
        """
        until = self._until(deadline, len(conversations))
        return self._answer(conversations, utterances, prefixes=prefixes, until=until)

    def _until(self, deadline: float | Sequence[float], count: int) -> list[float]:
        """Turn the seconds that there are into times of the clock, one a conversation."""
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
        # A known reply cannot be made to begin with a prefix.
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
        turns = [Turn("bot", FALLBACK if one is None else one.text) for one in chosen]
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
        """Search for the candidates of each conversation, best score of the search first.

        until: of each, the time of the clock after which no step is begun for it. One that is late
        has its candidates without their likelihood without a history.
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
        """Make a candidate of each text, with its likelihood after the last turn and without it.

        similarities: of the texts that are to be taken for remembered replies. stock: those that
        are to be taken for stock ones.
        """
        return self._scorer.of_texts(conversation, texts, similarities or {}, stock or {})

    def rank(self, conversation: Conversation, texts: Sequence[str]) -> list[Candidate]:
        """Order any texts by how well they answer the last turn, best first, as candidates are."""
        (best_first,) = self._ranked([conversation], [self.score(conversation, texts)], [False])
        return best_first

    def why(self, reply: Reply) -> list[str]:
        """Say why each candidate of a reply was passed over, in the words of `Chooser.why`."""
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
        """Make the candidates; say of which conversations the deadline left no time to score them.

        Nothing is to be scored where the ranker takes what the search found as it is.
        """
        now = self._clock()
        in_time = [now < end for end in until]
        # The fit of a stock reply says nothing until it is weighed against the others.
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

        Where the deadline left no time to score what the search found, its own scores order it, and
        remembered replies that fit well stand before it.
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
    """The seconds that each stage of an answer takes, in the order of STAGES."""

    def __init__(self) -> None:
        self.seconds: list[tuple[str, float]] = []
        self._since = time.perf_counter()

    def end(self, stage: str) -> None:
        """End a stage; the next one begins."""
        now = time.perf_counter()
        self.seconds.append((stage, now - self._since))
        self._since = now


def _seed(seed: int, conversation: Conversation) -> int:
    """Make a seed of the settings' own and of what was said.

    The same conversation draws the same, whatever else is answered with it.
    """
    said = repr((seed, [(turn.speaker, turn.text) for turn in conversation.turns]))
    digest = hashlib.blake2b(said.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest) >> 1
