"""Batching across requests: those that wait together are answered together.

    threads -> submit -> queue, in order -> decoders, each with a batch at a time -> futures

There is no timer: a decoder takes as many waiting requests as may share a batch, and whatever
arrives meanwhile forms the next one. So an idle server answers at once, and batches grow with the
load.

Each decoder is a thread. On a CPU, the steps of a search are too small to be worth dividing among
cores: several decoders on a core each answer more than one on all cores.
"""

from __future__ import annotations

import copy
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from dialogue.agent import DialogueAgent, Reply
    from dialogue.config import DecodeConfig
    from dialogue.models import History
    from dialogue.store import Conversations

MOST = 8  # maximum requests in a batch: more are no cheaper each, and all wait for the last
DECODERS = 4  # at most: each holds the memory of a batch; further cores are shared among them
WAITING = 64  # maximum requests in the queue, answered within a few seconds
PATIENCE = 1.0  # seconds to wait for a reply after its deadline
STUCK_SECONDS = 30.0  # after which a batch is unlikely ever to end: no deadline is this long
KEPT_SECONDS = 3600.0  # how long a replaced model goes on with its conversations


class Busy(Exception):
    """The queue is full, or the server is shutting down."""


@dataclass(frozen=True, eq=False)
class _Request:
    """An utterance to be answered.

    until: the clock's time after which the search adds no token.
    """

    conversation: str
    utterance: str
    agent: DialogueAgent
    until: float
    done: Future[Reply] = field(default_factory=Future)


@dataclass(frozen=True, eq=False)
class _Call:
    """Any other operation on a conversation. It is quick, so it goes before replies."""

    conversation: str
    do: Callable[[], None]
    done: Future[None] = field(default_factory=Future)


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
        threads, but at most DECODERS, or a single one if the model is not on the CPU.
        """
        self.agent = agent
        self._before: tuple[DialogueAgent, float] | None = None  # and until when to keep it
        self._swapping = threading.Lock()
        # The threads are not counted yet: a server may set their number after it has forked.
        count = (lambda: decoders) if decoders else (lambda: _decoders_on(agent.device))
        self._decoders = _Decoders(most, waiting, count, clock)

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
        request = _Request(conversation, utterance, self.agent, self._decoders.clock() + deadline)
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
        call = _Call(conversation, do)
        self._decoders.put(call, always=always)
        call.done.result()

    def why(self, reply: Reply) -> list[str]:
        """Return why each candidate was passed over, as `DialogueAgent.why` does."""
        return self.agent.why(reply)

    def close(self) -> None:
        """Accept nothing more, and return once all waiting requests are answered."""
        self._decoders.close()


class _Decoders:
    """The queue, and the threads that work through it."""

    def __init__(
        self, most: int, waiting: int, count: Callable[[], int], clock: Callable[[], float]
    ) -> None:
        if most < 1 or waiting < 1:
            raise ValueError(
                f"batches of {most} with {waiting} requests that may wait answer nobody; "
                "each must be 1 or more"
            )
        self.clock, self._most, self._limit, self._count = clock, most, waiting, count
        self._waiting: list[_Request | _Call] = []  # the oldest first
        self._under_way: set[str] = set()  # the conversations that a decoder has taken
        self._changed = threading.Condition()
        self._threads: list[threading.Thread] = []
        self._plan = 0, 0  # how many threads to run, and how many of torch's each may use
        self._is_closed = False
        self._busy_since: dict[int, float] = {}  # by the number of the thread

    @property
    def waiting(self) -> int:
        """How many requests and calls are in the queue."""
        return len(self._waiting)

    @property
    def is_well(self) -> bool:
        """Whether it is open, and no decoder has worked at the same thing for too long."""
        now, since = self.clock(), list(self._busy_since.values())
        return not self._is_closed and all(now - begun < STUCK_SECONDS for begun in since)

    def put(self, asked: _Request | _Call, *, always: bool = False) -> None:
        """Add something to the queue. Raises Busy if it is full.

        always: add it even to a full queue, unless the decoders are closed.
        """
        with self._changed:
            if self._is_closed:
                raise Busy("the server is going down")
            if len(self._waiting) >= self._limit and not always:
                self._waiting = [one for one in self._waiting if not one.done.cancelled()]
                if len(self._waiting) >= self._limit:
                    raise Busy(f"{len(self._waiting)} requests wait already")
            self._waiting.append(asked)
            # Not earlier: a server may fork after building this, and threads do not survive it.
            if not self._threads or not all(thread.is_alive() for thread in self._threads):
                self._start()
            self._changed.notify()

    def _start(self) -> None:
        """Start the threads that are missing."""
        alive = [thread for thread in self._threads if thread.is_alive()]
        if not alive:
            count = self._count()
            self._plan = count, max(1, torch.get_num_threads() // count)
            self._under_way.clear()  # what a thread had taken was lost with it
            self._busy_since.clear()
        count, share = self._plan
        new = [
            threading.Thread(target=self._run, args=(share,), name="decoding", daemon=True)
            for _ in range(count - len(alive))
        ]
        self._threads = alive + new
        for thread in new:
            thread.start()

    def close(self) -> None:
        """Refuse new requests, and return once the queue is empty."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def _run(self, threads: int) -> None:
        """Work through the queue. threads: how many torch may use for it."""
        torch.set_num_threads(threads)
        me = threading.get_ident()
        while taken := self._take():
            self._busy_since[me] = self.clock()
            try:
                if isinstance(taken, _Call):
                    _do(taken)
                else:
                    _answer(taken, self.clock)
            finally:
                self._ended(taken)

    def _take(self) -> list[_Request] | _Call | None:
        """Wait for work, and take the next call or batch; return None once closed and empty.

        Only the first request of each conversation is eligible, and only if no decoder has taken
        another one of the same conversation. Calls go before replies.
        """
        with self._changed:
            while not (eligible := self._eligible()):
                if self._is_closed and not self._waiting:
                    return None
                self._changed.wait()
            call = next((one for one in eligible if isinstance(one, _Call)), None)
            if call is not None:
                self._waiting.remove(call)
                self._under_way.add(call.conversation)
                return call
            requests = [one for one in eligible if isinstance(one, _Request)]
            alike = [one for one in requests if _are_alike(one.agent, requests[0].agent)]
            batch = alike[: self._most]
            self._waiting = [one for one in self._waiting if one not in batch]
            self._under_way.update(one.conversation for one in batch)
            return batch

    def _eligible(self) -> list[_Request | _Call]:
        first: dict[str, _Request | _Call] = {}
        for one in self._waiting:
            first.setdefault(one.conversation, one)
        return [one for name, one in first.items() if name not in self._under_way]

    def _ended(self, taken: list[_Request] | _Call) -> None:
        """Let others take the conversations of what has been done."""
        done = [taken] if isinstance(taken, _Call) else taken
        with self._changed:
            self._busy_since.pop(threading.get_ident(), None)
            self._under_way.difference_update(one.conversation for one in done)
            self._changed.notify_all()  # their next requests are eligible, and the end may be near


