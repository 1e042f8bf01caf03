"""Alexa's session <-> a conversation: whose turn a request is, and the responses that keep the microphone open or close it."""

from __future__ import annotations

import threading
import uuid
from collections import OrderedDict
from typing import TYPE_CHECKING

from ask_sdk_core.handler_input import HandlerInput
from ask_sdk_model import Intent, IntentConfirmationStatus, IntentRequest, Response, Slot, SlotConfirmationStatus
from ask_sdk_model.canfulfill import CanFulfillIntentRequest
from ask_sdk_model.dialog import ElicitSlotDirective

from skill import phrases
from skill.interaction_model import CHAT_INTENT, CHAT_SLOT
from skill.speech import ILLEGAL, MAX_CHARACTERS, to_speech

if TYPE_CHECKING:
    from dialogue.agent import DialogueAgent

LAST_SPEECH = "last_speech"  # the session attribute that "repeat" reads
REMEMBERED_SESSIONS = 10_000  # as many as the agent keeps conversations


class Conversations:
    """The agent's conversations: one a session, and whose they are. Threads may share one; its memory is bounded."""

    def __init__(self, agent: DialogueAgent, *, limit: int = REMEMBERED_SESSIONS) -> None:
        self._agent, self._limit = agent, limit
        self._users: OrderedDict[str, str] = OrderedDict()  # session -> user, least recently heard first
        self._lock = threading.Lock()

    def reply(self, handler_input: HandlerInput, utterance: str) -> str:
        """Answer an utterance in the conversation of its session; without a session nothing is kept."""
        session = session_id(handler_input)
        name = session or f"no session {uuid.uuid4()}"
        with self._lock:
            self._users[name] = user_id(handler_input)
            self._users.move_to_end(name)
            while len(self._users) > self._limit:
                self._users.popitem(last=False)
        try:
            (reply,) = self._agent.respond([name], [utterance])
        finally:
            if not session:
                self._forget(name)
        return reply

    def forget(self, handler_input: HandlerInput) -> None:
        """Drop the conversation of a request's session."""
        session = session_id(handler_input)
        if session:
            self._forget(session)

    def forget_user(self, handler_input: HandlerInput) -> None:
        """Drop all that is kept of a request's user."""
        user = user_id(handler_input)
        with self._lock:
            sessions = [session for session, owner in self._users.items() if user and owner == user]
        for session in sessions:
            self._forget(session)

    def _forget(self, name: str) -> None:
        with self._lock:
            self._users.pop(name, None)
        self._agent.forget(name)


def session_id(handler_input: HandlerInput) -> str:
    """Give the id of a request's session; empty where it has none."""
    session = handler_input.request_envelope.session
    return str((session and session.session_id) or "")


def user_id(handler_input: HandlerInput) -> str:
    """Give the id of a request's user, who stands in the session or, in events, in the context alone; empty: unknown."""
    envelope = handler_input.request_envelope
    for owner in (envelope.session, envelope.context and envelope.context.system):
        if owner and owner.user and owner.user.user_id:
            return str(owner.user.user_id)
    return ""


def request_id(handler_input: HandlerInput) -> str:
    """Give the request's id, for seeds and logs."""
    request = handler_input.request_envelope.request
    return str((request and request.request_id) or "no-request-id")


def request_type(handler_input: HandlerInput) -> str:
    """Give the type of a request."""
    request = handler_input.request_envelope.request
    return str(request.object_type if request else "")


def intent_name(handler_input: HandlerInput) -> str:
    """Give the name of the intent; empty where there is none."""
    request = handler_input.request_envelope.request
    intent = request.intent if isinstance(request, (IntentRequest, CanFulfillIntentRequest)) else None
    return str((intent and intent.name) or "")


def heard(handler_input: HandlerInput) -> str:
    """Give the utterance that Alexa put in the slot; empty where it is absent or "?", that is, not understood."""
    request = handler_input.request_envelope.request
    slots = request.intent.slots if isinstance(request, IntentRequest) and request.intent else None
    slot = (slots or {}).get(CHAT_SLOT)
    value = str((slot and slot.value) or "")
    return "" if value.strip() in ("", "?") else value


def last_speech(handler_input: HandlerInput) -> str:
    """Give what the skill said last in this session."""
    session = handler_input.request_envelope.session
    said = ((session and session.attributes) or {}).get(LAST_SPEECH)
    return said if isinstance(said, str) else ""


def keep_listening(handler_input: HandlerInput, text: str) -> Response:
    """Say a text and leave the microphone open for free speech.

    Alexa hands over whole utterances only into a slot that was elicited, so every such response elicits it anew.
    """
    seed = request_id(handler_input)
    speech = to_speech(text) or to_speech(phrases.pick(phrases.NOT_HEARD, seed))
    _keep(handler_input, {LAST_SPEECH: ILLEGAL.sub(" ", text)[: 2 * MAX_CHARACTERS]})
    empty = Slot(name=CHAT_SLOT, confirmation_status=SlotConfirmationStatus.NONE)
    intent = Intent(name=CHAT_INTENT, confirmation_status=IntentConfirmationStatus.NONE, slots={CHAT_SLOT: empty})
    builder = handler_input.response_builder
    builder.speak(speech).ask(to_speech(phrases.pick(phrases.REPROMPT, seed)))
    builder.add_directive(ElicitSlotDirective(updated_intent=intent, slot_to_elicit=CHAT_SLOT))
    return builder.response


def say_goodbye(handler_input: HandlerInput) -> Response:
    """Say goodbye and end the session."""
    goodbye = phrases.pick(phrases.GOODBYE, request_id(handler_input))
    _keep(handler_input, {})
    return handler_input.response_builder.speak(to_speech(goodbye)).set_should_end_session(True).response


def say_nothing(handler_input: HandlerInput) -> Response:
    """Answer where no speech is allowed."""
    _keep(handler_input, {})
    return handler_input.response_builder.response


def _keep(handler_input: HandlerInput, attributes: dict[str, object]) -> None:
    """Replace the session's attributes; outside a session there are none, and asking the SDK for them would raise."""
    if handler_input.request_envelope.session:
        handler_input.attributes_manager.session_attributes = attributes
