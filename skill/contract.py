"""The rules for a response to Alexa.

In development, a response that breaks a rule raises an error that names it; in production, the
response is mended and the rule is logged.
"""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from typing import Any
from xml.sax.saxutils import unescape

from dialogue.safety import is_offensive
from skill import phrases
from skill.interaction_settings import InteractionSettings
from skill.speech import ILLEGAL, to_speech

MAX_CHARACTERS = 8000  # in a speech, including its tags, and in a card's texts
MAX_BYTES = 24_576
SILENCE: dict[str, Any] = {"version": "1.0", "response": {}}

# Speech answers a person who opened, said or touched something. Machines' reports get silence.
SPEECH_ALLOWED = frozenset(
    {
        "LaunchRequest",
        "IntentRequest",
        "Connections.Response",
        "SessionResumedRequest",
        "Alexa.Presentation.APL.UserEvent",
        "Alexa.Presentation.APLT.UserEvent",
        "Display.ElementSelected",
        "GameEngine.InputHandlerEvent",
    }
)
_CAN_FULFILL = "CanFulfillIntentRequest"
_FOR_SPEECH = ("outputSpeech", "reprompt", "card", "shouldEndSession")
_TAGS = {
    "speak",
    "break",
    "p",
    "s",
    "w",
    "say-as",
    "sub",
    "phoneme",
    "emphasis",
    "prosody",
    "lang",
    "voice",
    "audio",
}
_TAG = re.compile(r"</?[A-Za-z][^<>]*>")


class BrokenContract(AssertionError):
    """A response that Alexa would reject; the message names the rules that it breaks."""


def check(
    response: dict[str, Any], request: dict[str, Any], interaction: InteractionSettings
) -> list[str]:
    """Return the rules that a response to a request breaks; both are complete JSON objects.

    interaction: the settings that say which slot a response may elicit.
    """
    body = response.get("response")
    if response.get("version") != "1.0" or not isinstance(body, dict):
        return ["a response has version 1.0 and an object named response"]
    # A fault is worded as the rule that it breaks, so that the log says what to change.
    kind = request["request"]["type"]
    found = []
    if len(json.dumps(response)) > MAX_BYTES:
        found.append(f"a response has at most {MAX_BYTES} bytes")
    if ("canFulfillIntent" in body) != (kind == _CAN_FULFILL):
        found.append(f"canFulfillIntent answers {_CAN_FULFILL}, and nothing else does")
    directives = body.get("directives", [])
    if kind in SPEECH_ALLOWED:
        found += _speech_faults("outputSpeech", body.get("outputSpeech"))
        found += _speech_faults("reprompt", body.get("reprompt", {}).get("outputSpeech"))
        found += _session_faults(body)
        found += _card_faults(body.get("card"))
    else:
        found += [
            f"{name} is not allowed in answer to {kind}" for name in _FOR_SPEECH if name in body
        ]
        found += [
            f"{d['type']} is not allowed in answer to {kind}"
            for d in directives
            if d["type"].startswith("Dialog.")
        ]
    for directive in directives:
        if directive["type"] == "Dialog.ElicitSlot":
            found += _elicit_faults(
                directive, interaction, is_open=body.get("shouldEndSession") is False
            )
    return found


def mend(
    response: dict[str, Any], request: dict[str, Any], interaction: InteractionSettings
) -> dict[str, Any]:
    """Build a valid response from the broken one's words, if it has any; the session goes on."""
    kind = request["request"]["type"]
    if kind == _CAN_FULFILL:
        return {"version": "1.0", "response": {"canFulfillIntent": {"canFulfill": "NO"}}}
    if kind not in SPEECH_ALLOWED:
        return SILENCE
    body = response.get("response")
    # Nothing in the broken response is trusted: tags are removed, and words are escaped again.
    speech = body.get("outputSpeech") if isinstance(body, dict) else None
    said = (speech.get("ssml") or speech.get("text")) if isinstance(speech, dict) else None
    spoken = to_speech(unescape(_TAG.sub(" ", said))) if isinstance(said, str) else ""
    slot, intent = interaction.slot, {"name": interaction.intent, "confirmationStatus": "NONE"}
    slots = {slot: {"name": slot, "confirmationStatus": "NONE"}}
    elicit = {
        "type": "Dialog.ElicitSlot",
        "slotToElicit": slot,
        "updatedIntent": {**intent, "slots": slots},
    }
    return {
        "version": "1.0",
        "response": {
            "outputSpeech": _ssml(spoken or to_speech(phrases.TROUBLE[0])),
            "reprompt": {"outputSpeech": _ssml(to_speech(phrases.REPROMPT[0]))},
            **({"directives": [elicit]} if interaction.free_speech == "elicit" else {}),
            # The mistake is ours, so nobody is thrown out for it.
            "shouldEndSession": False,
        },
    }


def _ssml(speech: str) -> dict[str, str]:
    return {"type": "SSML", "ssml": f"<speak>{speech}</speak>"}


def _speech_faults(place: str, speech: Any) -> Iterator[str]:
    if speech is None:
        return
    text = speech.get("ssml" if speech.get("type") == "SSML" else "text")
    if not isinstance(text, str):
        yield f"{place} is SSML with ssml or PlainText with text"
        return
    if len(text) > MAX_CHARACTERS:
        yield f"{place} has at most {MAX_CHARACTERS} characters"
    # Before parsing: the parser would name a position, not the rule.
    if ILLEGAL.search(text):
        yield f"{place} holds characters that XML allows, and no others"
        return
    if speech.get("type") != "SSML":
        return
    try:
        root = ET.fromstring(text)
    except ET.ParseError:
        yield f"{place} is well-formed SSML"
        return
    if root.tag != "speak" or {element.tag for element in root.iter()} - _TAGS:
        yield f"{place} is one <speak> with the tags of SSML"
    if not "".join(root.itertext()).strip():
        yield f"{place} says something"


def _session_faults(body: dict[str, Any]) -> Iterator[str]:
    if "outputSpeech" not in body:
        yield "somebody who speaks hears a sentence"
    if body.get("shouldEndSession") is False and "outputSpeech" not in body.get("reprompt", {}):
        yield "an open session has a reprompt"
    # Only an explicit false keeps the session open on every device.
    if body.get("shouldEndSession") is not False and "reprompt" in body:
        yield "a session that ends has no reprompt"


def _card_faults(card: Any) -> Iterator[str]:
    texts = [text for text in (card or {}).values() if isinstance(text, str)]
    if any(_TAG.search(text) for text in texts):
        yield "a card holds no SSML"
    if sum(map(len, texts)) > MAX_CHARACTERS:
        yield f"a card has at most {MAX_CHARACTERS} characters"
    if any(is_offensive(text) for text in texts):
        yield "a card holds no listed word"


def _elicit_faults(
    directive: dict[str, Any], interaction: InteractionSettings, *, is_open: bool
) -> Iterator[str]:
    updated = directive.get("updatedIntent") or {}
    slot, slots = directive.get("slotToElicit"), updated.get("slots") or {}
    named = (updated.get("name"), slot) == (interaction.intent, interaction.slot)
    if interaction.free_speech != "elicit" or not named or not slots.keys() <= {interaction.slot}:
        yield "Dialog.ElicitSlot names an intent and slots of the dialog model"
    if slots.get(slot, {}).get("value") is not None:
        yield "Dialog.ElicitSlot leaves the slot that it elicits empty"
    if not is_open:
        yield "Dialog.ElicitSlot keeps the session open"
