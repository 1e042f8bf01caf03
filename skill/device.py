"""An Echo as a skill sees it: what somebody says -> the request that Alexa sends in its session.

The requests are complete and realistic. Words are mapped to intents by the interaction model, as
closely as Alexa can be imitated.
"""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import UTC, datetime
from typing import Any
from xml.sax.saxutils import unescape

from dialogue.recognised import as_recognised
from skill.interaction_settings import InteractionSettings, load

NOT_UNDERSTOOD = "?"  # stands for an utterance that Alexa did not understand
BUILT_IN = {
    "stop": "Stop", "exit": "Stop", "quit": "Stop", "cancel": "Cancel", "never mind": "Cancel",
    "help": "Help", "go home": "NavigateHome", "repeat": "Repeat", "say that again": "Repeat",
    "start over": "StartOver", "yes": "Yes", "no": "No",
}  # fmt: skip
_APPLICATION = "amzn1.ask.skill.00000000-0000-0000-0000-000000000000"
_OPEN = r"(?:alexa )?(?:open|launch|start|run|begin|use|talk to|ask|tell) {name}(?: (?P<rest>.+))?"
_NAME = re.compile(r"[\w. -]{1,120}", re.ASCII)


@dataclass(frozen=True)
class Session:
    """A device's state.

    requests: how many it has sent. is_open: whether it is listening. elicited: the intent and slot
    that the skill asked for.
    """

    id: str
    locale: str = "en-US"
    user: str = "amzn1.ask.account.FIRST"
    interfaces: tuple[str, ...] = ()  # such as Alexa.Presentation.APL
    requests: int = 0
    is_open: bool = False
    attributes: dict[str, Any] = field(default_factory=dict)
    elicited: tuple[str, str] | None = None

    def __post_init__(self) -> None:
        """Raise ValueError on values that no device would send."""
        for name, value in (("session", self.id), ("locale", self.locale), ("user", self.user)):
            if not isinstance(value, str) or not _NAME.fullmatch(value):
                raise ValueError(
                    f"the {name} is {value!r:.100}; "
                    "expected letters, digits, spaces, dots and dashes"
                )
        if not isinstance(self.attributes, dict) or not isinstance(self.requests, int):
            raise ValueError(
                "a session's attributes must be an object, and its requests a whole number"
            )

    @classmethod
    def read(cls, values: Any) -> Session:
        """Load a session that `written` returned. Raises ValueError on anything else."""
        known = {place.name for place in fields(cls)}
        if not isinstance(values, dict) or not values.keys() <= known or "id" not in values:
            raise ValueError(
                f"a session must be an object with an id; it may have {', '.join(sorted(known))}"
            )
        elicited, interfaces = values.get("elicited"), values.get("interfaces", [])
        if not isinstance(interfaces, list) or not all(
            isinstance(name, str) for name in interfaces
        ):
            raise ValueError("a session's interfaces must be a list of names")
        if elicited is not None and not (isinstance(elicited, list) and len(elicited) == 2):
            raise ValueError("what a session elicited must be a list of an intent and a slot")
        return cls(
            **{
                **values,
                "interfaces": tuple(interfaces),
                "elicited": tuple(map(str, elicited)) if elicited else None,
            }
        )

    def written(self) -> dict[str, Any]:
        """Return the session as a dict for JSON."""
        return asdict(self)


