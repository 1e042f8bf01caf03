"""The agent as the skill calls it, with other settings for some sessions of the simulator, and an eye on what it answers."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from dialogue.answers import Answer
from dialogue.config import DecodeConfig
from skill.replay import settings_of

if TYPE_CHECKING:
    from dialogue.agent import DialogueAgent, Reply
    from dialogue.batching import BatchingAgent

    AnAgent = DialogueAgent | BatchingAgent

WATCHED = "amzn1.echo-api.session.simulator."  # what the ids of the page's sessions begin with
KEPT_ANSWERS = 16  # until the page asks for them, once
KEPT_SESSIONS = 64  # with settings of their own
KEPT_CHECKPOINTS = 2  # beside the one that is served


class Seen(NamedTuple):
    """What answered a request, and of the agent's answers what they were chosen from, and why."""

    answer: Answer
    agent: AnAgent | None
    reply: Reply | None


class Agents:
    """Answers for the agent. Other sessions than the page's reach it directly, and leave nothing here."""

    def __init__(
        self,
        agent: AnAgent,
        *,
        checkpoints: Mapping[str, Path],
        load: Callable[[Path], DialogueAgent],
    ) -> None:
        """Take the agent, and the checkpoints that one may choose by name, each loaded when it is first asked for."""
        self._agent, self.checkpoints, self._load = agent, dict(checkpoints), load
        self._chosen: OrderedDict[str, AnAgent] = OrderedDict()  # session -> its agent
        self._loaded: OrderedDict[str, AnAgent] = OrderedDict()
        self._replies: OrderedDict[str, tuple[AnAgent, Reply]] = (
            OrderedDict()
        )  # session -> its last one
        self._seen: OrderedDict[str, Seen] = OrderedDict()  # request -> what answered it
        self._lock = threading.Lock()

    # --- as the skill calls it ---------------------------------------------------------------------------------------

    def respond(
        self, conversations: Sequence[str], utterances: Sequence[str], *, deadline: float
    ) -> list[str]:
        """Answer as the agent does; in a session of the page, as the agent that was chosen for it does."""
        if not all(name.startswith(WATCHED) for name in conversations):
            return self._agent.respond(conversations, utterances, deadline=deadline)
        replies = []
        for name, utterance in zip(conversations, utterances, strict=True):
            agent = self._of(name)
            (reply,) = agent.replies([name], [utterance], deadline=deadline)
            with self._lock:
                _put(self._replies, name, (agent, reply), limit=KEPT_ANSWERS)
            replies.append(reply.text)
        return replies

    def note(self, conversation: str, utterance: str, reply: str) -> None:
        """Take into a conversation what was answered elsewhere."""
        self._of(conversation).note(conversation, utterance, reply)

    def add(self, conversation: str, said: str) -> None:
        """Take into a conversation what was said after a reply."""
        self._of(conversation).add(conversation, said)

    def forget(self, conversation: str) -> None:
        """Drop a conversation; the settings of its session stay."""
        self._of(conversation).forget(conversation)
        with self._lock:
            self._replies.pop(conversation, None)

    def observe(self, request: str, session: str, answer: Answer) -> None:
        """Keep what answered a request of the page until the page asks for it."""
        if session.startswith(WATCHED):
            with self._lock:
                agent, reply = (
                    self._replies.pop(session, (None, None))
                    if answer.by == "agent"
                    else (None, None)
                )
                _put(self._seen, request, Seen(answer, agent, reply), limit=KEPT_ANSWERS)

    # --- as the page does --------------------------------------------------------------------------------------------

    def take(self, request: str) -> Seen | None:
        """Return what answered a request, and keep it no longer; None: no conversation was asked."""
        with self._lock:
            return self._seen.pop(request, None)

    def choose(
        self, session: str, settings: Mapping[str, Any], *, checkpoint: str = ""
    ) -> DecodeConfig:
        """Have a session of the page answered by other settings of the search, or by another checkpoint.

        Raises ValueError where there are no such settings or no such checkpoint.
        """
        if not session.startswith(WATCHED):
            raise ValueError(f"{session!r:.100} is no session of the simulator")
        decode = settings_of(settings)
        agent = self._of_checkpoint(checkpoint).with_settings(decode)
        with self._lock:
            _put(self._chosen, session, agent, limit=KEPT_SESSIONS)
        return decode

    def _of(self, session: str) -> AnAgent:
        with self._lock:
            # a session that was opened again, "x.2", goes on with the settings of the first, "x"
            return (
                self._chosen.get(session)
                or self._chosen.get(session.rpartition(".")[0])
                or self._agent
            )

    def _of_checkpoint(self, name: str) -> AnAgent:
        if not name:
            return self._agent
        if name not in self.checkpoints:
            raise ValueError(
                f"there is no checkpoint {name!r:.100}; there are {', '.join(self.checkpoints) or 'no others'}"
            )
        if name not in self._loaded:
            agent = self._load(self.checkpoints[name])
            with self._lock:
                _put(self._loaded, name, agent, limit=KEPT_CHECKPOINTS)
        return self._loaded[name]


def _put(kept: OrderedDict[str, Any], name: str, value: Any, *, limit: int) -> None:
    """Keep a value as the newest, and let the oldest go."""
    kept[name] = value
    kept.move_to_end(name)
    while len(kept) > limit:
        kept.popitem(last=False)
