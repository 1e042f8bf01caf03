"""Check what Alexa's reviewers check: ask the skill, in this process, and read its package.

https://developer.amazon.com/docs/alexa/custom-skills/certification-requirements-for-custom-skills.html
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, cast

from flask import Flask

from dialogue.agent import DialogueAgent
from dialogue.store import Conversations
from dialogue.text_files import read_text
from skill import build_skill, device
from skill.endpoint import mount
from skill.interaction_lint import phrase_faults
from skill.interaction_model import BUILT_INS, interaction_model, manifest
from skill.interaction_settings import InteractionSettings

PRIVACY = Path(__file__).parent.parent / "docs" / "privacy.md"
STATEMENTS = (
    "I like trains.",
    "that is a pity",
    "Good night.",
    "ok",
    "My cat sleeps all day, and so do I.",
)
PUBLISHED = {  # its place in the manifest, and what to do if it is missing
    "privacy policy": (
        "privacyAndCompliance",
        "privacyPolicyUrl",
        "publish docs/privacy.md and enter its address",
    ),
    "terms of use": (
        "privacyAndCompliance",
        "termsOfUseUrl",
        "publish your terms and enter their address",
    ),
    "icons": (
        "publishingInformation",
        "largeIconUri",
        "draw icons of 108 and 512 pixels and upload them",
    ),
}
_CLOSES = ("AMAZON.StopIntent", "AMAZON.CancelIntent", "AMAZON.NavigateHomeIntent")


class Stating:
    """An agent that asks nothing, so that every question comes from the skill itself."""

    def __init__(self) -> None:
        self._said = 0

    def respond(
        self, conversations: list[str], utterances: list[str], *, deadline: float
    ) -> list[str]:
        """Return the next statement."""
        self._said += 1
        return [STATEMENTS[self._said % len(STATEMENTS)] for _ in conversations]

    def note(self, conversation: str, utterance: str, reply: str) -> None:
        """Keep nothing."""

    def forget(self, conversation: str) -> None:
        """Do nothing, since nothing is kept."""

    def with_store(self, store: Conversations) -> Stating:
        """Return itself."""
        return self


def checklist(
    settings: InteractionSettings, published: dict[str, Any]
) -> dict[str, tuple[bool, str, str]]:
    """Return, for each point, whether it is met, what was found, and what to do.

    published: the skill's manifest as Alexa has it; {} if it cannot be fetched.
    """
    answers = _answers(settings)
    return {
        "no open microphone without a question": _questions(answers),
        "help": _help(answers["AMAZON.HelpIntent"]),
        "stop": _stop(answers),
        "example phrases": _example_phrases(settings),
        "what is stored": _privacy(),
        **{name: _published(published, *where) for name, where in PUBLISHED.items()},
    }


def _questions(answers: dict[str, dict[str, Any]]) -> tuple[bool, str, str]:
    open_ones = {name: body for name, body in answers.items() if _stays_open(body)}
    mute = [name for name, body in open_ones.items() if not _asks(body["outputSpeech"])]
    mute += [
        f"{name}, reprompt"
        for name, body in open_ones.items()
        if not _asks(body["reprompt"]["outputSpeech"])
    ]
    if mute:
        return False, "; ".join(mute), "see skill/questions.py"
    return True, f"{len(open_ones)} kinds of answer leave it open, and each asks a question", ""


def _help(answer: dict[str, Any]) -> tuple[bool, str, str]:
    text = _text(answer["outputSpeech"])
    if _stays_open(answer) and "stop" in text.lower() and text.endswith("?"):
        return True, "says what to say and how to leave, and asks", ""
    return False, text, "see skill/phrases.py"


def _stop(answers: dict[str, dict[str, Any]]) -> tuple[bool, str, str]:
    staying = [
        name
        for name in _CLOSES
        if answers[name].get("shouldEndSession") is not True or "reprompt" in answers[name]
    ]
    if staying:
        return False, "; ".join(staying), "see skill/handlers.py"
    return True, f"{', '.join(name[7:-6] for name in _CLOSES)} end the session", ""


def _example_phrases(settings: InteractionSettings) -> tuple[bool, str, str]:
    model = interaction_model(settings)
    texts = manifest(settings)["manifest"]["publishingInformation"]["locales"]
    faults = [
        fault
        for locale in settings.locales
        for fault in phrase_faults(texts[locale]["examplePhrases"], model)
    ]
    if faults:
        return False, "; ".join(faults), "see skill/interaction_model.py"
    return True, "open the skill, or ask it a sample", ""


def _privacy() -> tuple[bool, str, str]:
    lines = read_text(PRIVACY).splitlines() if PRIVACY.is_file() else []
    rows = [line for line in lines if line.startswith("| ")][1:]  # without the header
    found = f"docs/privacy.md lists {len(rows)} things"
    return bool(rows), found, "" if rows else "write docs/privacy.md"


def _published(
    published: dict[str, Any], part: str, field: str, todo: str
) -> tuple[bool, str, str]:
    locales = ((published.get("manifest") or {}).get(part) or {}).get("locales") or {}
    lacking = [locale for locale, texts in locales.items() if not texts.get(field)]
    if locales and not lacking:
        return True, f"in {len(locales)} locales", ""
    found = (
        f"missing for {', '.join(lacking)}"
        if lacking
        else "not in the skill's manifest, or the manifest cannot be read from here"
    )
    return False, found, f"{todo}, in the console under Distribution"


def _answers(settings: InteractionSettings) -> dict[str, dict[str, Any]]:
    """Let the skill answer each kind of request that a person can make, each in a new session."""
    app = Flask("certification")
    skill = build_skill(cast(DialogueAgent, Stating()), interaction=settings)
    mount(app, skill, verifier=None, interaction=settings)
    client = app.test_client()

    def ask(envelope: dict[str, Any]) -> dict[str, Any]:
        return cast(dict[str, Any], client.post("/", json=envelope).get_json()["response"])

    def said(session: str, utterance: str | None) -> dict[str, Any]:
        opened = device.Session(session, is_open=utterance is not None)
        return ask(device.say(opened, utterance, interaction=settings))

    found = {"launch": said("launch", None)}
    for number in range(len(STATEMENTS)):
        found[f"talk {number + 1}"] = said(f"talk {number + 1}", "i went for a walk today")
    found["silence"] = said("silence", device.NOT_UNDERSTOOD)
    for name in BUILT_INS:
        found[name] = ask(device.intend(device.Session(name, is_open=True), name))
    return found


def _text(speech: dict[str, str]) -> str:
    return re.sub(r"<[^>]+>", " ", speech["ssml"]).strip()


def _asks(speech: dict[str, str]) -> bool:
    return "?" in _text(speech)


def _stays_open(answer: dict[str, Any]) -> bool:
    return answer.get("shouldEndSession") is False
