"""What a request of Alexa's session says, and the responses that keep the microphone open or close it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from ask_sdk_core.handler_input import HandlerInput
from ask_sdk_model import (
    Intent,
    IntentConfirmationStatus,
    IntentRequest,
    ListSlotValue,
    Response,
    Slot,
    SlotConfirmationStatus,
    SlotValue,
)
from ask_sdk_model.canfulfill import CanFulfillIntentRequest
from ask_sdk_model.dialog import ElicitSlotDirective
from ask_sdk_model.slu.entityresolution import Resolutions

from dialogue.identity import OWN_NAME
from dialogue.safety import Play
from dialogue.seeded_choice import pick
from dialogue.vocabulary import CONTINUED
from skill import phrases, questions
from skill.interaction_settings import InteractionSettings
from skill.speech import ILLEGAL, MAX_CHARACTERS, PAUSE, to_speech

INTERACTION = "interaction"  # the request attribute that holds the skill's InteractionSettings
LAST_SPEECH, TURN = (
    "last_speech",
    "turn",
)  # session attributes: what "repeat" reads, and how often the skill has spoken
PLAY = "play"  # session attribute: whether a game is being spoken of
MAX_TURN = 1_000_000
MAX_KEPT = 2 * MAX_CHARACTERS - 100  # of a speech, so that an added question stays in it


def interaction_of(handler_input: HandlerInput) -> InteractionSettings:
    """Return how the skill is called and hears, as `build_skill` was told."""
    return cast(
        InteractionSettings, handler_input.attributes_manager.request_attributes[INTERACTION]
    )


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
    intent = (
        request.intent if isinstance(request, (IntentRequest, CanFulfillIntentRequest)) else None
    )
    return str((intent and intent.name) or "")


def heard(handler_input: HandlerInput) -> str:
    """Return the utterance, whole: the word that the intent stands for, and what Alexa put in the slot.

    Empty where the slot is absent or "?", that is, not understood.
    """
    request = handler_input.request_envelope.request
    slots = request.intent.slots if isinstance(request, IntentRequest) and request.intent else None
    interaction = interaction_of(handler_input)
    said = _words_of((slots or {}).get(interaction.slot))
    return (
        f"{interaction.carrier_of.get(intent_name(handler_input), '')} {said}".strip()
        if said
        else ""
    )


def _words_of(slot: Slot | SlotValue | None) -> str:
    """Return the words of a slot, or of one of its values, wherever they stand; empty: there are none.

    Its own value comes first, as it was said; newer requests may have slotValue alone, a list of
    them, or nothing but what the words were resolved to.
    """
    if slot is None:
        return ""
    if isinstance(slot, ListSlotValue):
        return " ".join(words for value in slot.values or () if (words := _words_of(value)))
    said = str(getattr(slot, "value", None) or "").strip()
    if said not in ("", "?"):
        return said
    return _words_of(getattr(slot, "slot_value", None)) or _resolved(
        getattr(slot, "resolutions", None)
    )


def _resolved(resolutions: Resolutions | None) -> str:
    """Return the name that an authority resolved a slot to; empty: none did."""
    authorities = (resolutions and resolutions.resolutions_per_authority) or ()
    found = (value.value for authority in authorities for value in authority.values or ())
    return next((str(value.name).strip() for value in found if value and value.name), "")


def locale(handler_input: HandlerInput) -> str:
    """Give the language and country of a request, such as en-US; empty where it has none."""
    request = handler_input.request_envelope.request
    return str((request and request.locale) or "")


def last_speech(handler_input: HandlerInput) -> str:
    """Give what the skill said last in this session."""
    said = _attributes(handler_input).get(LAST_SPEECH)
    return said if isinstance(said, str) else ""


def added_question(handler_input: HandlerInput) -> str:
    """Return the question that was added to the last speech; empty where none was."""
    question = last_speech(handler_input).rpartition(CONTINUED)[2].strip()
    return question if questions.is_added(question) else ""


def play(handler_input: HandlerInput) -> Play:
    """Return what the session knows of a game that is being spoken of."""
    return Play.read(_attributes(handler_input).get(PLAY))


def wording(handler_input: HandlerInput, wordings: Sequence[str]) -> str:
    """Take the wording whose turn it is: the session chooses the first, and no two in a row are the same."""
    chosen = pick(
        wordings, session_id(handler_input) or request_id(handler_input), turn=_turn(handler_input)
    )
    return chosen.replace(OWN_NAME, interaction_of(handler_input).name)


def keep_listening(
    handler_input: HandlerInput, text: str, *, utterance: str = "", about: str = ""
) -> Response:
    """Say a text and leave the microphone open for free speech, with a question where the text has none.

    Where free speech is elicited Alexa hands over whole utterances only into a slot that was, so
    every such response elicits it anew.
    utterance: what is answered. about: why the text is a fixed one, as `questions.follow_up` has it.
    """
    if not to_speech(text):
        text = wording(handler_input, phrases.NOT_HEARD)
    if "?" not in text and questions.asks(text):
        text = f"{text.rstrip(' .!,')}?"
    question, asking = questions.follow_up(
        text,
        utterance,
        about=about,
        before=questions.Asking.read(_attributes(handler_input)),
        seed=f"{session_id(handler_input)} {_turn(handler_input)}",
    )
    text = f"{text[:MAX_KEPT]} {CONTINUED} {question}" if question else text[:MAX_KEPT]
    return _say(handler_input, text, asking, play(handler_input).after(utterance, about=about))


def say_again(handler_input: HandlerInput) -> Response:
    """Say the last speech once more, as it was, or that there is none."""
    text = last_speech(handler_input)
    return (
        _say(
            handler_input,
            text,
            questions.Asking.read(_attributes(handler_input)),
            play(handler_input),
        )
        if text
        else keep_listening(handler_input, wording(handler_input, phrases.NOTHING_TO_REPEAT))
    )


def say_goodbye(handler_input: HandlerInput) -> Response:
    """Say goodbye and end the session."""
    goodbye = wording(handler_input, phrases.GOODBYE)
    _keep(handler_input, {})
    return (
        handler_input.response_builder.speak(to_speech(goodbye))
        .set_should_end_session(True)
        .response
    )


def say_nothing(handler_input: HandlerInput) -> Response:
    """Answer where no speech is allowed."""
    _keep(handler_input, {})
    return handler_input.response_builder.response


def _speech(text: str) -> str:
    """Turn what is kept of a speech into SSML. An added question is spoken whole, however long the reply before it."""
    reply, _, question = text.rpartition(CONTINUED)
    if questions.is_added(question.strip()):
        return f"{to_speech(reply)}{PAUSE}{to_speech(question)}"
    return to_speech(text)


def _say(
    handler_input: HandlerInput, text: str, asking: questions.Asking, of_game: Play
) -> Response:
    speech = _speech(text)
    reprompt = wording(
        handler_input, phrases.REPROMPT_GENTLY if asking.gentle else phrases.REPROMPT
    )
    kept = {LAST_SPEECH: ILLEGAL.sub(" ", text), TURN: _turn(handler_input) + 1, **asking.written()}
    _keep(handler_input, kept | ({PLAY: of_game.written()} if of_game.turns else {}))
    builder = handler_input.response_builder.speak(speech).ask(to_speech(reprompt))
    interaction = interaction_of(handler_input)
    if (
        interaction.free_speech == "catchall"
    ):  # there is no dialog model whose slot could be elicited
        return builder.response
    name = interaction.slot
    empty = Slot(name=name, confirmation_status=SlotConfirmationStatus.NONE)
    intent = Intent(
        name=interaction.intent,
        confirmation_status=IntentConfirmationStatus.NONE,
        slots={name: empty},
    )
    return builder.add_directive(
        ElicitSlotDirective(updated_intent=intent, slot_to_elicit=name)
    ).response


def _attributes(handler_input: HandlerInput) -> dict[str, object]:
    session = handler_input.request_envelope.session
    return (session and session.attributes) or {}


def _turn(handler_input: HandlerInput) -> int:
    turn = _attributes(handler_input).get(TURN)
    return turn if isinstance(turn, int) and 0 <= turn < MAX_TURN else 0


def _keep(handler_input: HandlerInput, attributes: dict[str, object]) -> None:
    """Replace the session's attributes; outside a session there are none, and asking the SDK for them would raise."""
    if handler_input.request_envelope.session:
        handler_input.attributes_manager.session_attributes = attributes
