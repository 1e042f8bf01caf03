"""How each kind of request is answered: one function for each, tried in the order of `ROUTES`."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable
from typing import NamedTuple

from ask_sdk_core.dispatch_components import (
    AbstractExceptionHandler,
    AbstractRequestHandler,
    AbstractRequestInterceptor,
)
from ask_sdk_core.handler_input import HandlerInput
from ask_sdk_model import Response
from ask_sdk_model.canfulfill import (
    CanFulfillIntent,
    CanFulfillIntentValues,
    CanFulfillSlot,
    CanFulfillSlotValues,
    CanUnderstandSlotValues,
)

from skill import phrases
from skill.commands import Command, command
from skill.contract import SPEECH_ALLOWED
from skill.interaction_settings import InteractionSettings
from skill.responder import Responder
from skill.session import (
    INTERACTION,
    heard,
    intent_name,
    interaction_of,
    keep_listening,
    request_id,
    request_type,
    say_again,
    say_goodbye,
    say_nothing,
    wording,
)
from skill.transaction import current_transaction

log = logging.getLogger(__name__)


Takes = Callable[[HandlerInput], bool]
Answers = Callable[[HandlerInput, Responder], Response]


def is_request(*kinds: str) -> Takes:
    """Return a function that tells whether a request is of one of these types."""
    return lambda handler_input: request_type(handler_input) in kinds


def is_intent(*names: str) -> Takes:
    """Return a function that tells whether a request is one of these intents."""
    return lambda handler_input: intent_name(handler_input) in names


def is_free_speech(handler_input: HandlerInput) -> bool:
    """Return whether a request brings an utterance, one-shot or within a session."""
    return intent_name(handler_input) in interaction_of(handler_input).carrier_of


def is_touch(handler_input: HandlerInput) -> bool:
    """Return whether a request is a user's action other than an intent, such as a touch."""
    kind = request_type(handler_input)
    return kind in SPEECH_ALLOWED and kind != "IntentRequest"


def can_fulfill(handler_input: HandlerInput, responder: Responder) -> Response:
    """Answer Alexa when it looks for a skill: yes to free speech, no to everything else.

    Nobody is listening yet.
    """
    answer = CanFulfillIntent(can_fulfill=CanFulfillIntentValues.NO)
    if is_free_speech(handler_input):
        slot = CanFulfillSlot(
            can_understand=CanUnderstandSlotValues.YES, can_fulfill=CanFulfillSlotValues.YES
        )
        answer = CanFulfillIntent(
            can_fulfill=CanFulfillIntentValues.YES,
            slots={interaction_of(handler_input).slot: slot},
        )
    return handler_input.response_builder.set_can_fulfill_intent(answer).response


def launch(handler_input: HandlerInput, responder: Responder) -> Response:
    """Greet; a launch within a session starts a new conversation."""
    responder.forget(handler_input)
    return keep_listening(handler_input, wording(handler_input, phrases.WELCOME))


def chat(handler_input: HandlerInput, responder: Responder) -> Response:
    """Answer free speech: obey a command, ask again if nothing was understood, else reply."""
    # An elicited slot takes whatever is said, so commands arrive as talk, too.
    utterance = heard(handler_input)
    if not utterance:
        return not_understood(handler_input, responder)
    given = command(utterance, interaction_of(handler_input).invocation_name)
    if given is None:
        return reply(handler_input, responder, utterance)
    return COMMANDS[given](handler_input, responder)


def yes_or_no(handler_input: HandlerInput, responder: Responder) -> Response:
    """Pass "yes" and "no" on to the conversation, like any other utterance."""
    said = "yes" if intent_name(handler_input) == "AMAZON.YesIntent" else "no"
    return reply(handler_input, responder, said)


def reply(handler_input: HandlerInput, responder: Responder, utterance: str) -> Response:
    """Say the conversation's reply to an utterance, and keep listening."""
    given = responder.reply(handler_input, utterance)
    return keep_listening(
        handler_input,
        given.text,
        utterance=utterance,
        about=given.about,
        may_miss=given.may_miss,
    )


def explain(handler_input: HandlerInput, responder: Responder) -> Response:
    """Explain how to talk to the skill."""
    return keep_listening(handler_input, wording(handler_input, phrases.HELP))


def repeat(handler_input: HandlerInput, responder: Responder) -> Response:
    """Repeat the last speech, or say that there is none yet."""
    return say_again(handler_input)


def start_over(handler_input: HandlerInput, responder: Responder) -> Response:
    """Forget the conversation and begin again."""
    responder.forget(handler_input)
    return keep_listening(handler_input, wording(handler_input, phrases.FRESH_START))


def leave(handler_input: HandlerInput, responder: Responder) -> Response:
    """Forget the conversation, say goodbye and end the session."""
    responder.forget(handler_input)
    return say_goodbye(handler_input)


