"""The agent that the skill calls, with settings per simulator session and a look inside."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from cachetools import FIFOCache

from dialogue.answers import Answer
from dialogue.batching import BatchingAgent
from dialogue.config import DecodeConfig
from skill.replay import settings_of

if TYPE_CHECKING:
    from dialogue.agent import DialogueAgent, Reply
    from dialogue.models import History
    from dialogue.store import Conversations

    AnAgent = DialogueAgent | BatchingAgent

WATCHED = "amzn1.echo-api.session.simulator."  # the ids of the page's sessions begin with this
KEPT_ANSWERS = 16  # answers are kept until the page fetches them, which it does once
KEPT_SESSIONS = 64  # sessions that have settings of their own
KEPT_CHECKPOINTS = 2  # loaded checkpoints besides the served one


class Seen(NamedTuple):
    """The answer to a request and, if the agent gave it, the agent and its whole reply."""

    answer: Answer
    agent: AnAgent | None
    reply: Reply | None


class Agents:
    """Stands in for the agent. Sessions other than the page's go straight to it, unobserved."""

    def __init__(
        self,
        agent: AnAgent,
        *,
        checkpoints: Mapping[str, Path],
        load: Callable[[Path], DialogueAgent],
    ) -> None:
        """Take the agent, and the checkpoints to choose from by name, loaded on first use."""
        self._agent, self.checkpoints, self._load = agent, dict(checkpoints), load
        self._of_others = agent  # answers in sessions that are not the page's
        # session -> its agent
        self._chosen: FIFOCache[str, AnAgent] = FIFOCache(KEPT_SESSIONS)
        self._loaded: FIFOCache[str, AnAgent] = FIFOCache(KEPT_CHECKPOINTS)
        # session -> its last reply, and the agent that gave it
        self._replies: FIFOCache[str, tuple[AnAgent, Reply]] = FIFOCache(KEPT_ANSWERS)
        self._seen: FIFOCache[str, Seen] = FIFOCache(KEPT_ANSWERS)  # request -> its answer
        self._lock = threading.Lock()

    # --- called by the skill --------------------------------------------------------------------

    def respond(
        self, conversations: Sequence[str], utterances: Sequence[str], *, deadline: float
    ) -> list[str]:
        """Answer with the agent or, in a session of the page, with the agent chosen for it."""
        if not all(name.startswith(WATCHED) for name in conversations):
            return self._of_others.respond(conversations, utterances, deadline=deadline)
        replies = []
        for name, utterance in zip(conversations, utterances, strict=True):
            agent = self._of(name)
            (reply,) = agent.replies([name], [utterance], deadline=deadline)
            with self._lock:
                self._replies[name] = (agent, reply)
            replies.append(reply.text)
        return replies

    def note(self, conversation: str, utterance: str, reply: str) -> None:
        """Add an exchange to a conversation whose reply did not come from the agent."""
        self._of(conversation).note(conversation, utterance, reply)

    def add(self, conversation: str, said: str) -> None:
        """Add to a conversation what was said after the agent's own reply."""
        self._of(conversation).add(conversation, said)

    def forget(self, conversation: str) -> None:
        """Drop a conversation; the settings of its session stay."""
        self._of(conversation).forget(conversation)
        with self._lock:
            self._replies.pop(conversation, None)

    def observe(self, request: str, session: str, answer: Answer) -> None:
        """Keep the answer to a request of the page until the page fetches it."""
        if session.startswith(WATCHED):
            with self._lock:
                agent, reply = (
                    self._replies.pop(session, (None, None))
                    if answer.by == "agent"
                    else (None, None)
                )
                self._seen[request] = Seen(answer, agent, reply)

    def with_store(self, store: Conversations) -> Agents:
        """Return the same agents with other people's conversations in a store; the page's stay."""
        other = copy.copy(self)
        other._of_others = self._of_others.with_store(store)
        return other

    def of(self, fingerprint: str) -> Agents:
        """Return the same agents with the model that other people's conversations belong to."""
        other = copy.copy(self)
        if isinstance(self._agent, BatchingAgent):  # no other kind changes its model
            other._of_others = self._agent.of(fingerprint)
        return other

    @property
    def fingerprint(self) -> str:
        """Return the fingerprint of the model that other people's conversations belong to."""
        return self._of_others.fingerprint

    def history_from_bytes(self, data: bytes) -> History:
        """Read a history of that model."""
        return self._of_others.history_from_bytes(data)

    # --- called by the page ---------------------------------------------------------------------

    def take(self, request: str) -> Seen | None:
        """Remove and return the answer to a request; None if the request needed no conversation."""
        with self._lock:
            return self._seen.pop(request, None)

    def choose(
        self, session: str, settings: Mapping[str, Any], *, checkpoint: str = ""
    ) -> DecodeConfig:
        """Use other search settings or another checkpoint for a session of the page.

        Raises ValueError if there are no such settings or no such checkpoint.
        """
        if not session.startswith(WATCHED):
            raise ValueError(f"{session!r:.100} is not a session of the simulator")
        decode = settings_of(settings)
        agent = self._of_checkpoint(checkpoint).with_settings(decode)
        with self._lock:
            self._chosen[session] = agent
        return decode

    def _of(self, session: str) -> AnAgent:
        with self._lock:
            # A reopened session, "x.2", keeps the settings of the first, "x".
            return (
                self._chosen.get(session)
                or self._chosen.get(session.rpartition(".")[0])
                or (self._agent if session.startswith(WATCHED) else self._of_others)
            )

    def _of_checkpoint(self, name: str) -> AnAgent:
        if not name:
            return self._agent
        if name not in self.checkpoints:
            raise ValueError(
                f"there is no checkpoint {name!r:.100}; "
                f"there are {', '.join(self.checkpoints) or 'no others'}"
            )
        if name not in self._loaded:
            agent = self._load(self.checkpoints[name])
            with self._lock:
                self._loaded[name] = agent
        return self._loaded[name]
