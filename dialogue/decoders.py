"""The queue of requests, and the decoders that work through it, a batch at a time.

There is no timer: a decoder takes as many waiting requests as may share a batch, and whatever
arrives meanwhile forms the next one. So an idle server answers at once, and batches grow with the
load.

Each decoder is a thread. On a CPU, the steps of a search are too small to be worth dividing among
cores: several decoders on a core each answer more than one on all cores.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from dialogue.agent import DialogueAgent, Reply

MOST_DECODERS = 4  # each holds the memory of a batch; further cores are shared among them
STUCK_SECONDS = 30.0  # after which a batch is unlikely ever to end: no deadline is this long


class Busy(Exception):
    """The queue is full, or the server is shutting down."""


@dataclass(frozen=True, eq=False)
class Request:
    """An utterance to be answered.

    until: the clock's time after which the search adds no token.
    """

    conversation: str
    utterance: str
    agent: DialogueAgent
    until: float
    done: Future[Reply] = field(default_factory=Future)


@dataclass(frozen=True, eq=False)
class Call:
    """Any other operation on a conversation. It is quick, so it goes before replies."""

    conversation: str
    do: Callable[[], None]
    done: Future[None] = field(default_factory=Future)


class Decoders:
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
        self._waiting: list[Request | Call] = []  # the oldest first
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

    def put(self, asked: Request | Call, *, always: bool = False) -> None:
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
                if isinstance(taken, Call):
                    _do(taken)
                else:
                    _answer(taken, self.clock)
            finally:
                self._ended(taken)

    def _take(self) -> list[Request] | Call | None:
        """Wait for work, and take the next call or batch; return None once closed and empty.

        Only the first request of each conversation is eligible, and only if no decoder has taken
        another one of the same conversation. Calls go before replies.
        """
        with self._changed:
            while not (eligible := self._eligible()):
                if self._is_closed and not self._waiting:
                    return None
                self._changed.wait()
            call = next((one for one in eligible if isinstance(one, Call)), None)
            if call is not None:
                self._waiting.remove(call)
                self._under_way.add(call.conversation)
                return call
            requests = [one for one in eligible if isinstance(one, Request)]
            alike = [one for one in requests if _are_alike(one.agent, requests[0].agent)]
            batch = alike[: self._most]
            self._waiting = [one for one in self._waiting if one not in batch]
            self._under_way.update(one.conversation for one in batch)
            return batch

    def _eligible(self) -> list[Request | Call]:
        first: dict[str, Request | Call] = {}
        for one in self._waiting:
            first.setdefault(one.conversation, one)
        return [one for name, one in first.items() if name not in self._under_way]

    def _ended(self, taken: list[Request] | Call) -> None:
        """Let others take the conversations of what has been done."""
        done = [taken] if isinstance(taken, Call) else taken
        with self._changed:
            self._busy_since.pop(threading.get_ident(), None)
            self._under_way.difference_update(one.conversation for one in done)
            self._changed.notify_all()  # their next requests are eligible, and the end may be near


def decoders_on(device: torch.device) -> int:
    """Return how many decoders to run for a model on a device."""
    return min(torch.get_num_threads(), MOST_DECODERS) if device.type == "cpu" else 1


def _are_alike(agent: DialogueAgent, other: DialogueAgent) -> bool:
    """Return whether either agent may answer for both."""
    return agent.model is other.model and agent.decode_config == other.decode_config


def _do(call: Call) -> None:
    try:
        call.do()
        call.done.set_result(None)
    except Exception as error:
        call.done.set_exception(error)


def _answer(batch: list[Request], clock: Callable[[], float]) -> None:
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


def _deliver(request: Request, reply: Reply) -> None:
    """Add a reply to its conversation and deliver it, unless it was abandoned."""
    if reply.has_failed:
        _fail(request, ValueError("a reply had no likelihood that is a number"))
    elif request.done.set_running_or_notify_cancel():  # from here on it cannot be cancelled
        try:
            request.agent.keep(request.conversation, reply.conversation)
            request.done.set_result(reply)
        except Exception as error:
            request.done.set_exception(error)


def _fail(request: Request, error: Exception) -> None:
    if request.done.set_running_or_notify_cancel():
        request.done.set_exception(error)
