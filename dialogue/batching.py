"""Batching across requests: those that wait together are answered together.

    threads -> submit -> queue, in order -> decoders, each with a batch at a time -> futures

dialogue/decoders.py has the queue and the threads that work through it.
"""

from __future__ import annotations

import copy
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, wait
from typing import TYPE_CHECKING

from dialogue.decoders import Busy, Call, Decoders, Request, decoders_on

if TYPE_CHECKING:
    from dialogue.agent import DialogueAgent, Reply
    from dialogue.config import DecodeConfig
    from dialogue.models import History
    from dialogue.store import Conversations

MOST = 8  # maximum requests in a batch: more are no cheaper each, and all wait for the last
WAITING = 64  # maximum requests in the queue, answered within a few seconds
PATIENCE = 1.0  # seconds to wait for a reply after its deadline
KEPT_SECONDS = 3600.0  # how long a replaced model goes on with its conversations


class BatchingAgent:
    """An agent for many threads, called like `DialogueAgent`; concurrent requests share batches.

    Requests for one conversation are handled in order, never two in one batch. Only requests for
    the same model with equal settings share a batch. A request that fails does not affect others.
    """

    def __init__(
        self,
        agent: DialogueAgent,
        *,
        most: int = MOST,
        waiting: int = WAITING,
        decoders: int | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take the agent, the largest batch, and how many requests may wait.

        decoders: how many batches are answered at once; by default, one for each of torch's
        threads, but at most MOST_DECODERS, or a single one if the model is not on the CPU.
        """
        self.agent = agent
        self._before: tuple[DialogueAgent, float] | None = None  # and until when to keep it
        self._swapping = threading.Lock()
        # The threads are not counted yet: a server may set their number after it has forked.
        count = (lambda: decoders) if decoders else (lambda: decoders_on(agent.device))
        self._decoders = Decoders(most, waiting, count, clock)

    @property
    def waiting(self) -> int:
        """How many requests are waiting."""
        return self._decoders.waiting

    @property
    def is_well(self) -> bool:
        """Whether requests are accepted and answered: neither closed nor stuck in a batch."""
        return self._decoders.is_well

    def _with(self, agent: DialogueAgent) -> BatchingAgent:
        """Return a copy for another agent of the same model, which shares the queue."""
        other = copy.copy(self)
        other.agent = agent
        return other

    def with_settings(self, decode: DecodeConfig) -> BatchingAgent:
        """Return the agent with other search settings, as `DialogueAgent.with_settings` does."""
        return self._with(self.agent.with_settings(decode))

    def with_store(self, store: Conversations) -> BatchingAgent:
        """Return the agent with the conversations of another store."""
        return self._with(self.agent.with_store(store))

    def swap(self, agent: DialogueAgent) -> None:
        """Serve another model from now on.

        The previous one goes on with its conversations for an hour, or until the next swap.
        """
        with self._swapping:
            self._before = (self.agent, self._decoders.clock() + KEPT_SECONDS)
            self.agent = agent

    def of(self, fingerprint: str) -> BatchingAgent:
        """Return the agent of the model with this fingerprint, or else of the current model.

        The returned agent keeps its model when another one is served.
        """
        with self._swapping:
            if self._before and self._decoders.clock() >= self._before[1]:
                self._before = None
            before = self._before
            if before and fingerprint == before[0].fingerprint != self.agent.fingerprint:
                return self._with(before[0])
            return self._with(self.agent)

    @property
    def fingerprint(self) -> str:
        """Return the fingerprint of the model."""
        return self.agent.fingerprint

    @property
    def empty_history(self) -> History:
        """Return the empty history of the model."""
        return self.agent.empty_history

    def history_from_bytes(self, data: bytes) -> History:
        """Return a history of the model from its bytes."""
        return self.agent.history_from_bytes(data)

    def submit(self, conversation: str, utterance: str, *, deadline: float) -> Future[Reply]:
        """Ask for a reply and return at once. Raises Busy if too many requests wait.

        deadline: seconds from now, waiting included, after which the search ends and the best reply
        so far is taken. A reply is ready when its whole batch is. Future.cancel abandons a reply:
        if it succeeds, the reply does not enter the conversation.
        """
        request = Request(conversation, utterance, self.agent, self._decoders.clock() + deadline)
        self._decoders.put(request)
        return request.done

    def replies(
        self, conversations: Sequence[str], utterances: Sequence[str], *, deadline: float
    ) -> list[Reply]:
        """Answer one utterance in each of the named conversations.

        Raises Busy if too many requests wait, and TimeoutError if a reply is not ready soon after
        its deadline; that reply does not enter the conversation.
        """
        asked: list[Future[Reply]] = []
        try:
            for conversation, utterance in zip(conversations, utterances, strict=True):
                asked.append(self.submit(conversation, utterance, deadline=deadline))
            wait(asked, min(deadline + PATIENCE, threading.TIMEOUT_MAX))
            if any(future.cancel() for future in asked):
                raise TimeoutError("there was no reply in time")
            return [future.result() for future in asked]
        finally:  # a reply that nobody will hear must not enter its conversation
            for future in asked:
                future.cancel()

    def respond(
        self, conversations: Sequence[str], utterances: Sequence[str], *, deadline: float
    ) -> list[str]:
        """Answer as `replies` does, returning text."""
        return [reply.text for reply in self.replies(conversations, utterances, deadline=deadline)]

    def note(self, conversation: str, utterance: str, reply: str) -> None:
        """Add an exchange that was answered elsewhere. Raises Busy if too many requests wait."""
        self._call(conversation, lambda: self.agent.note(conversation, utterance, reply))

    def add(self, conversation: str, said: str) -> None:
        """Add what was said after the agent's own reply. Raises Busy if too many requests wait."""
        self._call(conversation, lambda: self.agent.add(conversation, said))

    def forget(self, conversation: str) -> None:
        """Drop a conversation, once its earlier requests are done."""
        try:
            self._call(conversation, lambda: self.agent.forget(conversation), always=True)
        except Busy:  # the server is going down
            self.agent.forget(conversation)

    def _call(self, conversation: str, do: Callable[[], None], *, always: bool = False) -> None:
        call = Call(conversation, do)
        self._decoders.put(call, always=always)
        call.done.result()

    def why(self, reply: Reply) -> list[str]:
        """Return why each candidate was passed over, as `DialogueAgent.why` does."""
        return self.agent.why(reply)

    def close(self) -> None:
        """Accept nothing more, and return once all waiting requests are answered."""
        self._decoders.close()
