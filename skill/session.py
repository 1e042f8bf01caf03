"""Alexa's session <-> a conversation: whose turn a request is, and the responses that keep the microphone open or close it."""

from __future__ import annotations

from typing import Any

from ask_sdk_core.handler_input import HandlerInput
from ask_sdk_model import Intent, IntentConfirmationStatus, IntentRequest, Response, Slot, SlotConfirmationStatus
from ask_sdk_model.dialog import ElicitSlotDirective

from skill import phrases
from skill.interaction_model import CHAT_INTENT, CHAT_SLOT
from skill.speech import to_speech

LAST_SPEECH = "last_speech"  # the session attribute that "repeat" reads


def conversation_name(handler_input: HandlerInput) -> str:
    """Name the conversation that a request belongs to: its session, or the request itself where it has none."""
    envelope = handler_input.request_envelope
    session = envelope.session.session_id if envelope.session else None
    return str(session or request_id(handler_input))


def request_id(handler_input: HandlerInput) -> str:
    """Give the request's id, for seeds and logs."""
    request = handler_input.request_envelope.request
    return str((request and request.request_id) or "no-request-id")


def heard(handler_input: HandlerInput) -> str:
    """Give the utterance that Alexa put in the slot; empty where it is absent or "?", that is, not understood."""
    request = handler_input.request_envelope.request
    if not isinstance(request, IntentRequest) or not request.intent or not request.intent.slots:
        return ""
    slot = request.intent.slots.get(CHAT_SLOT)
    value = slot.value if slot else None
    return "" if not isinstance(value, str) or value.strip() in ("", "?") else value


def last_speech(handler_input: HandlerInput) -> str:
    """Give what the skill said last in this session."""
    return str(_attributes(handler_input).get(LAST_SPEECH, ""))


def keep_listening(handler_input: HandlerInput, text: str) -> Response:
    """Say a text and leave the microphone open for free speech.

    Alexa hands over whole utterances only into a slot that was elicited, so every such response elicits it anew.
    """
    seed = request_id(handler_input)
    speech = to_speech(text) or to_speech(phrases.pick(phrases.NOT_HEARD, seed))
    _attributes(handler_input)[LAST_SPEECH] = text
    empty = Slot(name=CHAT_SLOT, confirmation_status=SlotConfirmationStatus.NONE)
    intent = Intent(name=CHAT_INTENT, confirmation_status=IntentConfirmationStatus.NONE, slots={CHAT_SLOT: empty})
    builder = handler_input.response_builder
    builder.speak(speech).ask(to_speech(phrases.pick(phrases.REPROMPT, seed)))
    builder.add_directive(ElicitSlotDirective(updated_intent=intent, slot_to_elicit=CHAT_SLOT))
    return builder.response


def say_goodbye(handler_input: HandlerInput) -> Response:
    """Say goodbye and end the session."""
    goodbye = phrases.pick(phrases.GOODBYE, request_id(handler_input))
    return handler_input.response_builder.speak(to_speech(goodbye)).set_should_end_session(True).response


def _attributes(handler_input: HandlerInput) -> dict[str, Any]:
    """Give the session's attributes; outside a session there are none, and asking the SDK for them would raise."""
    if not handler_input.request_envelope.session:
        return {}
    manager = handler_input.attributes_manager
    attributes = manager.session_attributes
    if attributes is None:
        manager.session_attributes = attributes = {}
    return attributes
