"""Read Alexa's session and request, and build the responses that keep the microphone open."""

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
from skill import fitting_questions, phrases, questions
from skill.interaction_settings import InteractionSettings
from skill.speech import ILLEGAL, MAX_CHARACTERS, PAUSE, to_speech

INTERACTION = "interaction"  # the request attribute that holds the skill's InteractionSettings
LAST_SPEECH = "last_speech"  # session attribute: what "repeat" says again
TURN = "turn"  # session attribute: how often the skill has spoken
MODEL = "model"  # session attribute: whether the model, or an apology for it, spoke last
PLAY = "play"  # session attribute: whether a game is being talked about
MAX_TURN = 1_000_000
MAX_KEPT = 2 * MAX_CHARACTERS - 100  # characters of a speech; leaves room for an added question


def interaction_of(handler_input: HandlerInput) -> InteractionSettings:
    """Return the interaction settings that `build_skill` was given."""
    return cast(
        InteractionSettings, handler_input.attributes_manager.request_attributes[INTERACTION]
    )


def session_id(handler_input: HandlerInput) -> str:
    """Return the session's id, or "" if the request has no session."""
    session = handler_input.request_envelope.session
    return str((session and session.session_id) or "")


def user_id(handler_input: HandlerInput) -> str:
    """Return the user's id, or "" if it is unknown. Events name the user only in the context."""
    envelope = handler_input.request_envelope
    for owner in (envelope.session, envelope.context and envelope.context.system):
        if owner and owner.user and owner.user.user_id:
            return str(owner.user.user_id)
    return ""


def request_id(handler_input: HandlerInput) -> str:
    """Return the request's id, for seeds and logs."""
    request = handler_input.request_envelope.request
    return str((request and request.request_id) or "no-request-id")


def request_type(handler_input: HandlerInput) -> str:
    """Return the request's type."""
    request = handler_input.request_envelope.request
    return str(request.object_type if request else "")


def intent_name(handler_input: HandlerInput) -> str:
    """Return the intent's name, or "" if there is no intent."""
    request = handler_input.request_envelope.request
    intent = (
        request.intent if isinstance(request, (IntentRequest, CanFulfillIntentRequest)) else None
    )
    return str((intent and intent.name) or "")


def heard(handler_input: HandlerInput) -> str:
    """Return the whole utterance: the intent's carrier word, then what Alexa put in the slot.

    It is empty if the slot is missing or "?", which means that nothing was understood.
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
    """Return the words of a slot or of one of its values, or "" if it has none.

    The slot's own value comes first, because it is what was said. Newer requests may carry only
    slotValue, a list of values, or only the entity that the words were resolved to.
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
    """Return the name of the first entity that a slot was resolved to, or "" if there is none."""
    authorities = (resolutions and resolutions.resolutions_per_authority) or ()
    found = (value.value for authority in authorities for value in authority.values or ())
    return next((str(value.name).strip() for value in found if value and value.name), "")


def locale(handler_input: HandlerInput) -> str:
    """Return the request's locale, such as en-US, or "" if it has none."""
    request = handler_input.request_envelope.request
    return str((request and request.locale) or "")


def last_speech(handler_input: HandlerInput) -> str:
    """Return what the skill last said in this session."""
    said = _attributes(handler_input).get(LAST_SPEECH)
    return said if isinstance(said, str) else ""


def last_reply(handler_input: HandlerInput) -> str:
    """Return what the skill last said if it may have missed the point, else "".

    Fixed answers do not miss it, and after something heavy, nothing is apologised for.
    """
    attributes = _attributes(handler_input)
    is_gentle = questions.Asking.read(attributes).gentle > 0
    return last_speech(handler_input) if attributes.get(MODEL) and not is_gentle else ""


def added_question(handler_input: HandlerInput) -> str:
    """Return the question that was added to the last speech, or "" if none was."""
    question = last_speech(handler_input).rpartition(CONTINUED)[2].strip()
    return question if questions.is_added(question) else ""