def _decoders_on(device: torch.device) -> int:
    """Return how many decoders to run for a model on a device."""
    return min(torch.get_num_threads(), DECODERS) if device.type == "cpu" else 1


def _are_alike(agent: DialogueAgent, other: DialogueAgent) -> bool:
    """Return whether either agent may answer for both."""
    return agent.model is other.model and agent.decode_config == other.decode_config


def _do(call: _Call) -> None:
    try:
        call.do()
        call.done.set_result(None)
    except Exception as error:
        call.done.set_exception(error)


def _answer(batch: list[_Request], clock: Callable[[], float]) -> None:
    """Answer requests with equal settings together or, if that fails, one by one."""
    wanted = [request for request in batch if not request.done.cancelled()]
    if not wanted:
        return
    agent = wanted[0].agent
    try:
        replies = agent.answer(
            [request.agent.conversation(request.conversation) for request in wanted],
            [request.utterance for request in wanted],
            deadline=[max(0.0, request.until - clock()) for request in wanted],
        )
    except Exception as error:
        if len(wanted) == 1:
            _fail(wanted[0], error)
        else:
            for request in wanted:
                _answer([request], clock)
        return
    for request, reply in zip(wanted, replies, strict=True):
        _deliver(request, reply)


def _deliver(request: _Request, reply: Reply) -> None:
    """Add a reply to its conversation and deliver it, unless it was abandoned."""
    if reply.has_failed:
        _fail(request, ValueError("a reply had no likelihood that is a number"))
    elif request.done.set_running_or_notify_cancel():  # from here on it cannot be cancelled
        try:
            request.agent.keep(request.conversation, reply.conversation)
            request.done.set_result(reply)
        except Exception as error:
            request.done.set_exception(error)


def _fail(request: _Request, error: Exception) -> None:
    if request.done.set_running_or_notify_cancel():
        request.done.set_exception(error)
