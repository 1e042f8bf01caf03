"""One small class for each kind of request; `build_skill` puts them in order."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable

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
from skill.commands import command
from skill.contract import SPEECH_ALLOWED
from skill.interaction_settings import InteractionSettings
from skill.responder import Responder
from skill.session import (
    INTERACTION,
    heard,
    intent_name,
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


def leave(handler_input: HandlerInput, responder: Responder) -> Response:
    """Forget the conversation, say goodbye and end the session."""
    responder.forget(handler_input)
    return say_goodbye(handler_input)


def start_over(handler_input: HandlerInput, responder: Responder) -> Response:
    """Forget the conversation and begin again."""
    responder.forget(handler_input)
    return keep_listening(handler_input, wording(handler_input, phrases.FRESH_START))


def answer(handler_input: HandlerInput, responder: Responder, utterance: str) -> Response:
    """Say the conversation's reply to an utterance, and keep listening."""
    reply = responder.reply(handler_input, utterance)
    return keep_listening(handler_input, reply.text, utterance=utterance, about=reply.about)


class Remember(AbstractRequestInterceptor):
    """Let whatever answers a request see the session attributes that are kept of its session."""

    def process(self, handler_input: HandlerInput) -> None:
        """Put them in the place of those that came with the request."""
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


class CanFulfill(AbstractRequestHandler):
    """Answer Alexa, when it looks for a skill, whether this one fits; nobody is listening yet."""

    def __init__(self, interaction: InteractionSettings) -> None:
        self._interaction = interaction

    def can_handle(self, handler_input: HandlerInput) -> bool:
        """Take queries about an intent."""
        return request_type(handler_input) == "CanFulfillIntentRequest"

    def handle(self, handler_input: HandlerInput) -> Response:
        """Say yes to free speech, and no to everything else."""
        answer = CanFulfillIntent(can_fulfill=CanFulfillIntentValues.NO)
        if intent_name(handler_input) in self._interaction.carrier_of:
            slot = CanFulfillSlot(
                can_understand=CanUnderstandSlotValues.YES, can_fulfill=CanFulfillSlotValues.YES
            )
            answer = CanFulfillIntent(
                can_fulfill=CanFulfillIntentValues.YES, slots={self._interaction.slot: slot}
            )
        return handler_input.response_builder.set_can_fulfill_intent(answer).response


class Launch(AbstractRequestHandler):
    """Greet; a launch within a session starts a new conversation."""

    def __init__(self, responder: Responder) -> None:
        self._responder = responder

    def can_handle(self, handler_input: HandlerInput) -> bool:
        """Take launches."""
        return request_type(handler_input) == "LaunchRequest"

    def handle(self, handler_input: HandlerInput) -> Response:
        """Say hello and listen."""
        self._responder.forget(handler_input)
        return keep_listening(handler_input, wording(handler_input, phrases.WELCOME))


class Chat(AbstractRequestHandler):
    """Answer free speech: the conversation itself."""

    def __init__(self, responder: Responder, interaction: InteractionSettings) -> None:
        self._responder, self._interaction = responder, interaction

    def can_handle(self, handler_input: HandlerInput) -> bool:
        """Take free speech, one-shot or within a session."""
        return intent_name(handler_input) in self._interaction.carrier_of

    def handle(self, handler_input: HandlerInput) -> Response:
        """Reply, obey a command given as free speech, or ask again if nothing was understood."""
        # An elicited slot takes whatever is said, so commands come as talk, too.
        utterance = heard(handler_input)
        if not utterance:
            return keep_listening(handler_input, wording(handler_input, phrases.NOT_HEARD))
        match command(utterance, self._interaction.invocation_name):
            case "stop":
                return leave(handler_input, self._responder)
            case "start over":
                return start_over(handler_input, self._responder)
            case "repeat":
                return say_again(handler_input)
            case "help":
                return keep_listening(handler_input, wording(handler_input, phrases.HELP))
            case None:
                return answer(handler_input, self._responder, utterance)


class YesNo(AbstractRequestHandler):
    """Pass "yes" and "no" on to the conversation, like any other utterance."""

    def __init__(self, responder: Responder) -> None:
        self._responder = responder

    def can_handle(self, handler_input: HandlerInput) -> bool:
        """Take Alexa's own yes and no."""
        return intent_name(handler_input) in ("AMAZON.YesIntent", "AMAZON.NoIntent")

    def handle(self, handler_input: HandlerInput) -> Response:
        """Reply to the word."""
        said = "yes" if intent_name(handler_input) == "AMAZON.YesIntent" else "no"
        return answer(handler_input, self._responder, said)


