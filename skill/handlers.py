"""One small class for each kind of request. `build_skill` puts them in order."""

from __future__ import annotations

import logging

from ask_sdk_core.dispatch_components import AbstractExceptionHandler, AbstractRequestHandler
from ask_sdk_core.handler_input import HandlerInput
from ask_sdk_core.utils import is_intent_name, is_request_type
from ask_sdk_model import IntentRequest, LaunchRequest, Response

from dialogue.agent import DialogueAgent
from skill import phrases
from skill.interaction_model import CHAT_INTENT
from skill.session import conversation_name, heard, keep_listening, last_speech, request_id, say_goodbye

log = logging.getLogger(__name__)


class Launch(AbstractRequestHandler):
    """Greet; a launch within a session begins anew."""

    def __init__(self, agent: DialogueAgent) -> None:
        self._agent = agent

    def can_handle(self, handler_input: HandlerInput) -> bool:
        """Take launches."""
        return bool(is_request_type("LaunchRequest")(handler_input))

    def handle(self, handler_input: HandlerInput) -> Response:
        """Say hello and listen."""
        self._agent.forget(conversation_name(handler_input))
        return keep_listening(handler_input, phrases.pick(phrases.WELCOME, request_id(handler_input)))


class Chat(AbstractRequestHandler):
    """Answer what was said; this is the conversation."""

    def __init__(self, agent: DialogueAgent) -> None:
        self._agent = agent

    def can_handle(self, handler_input: HandlerInput) -> bool:
        """Take free speech, one-shot or within a session."""
        return bool(is_intent_name(CHAT_INTENT)(handler_input))

    def handle(self, handler_input: HandlerInput) -> Response:
        """Reply, ask again where nothing was understood, or leave where the utterance says so."""
        utterance = heard(handler_input)
        if not utterance:
            return keep_listening(handler_input, phrases.pick(phrases.NOT_HEARD, request_id(handler_input)))
        if phrases.is_farewell(utterance):
            self._agent.forget(conversation_name(handler_input))
            return say_goodbye(handler_input)
        return _reply(handler_input, self._agent, utterance)


class YesNo(AbstractRequestHandler):
    """Pass "yes" and "no" on to the conversation: they are things said to the bot, too."""

    def __init__(self, agent: DialogueAgent) -> None:
        self._agent = agent

    def can_handle(self, handler_input: HandlerInput) -> bool:
        """Take Alexa's own yes and no."""
        return bool(is_intent_name("AMAZON.YesIntent")(handler_input) or is_intent_name("AMAZON.NoIntent")(handler_input))

    def handle(self, handler_input: HandlerInput) -> Response:
        """Reply to the word."""
        said_yes = is_intent_name("AMAZON.YesIntent")(handler_input)
        return _reply(handler_input, self._agent, "yes" if said_yes else "no")


class Help(AbstractRequestHandler):
    """Explain how to talk to the skill."""

    def can_handle(self, handler_input: HandlerInput) -> bool:
        """Take calls for help."""
        return bool(is_intent_name("AMAZON.HelpIntent")(handler_input))

    def handle(self, handler_input: HandlerInput) -> Response:
        """Help and keep listening."""
        return keep_listening(handler_input, phrases.pick(phrases.HELP, request_id(handler_input)))


class Repeat(AbstractRequestHandler):
    """Say the last thing again."""

    def can_handle(self, handler_input: HandlerInput) -> bool:
        """Take "repeat"."""
        return bool(is_intent_name("AMAZON.RepeatIntent")(handler_input))

    def handle(self, handler_input: HandlerInput) -> Response:
        """Repeat, or say that there is nothing yet."""
        return keep_listening(handler_input, last_speech(handler_input) or phrases.pick(phrases.NOTHING_TO_REPEAT, ""))


class StartOver(AbstractRequestHandler):
    """Forget the conversation and begin again."""

    def __init__(self, agent: DialogueAgent) -> None:
        self._agent = agent

    def can_handle(self, handler_input: HandlerInput) -> bool:
        """Take "start over"."""
        return bool(is_intent_name("AMAZON.StartOverIntent")(handler_input))

    def handle(self, handler_input: HandlerInput) -> Response:
        """Forget and greet."""
        self._agent.forget(conversation_name(handler_input))
        return keep_listening(handler_input, phrases.pick(phrases.FRESH_START, request_id(handler_input)))


class Leave(AbstractRequestHandler):
    """Say goodbye."""

    def __init__(self, agent: DialogueAgent) -> None:
        self._agent = agent

    def can_handle(self, handler_input: HandlerInput) -> bool:
        """Take stop, cancel and navigate home."""
        names = ("AMAZON.StopIntent", "AMAZON.CancelIntent", "AMAZON.NavigateHomeIntent")
        return any(is_intent_name(name)(handler_input) for name in names)

    def handle(self, handler_input: HandlerInput) -> Response:
        """Forget the conversation and end the session."""
        self._agent.forget(conversation_name(handler_input))
        return say_goodbye(handler_input)


class NotUnderstood(AbstractRequestHandler):
    """Ask again: the fallback intent carries no text, and neither does an intent that the model does not have."""

    def can_handle(self, handler_input: HandlerInput) -> bool:
        """Take every other intent."""
        return isinstance(handler_input.request_envelope.request, IntentRequest)

    def handle(self, handler_input: HandlerInput) -> Response:
        """Ask again and keep listening."""
        return keep_listening(handler_input, phrases.pick(phrases.NOT_HEARD, request_id(handler_input)))


class Ended(AbstractRequestHandler):
    """Forget a conversation whose session is over; no speech is allowed."""

    def __init__(self, agent: DialogueAgent) -> None:
        self._agent = agent

    def can_handle(self, handler_input: HandlerInput) -> bool:
        """Take the end of a session."""
        return bool(is_request_type("SessionEndedRequest")(handler_input))

    def handle(self, handler_input: HandlerInput) -> Response:
        """Forget and say nothing."""
        self._agent.forget(conversation_name(handler_input))
        return handler_input.response_builder.response


class Silent(AbstractRequestHandler):
    """Answer whatever else Alexa reports (players, exceptions, events) with the empty response: no speech is allowed."""

    def can_handle(self, handler_input: HandlerInput) -> bool:
        """Take everything."""
        return True

    def handle(self, handler_input: HandlerInput) -> Response:
        """Say nothing."""
        return handler_input.response_builder.response


class Trouble(AbstractExceptionHandler):
    """Say a sentence where anything failed; the log has the request's id and the error, never what was said."""

    def can_handle(self, handler_input: HandlerInput, exception: Exception) -> bool:
        """Take every exception."""
        return True

    def handle(self, handler_input: HandlerInput, exception: Exception) -> Response:
        """Log, and keep the conversation open where speech is allowed."""
        log.error("request %s failed", request_id(handler_input), exc_info=exception)
        if isinstance(handler_input.request_envelope.request, (IntentRequest, LaunchRequest)):
            return keep_listening(handler_input, phrases.pick(phrases.TROUBLE, request_id(handler_input)))
        return handler_input.response_builder.response


def _reply(handler_input: HandlerInput, agent: DialogueAgent, utterance: str) -> Response:
    (reply,) = agent.respond([conversation_name(handler_input)], [utterance])
    return keep_listening(handler_input, reply)
