"""Answer an utterance in its session's conversation, and in time."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, Protocol, TypeVar

from ask_sdk_core.handler_input import HandlerInput

from dialogue.answers import Answer, answer
from dialogue.decoders import Busy
from dialogue.safety import Level
from dialogue.store import Conversations
from skill import deadline, phrases
from skill.background import is_done
from skill.session import added_question, last_reply, locale, play, request_id, session_id, wording
from skill.transaction import current_transaction

T = TypeVar("T")

log = logging.getLogger(__name__)


class Agent(Protocol):
    """What the skill needs from an agent; dialogue.agent.DialogueAgent provides it."""

    def respond(
        self, conversations: Sequence[str], utterances: Sequence[str], *, deadline: float
    ) -> list[str]:
        """Answer one utterance in each of the named conversations."""

    def note(self, conversation: str, utterance: str, reply: str) -> None:
        """Add an exchange to a conversation whose reply did not come from the agent."""

    def add(self, conversation: str, said: str) -> None:
        """Add to a conversation what was said after the agent's own reply."""

    def forget(self, conversation: str) -> None:
        """Drop a conversation."""

    def with_store(self, store: Conversations) -> Agent:
        """Return the same agent with the conversations of another store."""


class _Turn:
    """One utterance in its conversation.

    The agent works in a thread that may outlive the request: a late search is not stopped.
    """

    def __init__(
        self,
        agent: Agent,
        name: str,
        *,
        question: str,
        hint: Callable[[], None],
        wait: Callable[[Future[Any], float], bool],
    ) -> None:
        """Begin a turn of the named conversation, in the current transaction.

        question: the one that the skill added to the agent's last reply, or "". hint, wait: see
        deadline.in_time.
        """
        self._transaction = current_transaction()
        own = self._transaction.agent or agent  # another model may be served by now
        self._agent, self._name = own.with_store(self._transaction), name
        self._question, self._hint, self._wait = question, hint, wait
        self._before = self._transaction.get(name)  # the conversation without this utterance

    def respond(self, utterance: str) -> str:
        """Return the agent's reply. Raises TimeoutError or Busy."""
        (reply,) = self._in_time(
            lambda: self._agent.respond([self._name], [utterance], deadline=deadline.SEARCH_FOR)
        )
        return reply

    def note(self, utterance: str, reply: str) -> None:
        """Add an exchange that the agent had no part in. Raises TimeoutError or Busy."""
        self._in_time(lambda: self._agent.note(self._name, utterance, reply))

    def abandon(self) -> None:
        """Keep the conversation without this utterance: its reply was not heard.

        The agent may still finish, but a closed transaction takes no step from it.
        """
        self._transaction.close(self._before)

    def _in_time(self, work: Callable[[], T]) -> T:
        """Do work that may have to wait for other people's replies."""
        return deadline.in_time(lambda: self._after_own_question(work), self._hint, wait=self._wait)

    def _after_own_question(self, work: Callable[[], T]) -> T:
        if self._question:
            self._agent.add(self._name, self._question)  # the utterance may be the answer to it
            self._before = self._transaction.get(self._name)  # it was heard, whatever comes next
        return work()


class Responder:
    """Answers utterances, each in the conversation that its request's transaction holds.

    Threads may share a responder.
    """

    def __init__(
        self,
        agent: Agent,
        *,
        safety: Level = "standard",
        may_send: bool = False,
        log_text: bool = False,
        wait: Callable[[Future[Any], float], bool] = is_done,
        observe: Callable[[str, str, Answer], None] | None = None,
    ) -> None:
        """Take the agent and how to talk with it.

        safety: see dialogue.safety. may_send: announce a late reply with a progressive response.
        log_text: log what was said; nothing else logs it. wait: waits for a reply, up to a number
        of seconds. observe: called with the request's id, the session's id and the answer.
        """
        self._agent, self._wait, self._observe = agent, wait, observe
        self._safety, self._may_send, self._log_text = safety, may_send, log_text

    def reply(self, handler_input: HandlerInput, utterance: str) -> Answer:
        """Answer an utterance in its session's conversation; without a session, keep nothing."""
        session = session_id(handler_input)
        given = self._answer(handler_input, session or f"no session {uuid.uuid4()}", utterance)
        if self._log_text:
            log.info(
                "request %r: heard %r, said %r", request_id(handler_input), utterance, given.text
            )
        if self._observe:
            self._observe(request_id(handler_input), session, given)
        return given

    def _answer(self, handler_input: HandlerInput, name: str, utterance: str) -> Answer:
        """Answer in time, or say that it took too long or that the server is busy."""
        turn = _Turn(
            self._agent,
            name,
            question=added_question(handler_input),
            hint=lambda: self._say_meanwhile(handler_input),
            wait=self._wait,
        )
        try:
            given = answer(
                utterance,
                respond=turn.respond,
                note=turn.note,
                choose=lambda wordings: wording(handler_input, wordings),
                seed=request_id(handler_input),
                locale=locale(handler_input),
                safety=self._safety,
                play=play(handler_input),
                said=last_reply(handler_input),
            )
        except TimeoutError:
            turn.abandon()
            log.warning(
                "request %r: no reply within %.1f s",
                request_id(handler_input),
                deadline.GIVE_UP_AFTER,
            )
            return Answer(wording(handler_input, phrases.LATE), "late")
        except Busy:
            log.warning("request %r: too many wait already", request_id(handler_input))
            return Answer(wording(handler_input, phrases.BUSY), "busy")
        if given.by == "safety":
            log.info("request %r has a fixed answer: %s", request_id(handler_input), given.reason)
        return given

    def _say_meanwhile(self, handler_input: HandlerInput) -> None:
        context = handler_input.request_envelope.context
        if self._may_send and context and context.system:
            deadline.say_meanwhile(
                str(context.system.api_endpoint or ""),
                token=str(context.system.api_access_token or ""),
                request_id=request_id(handler_input),
                speech=wording(handler_input, phrases.THINKING),
            )

    def forget(self, handler_input: HandlerInput) -> None:
        """Drop the conversation of a request's session."""
        if session := session_id(handler_input):
            transaction = current_transaction()
            (transaction.agent or self._agent).with_store(transaction).forget(session)

    def forget_user(self, handler_input: HandlerInput) -> None:
        """Drop everything that is kept about a request's user."""
        current_transaction().forget_user()