def say(
    session: Session,
    utterance: str | None,
    *,
    interaction: InteractionSettings | None = None,
    now: datetime | None = None,
) -> dict[str, Any]:
    """Build the request for an utterance; None opens the skill, NOT_UNDERSTOOD is noise.

    In a closed session "open chatty friend" is a launch, and anything else is a one-shot request.
    interaction: the skill's names and how it takes free speech; None: read settings.toml.
    """
    heard = "" if utterance in (None, NOT_UNDERSTOOD) else as_recognised(utterance or "")
    hears = interaction or load()
    opening = re.fullmatch(_OPEN.format(name=re.escape(hears.invocation_name)), heard)
    if utterance is None or (opening and not opening["rest"]):
        return request(
            replace(session, is_open=False, attributes={}), {"type": "LaunchRequest"}, now=now
        )
    if opening and not session.is_open:
        heard = opening["rest"].removeprefix("to ").removeprefix("that ")
    elif heard in BUILT_IN:
        return intend(session, f"AMAZON.{BUILT_IN[heard]}Intent", now=now)
    if session.is_open:
        name, slot = session.elicited or (hears.intent, hears.slot)
        return intend(session, name, slot=slot, value=heard, now=now)
    first, _, rest = heard.partition(" ")
    intent_of = {carrier: name for name, carrier in hears.carrier_of.items() if carrier}
    name = intent_of.get(first, "") if rest else ""
    return intend(
        session, name or hears.intent, slot=hears.slot, value=rest if name else heard, now=now
    )


def intend(
    session: Session, name: str, *, slot: str = "", value: str = "", now: datetime | None = None
) -> dict[str, Any]:
    """Build the request for an intent with at most one slot; no value means not understood."""
    filled = (
        {"source": "USER", "value": value, "slotValue": {"type": "Simple", "value": value}}
        if value
        else {}
    )
    slots = {slot: {"name": slot, "confirmationStatus": "NONE", **filled}} if slot else {}
    intent = {"name": name, "confirmationStatus": "NONE", **({"slots": slots} if slots else {})}
    state = (
        {"dialogState": "IN_PROGRESS" if session.elicited and session.is_open else "STARTED"}
        if slot
        else {}
    )
    return request(session, {"type": "IntentRequest", "intent": intent, **state}, now=now)


def end(
    session: Session, reason: str = "EXCEEDED_MAX_REPROMPTS", *, now: datetime | None = None
) -> dict[str, Any]:
    """Build the request that reports the end of a session."""
    return request(session, {"type": "SessionEndedRequest", "reason": reason}, now=now)


def request(
    session: Session, kind: dict[str, Any], *, now: datetime | None = None
) -> dict[str, Any]:
    """Build a request of any kind.

    Its id is made from the session's id and the request's number, so a replay sends the same id.
    """
    short_id = session.id.rpartition("session.")[2]
    application, user = {"applicationId": _APPLICATION}, {"userId": session.user}
    interfaces: dict[str, Any] = {name: {} for name in session.interfaces}
    moment = (now or datetime.now(UTC)).isoformat(timespec="seconds").replace("+00:00", "Z")
    return {
        "version": "1.0",
        "session": {
            "new": not session.is_open,
            "sessionId": session.id,
            "application": application,
            "attributes": session.attributes if session.is_open else {},
            "user": user,
        },
        "context": {
            "System": {
                "application": application,
                "user": user,
                "device": {
                    "deviceId": "amzn1.ask.device.SIMULATED",
                    "supportedInterfaces": interfaces,
                },
            }
        },
        "request": {
            "requestId": f"amzn1.echo-api.request.{short_id}.{session.requests + 1}",
            "timestamp": moment,
            "locale": session.locale,
            **kind,
        },
    }


def after(session: Session, response: dict[str, Any]) -> Session:
    """Return the session after a response."""
    body = response["response"]
    is_open = body.get("shouldEndSession") is False
    asked = next((d for d in body.get("directives", []) if d["type"] == "Dialog.ElicitSlot"), None)
    return replace(
        session,
        requests=session.requests + 1,
        is_open=is_open,
        attributes=response.get("sessionAttributes") or {} if is_open else {},
        elicited=(asked["updatedIntent"]["name"], asked["slotToElicit"])
        if is_open and asked
        else None,
    )


def spoken(response: dict[str, Any], place: str = "outputSpeech") -> str:
    """Return a response's words without tags, or "" if it says nothing.

    place: outputSpeech or reprompt.
    """
    body = response["response"]
    speech = (
        body.get("reprompt", {}).get("outputSpeech") if place == "reprompt" else body.get(place)
    )
    said = (speech or {}).get("ssml") or (speech or {}).get("text") or ""
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", said)).split())