class Help(AbstractRequestHandler):
    """Explain how to talk to the skill."""

    def can_handle(self, handler_input: HandlerInput) -> bool:
        """Take calls for help."""
        return intent_name(handler_input) == "AMAZON.HelpIntent"

    def handle(self, handler_input: HandlerInput) -> Response:
        """Help and keep listening."""
        return keep_listening(handler_input, wording(handler_input, phrases.HELP))


class Repeat(AbstractRequestHandler):
    """Say the last thing again."""

    def can_handle(self, handler_input: HandlerInput) -> bool:
        """Take "repeat"."""
        return intent_name(handler_input) == "AMAZON.RepeatIntent"

    def handle(self, handler_input: HandlerInput) -> Response:
        """Repeat, or say that there is nothing yet."""
        return say_again(handler_input)


class StartOver(AbstractRequestHandler):
    """Forget the conversation and begin again."""

    def __init__(self, responder: Responder) -> None:
        self._responder = responder

    def can_handle(self, handler_input: HandlerInput) -> bool:
        """Take "start over"."""
        return intent_name(handler_input) == "AMAZON.StartOverIntent"

    def handle(self, handler_input: HandlerInput) -> Response:
        """Forget and greet."""
        return start_over(handler_input, self._responder)


class Leave(AbstractRequestHandler):
    """Say goodbye."""

    def __init__(self, responder: Responder) -> None:
        self._responder = responder

    def can_handle(self, handler_input: HandlerInput) -> bool:
        """Take stop, cancel, navigate home, and pause, which must not leave the microphone open."""
        names = (
            "AMAZON.StopIntent",
            "AMAZON.CancelIntent",
            "AMAZON.NavigateHomeIntent",
            "AMAZON.PauseIntent",
        )
        return intent_name(handler_input) in names

    def handle(self, handler_input: HandlerInput) -> Response:
        """Forget the conversation and end the session."""
        return leave(handler_input, self._responder)


class NotUnderstood(AbstractRequestHandler):
    """Ask again: neither the fallback intent nor an unknown intent carries any text."""

    def can_handle(self, handler_input: HandlerInput) -> bool:
        """Take every other intent."""
        return request_type(handler_input) == "IntentRequest"

    def handle(self, handler_input: HandlerInput) -> Response:
        """Ask again and keep listening."""
        return keep_listening(handler_input, wording(handler_input, phrases.NOT_HEARD))


class Resume(AbstractRequestHandler):
    """Go on with a session after another skill's turn, or after a touch on a screen or button."""

    def can_handle(self, handler_input: HandlerInput) -> bool:
        """Take "resume", and every other user action that is not an intent."""
        kind = request_type(handler_input)
        return intent_name(handler_input) == "AMAZON.ResumeIntent" or (
            kind in SPEECH_ALLOWED and kind != "IntentRequest"
        )

    def handle(self, handler_input: HandlerInput) -> Response:
        """Ask for the next thing and keep listening."""
        return keep_listening(handler_input, wording(handler_input, phrases.RESUME))


class Ended(AbstractRequestHandler):
    """Forget the conversation when its session ends; no speech is allowed."""

    def __init__(self, responder: Responder) -> None:
        self._responder = responder

    def can_handle(self, handler_input: HandlerInput) -> bool:
        """Take the end of a session."""
        return request_type(handler_input) == "SessionEndedRequest"

    def handle(self, handler_input: HandlerInput) -> Response:
        """Forget and say nothing."""
        self._responder.forget(handler_input)
        return say_nothing(handler_input)


class Disabled(AbstractRequestHandler):
    """Forget a user who has disabled the skill."""

    def __init__(self, responder: Responder) -> None:
        self._responder = responder

    def can_handle(self, handler_input: HandlerInput) -> bool:
        """Take the event that Alexa sends when a user disables the skill."""
        return request_type(handler_input) == "AlexaSkillEvent.SkillDisabled"

    def handle(self, handler_input: HandlerInput) -> Response:
        """Forget all of the user's conversations and say nothing."""
        self._responder.forget_user(handler_input)
        return say_nothing(handler_input)


class Silent(AbstractRequestHandler):
    """Answer every other report (players, exceptions, events) with the empty response."""

    def can_handle(self, handler_input: HandlerInput) -> bool:
        """Take everything."""
        return True

    def handle(self, handler_input: HandlerInput) -> Response:
        """Say nothing, since no speech is allowed."""
        return say_nothing(handler_input)


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