def resume(handler_input: HandlerInput, responder: Responder) -> Response:
    """Resume a session after another skill's turn or a touch: ask what to talk about."""
    return keep_listening(handler_input, wording(handler_input, phrases.RESUME))


def not_understood(handler_input: HandlerInput, responder: Responder) -> Response:
    """Ask again: neither the fallback intent nor an unknown intent carries any text."""
    return keep_listening(handler_input, wording(handler_input, phrases.NOT_HEARD))


def end(handler_input: HandlerInput, responder: Responder) -> Response:
    """Forget the conversation when its session ends; no speech is allowed."""
    responder.forget(handler_input)
    return say_nothing(handler_input)


def disable(handler_input: HandlerInput, responder: Responder) -> Response:
    """Forget all conversations of a user who has disabled the skill; no speech is allowed."""
    responder.forget_user(handler_input)
    return say_nothing(handler_input)


def stay_silent(handler_input: HandlerInput, responder: Responder) -> Response:
    """Answer a report (of a player, an exception, an event) with the empty response."""
    return say_nothing(handler_input)


class Route(NamedTuple):
    """Which requests to answer, and how."""

    takes: Takes
    answers: Answers


COMMANDS: dict[Command, Answers] = {
    "stop": leave,
    "help": explain,
    "start over": start_over,
    "repeat": repeat,
}
# The first route that takes a request answers it, so the specific come before the general: the
# built-in intents before all other intents, and the last route takes whatever is left.
ROUTES = (
    Route(is_request("CanFulfillIntentRequest"), can_fulfill),
    Route(is_request("LaunchRequest"), launch),
    Route(is_free_speech, chat),
    Route(is_intent("AMAZON.YesIntent", "AMAZON.NoIntent"), yes_or_no),
    Route(is_intent("AMAZON.HelpIntent"), explain),
    Route(is_intent("AMAZON.RepeatIntent"), repeat),
    Route(is_intent("AMAZON.StartOverIntent"), start_over),
    Route(
        is_intent("AMAZON.StopIntent", "AMAZON.CancelIntent", "AMAZON.NavigateHomeIntent"), leave
    ),
    Route(is_intent("AMAZON.PauseIntent"), leave),  # a pause must not leave the microphone open
    Route(is_intent("AMAZON.ResumeIntent"), resume),
    Route(is_touch, resume),
    Route(is_request("IntentRequest"), not_understood),
    Route(is_request("SessionEndedRequest"), end),
    Route(is_request("AlexaSkillEvent.SkillDisabled"), disable),
    Route(lambda handler_input: True, stay_silent),
)


class Handler(AbstractRequestHandler):
    """A route as the SDK's request handler."""

    def __init__(self, route: Route, responder: Responder) -> None:
        self._route, self._responder = route, responder

    def can_handle(self, handler_input: HandlerInput) -> bool:
        """Return whether the route takes a request."""
        return self._route.takes(handler_input)

    def handle(self, handler_input: HandlerInput) -> Response:
        """Answer it."""
        return self._route.answers(handler_input, self._responder)


class Remember(AbstractRequestInterceptor):
    """Load the session attributes that were kept, for the request's handler."""

    def process(self, handler_input: HandlerInput) -> None:
        """Replace the session attributes that came with the request."""
        session, kept = handler_input.request_envelope.session, current_transaction().attributes
        if session and kept is not None:
            session.attributes = kept


class Interaction(AbstractRequestInterceptor):
    """Pass the interaction settings to whichever handler answers the request."""

    def __init__(self, interaction: InteractionSettings) -> None:
        self._interaction = interaction

    def process(self, handler_input: HandlerInput) -> None:
        """Store the settings in the request's attributes."""
        handler_input.attributes_manager.request_attributes = {INTERACTION: self._interaction}


class Trouble(AbstractExceptionHandler):
    """Apologise when anything fails; log the request's id and the place, never what was said."""

    def __init__(self, failed: Callable[[], None]) -> None:
        self._failed = failed

    def can_handle(self, handler_input: HandlerInput, exception: Exception) -> bool:
        """Take every exception."""
        return True

    def handle(self, handler_input: HandlerInput, exception: Exception) -> Response:
        """Log, and keep the conversation open where speech is allowed."""
        self._failed()
        # The traceback without the exception's message, which may quote what was said.
        where = "".join(traceback.format_tb(exception.__traceback__))
        log.error(
            "request %r failed: %s\n%s", request_id(handler_input), type(exception).__name__, where
        )
        if request_type(handler_input) in SPEECH_ALLOWED:
            return keep_listening(handler_input, wording(handler_input, phrases.TROUBLE))
        return say_nothing(handler_input)
