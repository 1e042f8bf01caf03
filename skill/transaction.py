"""A request as a transaction on its session's state: read it, answer with it, keep it once.

A repeated request gets the same response. Requests of one session are answered one after the other;
if another worker has kept a turn in the meantime, a request is answered again after that turn.
"""

from __future__ import annotations

import hashlib
import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Protocol

from dialogue.conversation import Conversation
from dialogue.state import ENDED, Conflict, Owner, Refused, StateStore, Unreachable
from dialogue.state.codec import Histories, Kept, fingerprint_of, pack, unpack
from skill.contract import SPEECH_ALLOWED

if TYPE_CHECKING:
    from skill.responder import Agent

log = logging.getLogger(__name__)

STATE = "state"  # the session attribute in which a state is carried
WAIT_SECONDS = 1.0  # for another request of the session; Alexa waits about 8 in all
AGAIN_WITHIN = 1.0  # a request may be answered again within this many seconds of its arrival

_current: ContextVar[Transaction | None] = ContextVar("transaction", default=None)


class Model(Histories, Protocol):
    """A model's agent; no other model's can continue its histories."""

    @property
    def with_store(self) -> Callable[[Any], Agent]:
        """See `Agent.with_store`."""


class Transaction:
    """One request's view of its session: its agent sees only this conversation, under any name."""

    def __init__(
        self,
        kept: Kept | None = None,
        *,
        agent: Model | None = None,
        attributes: dict[str, Any] | None = None,
        reopens: bool = False,
        forget_user: Callable[[], None] = lambda: None,
    ) -> None:
        """Take what is kept, and how to forget the user.

        agent: the one that the kept histories belong to, even if another is served by now.
        attributes: the session attributes to answer with, or None for those of the request.
        reopens: the session was over when the request came.
        """
        self.kept, self.attributes, self.forget_user = kept or Kept(), attributes, forget_user
        self.agent, self.reopens = agent, reopens
        self._conversation, self._is_closed = self.kept.conversation, False
        self._lock = threading.Lock()

    def get(self, name: str) -> Conversation:
        """Return the conversation."""
        return self._conversation

    def put(self, name: str, conversation: Conversation) -> None:
        """Take the conversation one step further, unless the request was answered without it."""
        with self._lock:
            if not self._is_closed:
                self._conversation = conversation

    def forget(self, name: str) -> None:
        """Start the conversation over."""
        self.put(name, Conversation())

    def close(self, conversation: Conversation | None = None) -> Conversation:
        """Take no more steps, and return the conversation. conversation: the one to go back to."""
        with self._lock:
            if not self._is_closed:
                self._conversation = conversation or self._conversation
            self._is_closed = True
            return self._conversation


def current_transaction() -> Transaction:
    """Return the transaction of the request that this thread answers, or one that keeps nothing."""
    return _current.get() or Transaction()