def play(handler_input: HandlerInput) -> Play:
    """Return what the session knows about a game that is being talked about."""
    return Play.read(_attributes(handler_input).get(PLAY))


def wording(handler_input: HandlerInput, wordings: Sequence[str]) -> str:
    """Return the next wording: the session's id picks the first, and none comes twice in a row."""
    chosen = pick(
        wordings, session_id(handler_input) or request_id(handler_input), turn=_turn(handler_input)
    )
    return chosen.replace(OWN_NAME, interaction_of(handler_input).name)


def keep_listening(
    handler_input: HandlerInput,
    text: str,
    *,
    utterance: str = "",
    about: str = "",
    may_miss: bool = False,
) -> Response:
    """Say a text and keep listening; add a question if the text asks none.

    With elicited free speech, Alexa puts whole utterances only into a slot that the last response
    elicited, so every response elicits it again.

    utterance: what is being answered. about: why the text is fixed; see `follow_up` in
    skill.questions. may_miss: whether the text is the model's.
    """
    # A reply may hold nothing that can be spoken, but an open microphone needs words before it.
    if not to_speech(text):
        text = wording(handler_input, phrases.NOT_HEARD)
    # A model's reply may lack its question mark.
    if "?" not in text and fitting_questions.asks(text):
        text = f"{text.rstrip(' .!,')}?"
    question, asking = questions.follow_up(
        text,
        utterance,
        about=about,
        before=questions.Asking.read(_attributes(handler_input)),
        seed=f"{session_id(handler_input)} {_turn(handler_input)}",
    )
    # The marker separates the question, so that it can be found again and is spoken after a pause.
    text = f"{text[:MAX_KEPT]} {CONTINUED} {question}" if question else text[:MAX_KEPT]
    of_game = play(handler_input).after(utterance, about=about)
    return _say(handler_input, text, asking, of_game, may_miss=may_miss)


def say_again(handler_input: HandlerInput) -> Response:
    """Repeat the last speech word for word, or say that there is none."""
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
    """Answer a request that must not be answered with speech."""
    _keep(handler_input, {})
    return handler_input.response_builder.response


def _speech(text: str) -> str:
    """Turn a kept speech into SSML.

    An added question is spoken in full, however long the reply before it is: only the reply is
    shortened.
    """
    reply, _, question = text.rpartition(CONTINUED)
    if questions.is_added(question.strip()):
        return f"{to_speech(reply)}{PAUSE}{to_speech(question)}"
    return to_speech(text)


def _say(
    handler_input: HandlerInput,
    text: str,
    asking: questions.Asking,
    of_game: Play,
    *,
    may_miss: bool = False,
) -> Response:
    speech = _speech(text)
    reprompt = wording(
        handler_input, phrases.REPROMPT_GENTLY if asking.gentle else phrases.REPROMPT
    )
    kept = {LAST_SPEECH: ILLEGAL.sub(" ", text), TURN: _turn(handler_input) + 1, **asking.written()}
    kept |= {MODEL: True} if may_miss else {}
    _keep(handler_input, kept | ({PLAY: of_game.written()} if of_game.turns else {}))
    builder = handler_input.response_builder.speak(speech).ask(to_speech(reprompt))
    interaction = interaction_of(handler_input)
    if interaction.free_speech == "catchall":
        return builder.response  # this interaction model has no dialog whose slot could be elicited
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
    # Attributes come back from outside, so even what this module wrote is checked.
    turn = _attributes(handler_input).get(TURN)
    return turn if isinstance(turn, int) and 0 <= turn < MAX_TURN else 0


def _keep(handler_input: HandlerInput, attributes: dict[str, object]) -> None:
    """Replace the session's attributes; outside a session the SDK would raise, so do nothing."""
    if handler_input.request_envelope.session:
        handler_input.attributes_manager.session_attributes = attributes