class Transactions:
    """Answers requests with what is kept of their sessions. Threads may share an instance."""

    def __init__(
        self,
        store: StateStore,
        agent_of: Callable[[str], Model],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take the store of states, and the agents that continue them.

        agent_of: a model's fingerprint -> its agent, or the one that is served.
        """
        self.store, self._agent_of, self._clock = store, agent_of, clock
        assert agent_of("").fingerprint is not None  # computed now, so that nobody waits for it
        self._locks: dict[str, tuple[threading.Lock, int]] = {}  # and how many hold or want it
        self._lock = threading.Lock()

    def answer(
        self, envelope: dict[str, Any], dispatch: Callable[[], dict[str, Any]]
    ) -> dict[str, Any]:
        """Answer a parsed request. dispatch: returns the response, within the transaction."""
        owner = _owner(envelope)
        begun, response = self._clock(), None
        with self._in_turn(owner.session):
            while True:
                transaction, is_known = self._begin(owner, envelope)
                if response is not None and transaction.reopens:
                    return response  # its session has ended in the meantime
                if _digest(envelope) == transaction.kept.request != "":
                    return dict(transaction.kept.response)
                token = _current.set(transaction)
                try:
                    response = dispatch()
                finally:
                    _current.reset(token)
                try:
                    return self._end(owner, envelope, transaction, response, is_known=is_known)
                except Conflict:
                    if self._clock() - begun > AGAIN_WITHIN:
                        log.warning("a turn is not kept: another one of its session came first")
                        return response

    def _begin(self, owner: Owner, envelope: dict[str, Any]) -> tuple[Transaction, bool]:
        """Read what is kept, or start a new conversation if that cannot be continued.

        The second result is False if what is kept is unknown.
        """
        carried = (envelope.get("session") or {}).get("attributes") or {}
        kept, is_known, agent = Kept(), bool(owner.session), self._agent_of("")
        state = None
        try:
            state = self.store.get(owner, str(carried.get(STATE) or "")) if is_known else None
            if state:
                agent = self._agent_of(fingerprint_of(state))
                kept = unpack(state, agent)
            elif carried and not self.store.is_carried and is_known:
                log.info("a conversation begins anew: nothing is kept of its session")
        except Refused as reason:
            log.warning("a conversation begins anew: %s", reason)
            is_known = self._forget(lambda: self.store.forget(owner))
        except Unreachable as reason:
            log.error("a turn is answered without its conversation: %s", reason)
            is_known = False
        # Alexa's attributes do as well, even when Redis is down. A carried state has its own.
        knows = self.store.is_carried or (self.store.is_shared and kept.turn)
        own = kept.attributes if knows else None
        transaction = Transaction(
            kept,
            agent=agent,
            attributes=own,
            reopens=state == ENDED,
            forget_user=lambda: self._forget_user(owner.user),
        )
        return transaction, is_known

    def _end(
        self,
        owner: Owner,
        envelope: dict[str, Any],
        transaction: Transaction,
        response: dict[str, Any],
        *,
        is_known: bool,
    ) -> dict[str, Any]:
        """Keep the turn, or forget a session that is over, and return the response.

        Raises Conflict.
        """
        conversation, kind = transaction.close(), envelope["request"]["type"]
        body = response.get("response") or {}
        if kind == "SessionEndedRequest" or body.get("shouldEndSession"):
            if owner.session:
                self._forget(lambda: self.store.end(owner))
            return response
        if not owner.session or kind not in SPEECH_ALLOWED:
            return response
        attributes = dict(response.get("sessionAttributes") or {})
        is_carried = self.store.is_carried
        kept = Kept(
            conversation,
            transaction.kept.turn + 1,
            "" if is_carried else _digest(envelope),
            {"sessionAttributes": attributes} if is_carried else response,
        )
        state = ""
        if is_known and transaction.agent:  # otherwise the store may hold more: leave that
            try:
                packed = pack(kept, transaction.agent, limit=self.store.limit)
                reopens = transaction.reopens
                state = self.store.put(owner, packed, turn=kept.turn, reopens=reopens)
            except (Unreachable, ValueError) as reason:
                log.error("a turn is not kept: %s", reason)
        if is_carried:
            attributes = {STATE: state} if state else {}
        return {**response, "sessionAttributes": attributes}

    def _forget(self, forget: Callable[[], None]) -> bool:
        try:
            forget()
        except Unreachable as reason:
            log.error("a conversation could not be forgotten: %s", reason)
            return False
        return True

    def _forget_user(self, user: str) -> None:
        if user:
            self._forget(lambda: self.store.forget_user(user))

    @contextmanager
    def _in_turn(self, session: str) -> Iterator[None]:
        """Wait for a session's earlier requests, but not for long: it is safe to go on without."""
        if not session:
            yield
            return
        with self._lock:
            lock, wanted = self._locks.get(session) or (threading.Lock(), 0)
            self._locks[session] = (lock, wanted + 1)
        is_ours = lock.acquire(timeout=WAIT_SECONDS)
        try:
            yield
        finally:
            if is_ours:
                lock.release()
            with self._lock:
                lock, wanted = self._locks.pop(session)
                if wanted > 1:
                    self._locks[session] = (lock, wanted - 1)


def _owner(envelope: dict[str, Any]) -> Owner:
    """Return whose request it is. Events name the user only in the context."""
    session = envelope.get("session") or {}
    system = (envelope.get("context") or {}).get("System") or {}
    user = (session.get("user") or {}).get("userId") or (system.get("user") or {}).get("userId")
    return Owner(str(session.get("sessionId") or ""), str(user or ""))


def _digest(envelope: dict[str, Any]) -> str:
    """Return a digest of a request, the same if it is sent again, or "" if it has no id."""
    request = {name: value for name, value in envelope["request"].items() if name != "timestamp"}
    if not request.get("requestId"):
        return ""
    written = json.dumps(request, sort_keys=True)
    return hashlib.blake2b(written.encode("ascii"), digest_size=16).hexdigest()
