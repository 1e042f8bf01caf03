"""Find what Alexa's console refuses in an interaction model or manifest that fits its schema.

https://developer.amazon.com/docs/alexa/custom-skills/create-intents-utterances-and-slots.html
https://developer.amazon.com/docs/alexa/smapi/skill-manifest.html
https://developer.amazon.com/en-US/docs/alexa/custom-skills/develop-skills-in-multiple-languages.html
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import urlsplit

from skill.invocation_name import name_faults

REQUIRED = (
    "AMAZON.StopIntent", "AMAZON.CancelIntent", "AMAZON.HelpIntent", "AMAZON.NavigateHomeIntent",
    "AMAZON.FallbackIntent",
)  # fmt: skip
BUILT_INS = frozenset(
    f"AMAZON.{name}Intent"
    for name in (
        "Cancel", "Fallback", "Help", "LoopOff", "LoopOn", "More", "NavigateHome",
        "NavigateSettings", "Next", "No", "PageDown", "PageUp", "Pause", "Previous", "Repeat",
        "Resume", "ScrollDown", "ScrollLeft", "ScrollRight", "ScrollUp", "Select", "ShuffleOff",
        "ShuffleOn", "StartOver", "Stop", "Yes",
    )
)  # fmt: skip
LOCALES = frozenset(
    (
        "ar-SA", "de-DE", "en-AU", "en-CA", "en-GB", "en-IN", "en-US", "es-ES", "es-MX", "es-US",
        "fr-CA", "fr-FR", "hi-IN", "it-IT", "ja-JP", "nl-NL", "pt-BR",
    )
)  # fmt: skip
PHRASE_TYPES = frozenset({"AMAZON.SearchQuery"})
CERTIFICATES = ("Wildcard", "Trusted", "SelfSigned")
VALUE_CHARACTERS = 140
NAME_CHARACTERS, SUMMARY_CHARACTERS, DESCRIPTION_CHARACTERS = 50, 160, 4000
KEYWORDS, PHRASES = 30, 3

_NAME = re.compile(r"[A-Za-z][A-Za-z_]*")
_SLOT = re.compile(r"\{([^{}]*)\}")
# Characters not allowed in a sample. They include digits: the console wants numbers spelt out.
_NO_SAMPLE = re.compile(r"[^A-Za-z' .\-_{}]")
_LAUNCH = r"(?:open|launch|start|begin|run|load|use|play|ask|talk to|tell)"
# Such a word may stand between the invocation name and a sample: "ask chatty friend about jazz".
_CONNECTS = r"(?:to|about|for|that|if|whether|and)"


def model_faults(document: Any) -> list[str]:
    """Return what the console would refuse in an interaction model."""
    try:
        model = document["interactionModel"]
        language = model["languageModel"]
        found = [
            f"invocation name {language['invocationName']!r}: {fault}"
            for fault in name_faults(language["invocationName"])
        ]
        found += _intent_faults(
            language["intents"], {kind["name"] for kind in language.get("types", [])}
        )
        found += _sample_faults(language["intents"])
        found += _type_faults(language.get("types", []))
        if "dialog" in model:
            found += _dialog_faults(
                model["dialog"],
                language["intents"],
                {prompt["id"] for prompt in model.get("prompts", [])},
            )
        found += _prompt_faults(model.get("prompts", []))
        configuration = (
            language.get("modelConfiguration", {})
            .get("fallbackIntentSensitivity", {})
            .get("level", "LOW")
        )
    except (KeyError, TypeError, AttributeError) as error:
        return [f"it is not shaped like an interaction model ({type(error).__name__}: {error})"]
    if configuration not in ("LOW", "MEDIUM", "HIGH"):
        found.append(
            f"fallbackIntentSensitivity is {configuration!r}; it must be LOW, MEDIUM or HIGH"
        )
    return found


def _intent_faults(intents: list[dict[str, Any]], types: set[str]) -> Iterator[str]:
    names = [intent["name"] for intent in intents]
    yield from (
        f"intent {name} is defined twice" for name in _twice(name.lower() for name in names)
    )
    yield from (f"{name} is missing" for name in REQUIRED if name not in names)
    for intent in intents:
        name, slots = intent["name"], intent.get("slots", [])
        if name.startswith("AMAZON."):
            if name not in BUILT_INS:
                yield f"intent {name} is not one of Alexa's"
            if slots:
                yield f"intent {name}: a built-in intent has no slots"
            continue
        if not _NAME.fullmatch(name):
            yield f"intent {name!r}: letters and underscores only"
        if not intent.get("samples"):
            yield f"intent {name} has no sample"
        yield from (
            f"intent {name}: slot {slot} is defined twice"
            for slot in _twice(slot["name"] for slot in slots)
        )
        if len([slot for slot in slots if slot["type"] in PHRASE_TYPES]) > 1:
            yield f"intent {name}: an intent may have only one phrase slot"
        for slot in slots:
            if not _NAME.fullmatch(slot["name"]):
                yield f"intent {name}: slot {slot['name']!r}: letters and underscores only"
            if not slot["type"].startswith("AMAZON.") and slot["type"] not in types:
                yield (
                    f"intent {name}: slot {slot['name']} has the type {slot['type']}, "
                    "which is not declared"
                )


def _sample_faults(intents: list[dict[str, Any]]) -> Iterator[str]:
    said: dict[str, list[str]] = {}  # the intents of each sample: it may have only one
    for intent in intents:
        slots = {slot["name"]: slot["type"] for slot in intent.get("slots", [])}
        for sample in intent.get("samples", []):
            said.setdefault(_plain(sample), []).append(intent["name"])
            place = f"intent {intent['name']}: sample {sample!r}"
            yield from (f"{place}: {fault}" for fault in _faults_of(sample, slots))
            used = _SLOT.findall(sample)
            if any(slots.get(slot) in PHRASE_TYPES for slot in used):
                if len(used) > 1:
                    yield f"{place}: a phrase slot must be the only slot"
                # A bare phrase slot would match everything, and Alexa allows no such intent.
                if not _SLOT.sub("", sample).strip():
                    yield f"{place}: a phrase slot must have words around it"
        for slot in intent.get("slots", []):
            for sample in slot.get("samples", []):
                place = f"intent {intent['name']}: slot {slot['name']}: sample {sample!r}"
                yield from (f"{place}: {fault}" for fault in _faults_of(sample, slots))
            yield from (
                f"intent {intent['name']}: slot {slot['name']}: sample {sample!r} is defined twice"
                for sample in _twice(map(_plain, slot.get("samples", [])))
            )
    yield from (
        f"sample {s!r} is defined twice, in {' and '.join(names)}"
        for s, names in said.items()
        if len(names) > 1
    )


def _faults_of(sample: str, slots: dict[str, str]) -> Iterator[str]:
    if not sample.strip():
        yield "it is empty"
    if _NO_SAMPLE.search(sample):
        yield "letters, spaces and ' . - _ {} only (numbers spelt out)"
    if re.search(r"[{}]", _SLOT.sub("", sample)):
        yield "a brace is unmatched"
    yield from (
        f"the slot {slot!r} is not declared in the intent"
        for slot in _SLOT.findall(sample)
        if slot not in slots
    )


def _type_faults(types: list[dict[str, Any]]) -> Iterator[str]:
    yield from (f"type {name} is defined twice" for name in _twice(kind["name"] for kind in types))
    for kind in types:
        name = kind["name"]
        if not name.startswith("AMAZON.") and not _NAME.fullmatch(name):
            yield f"type {name!r}: letters and underscores only"
        values = [
            text
            for value in kind["values"]
            for text in (value["name"]["value"], *value["name"].get("synonyms", []))
        ]
        # A value supplier takes the values from elsewhere.
        if not values and "valueSupplier" not in kind:
            yield f"type {name} has no value"
        for text in values:
            if not text.strip():
                yield f"type {name}: an empty value"
            if len(text) > VALUE_CHARACTERS:
                yield f"type {name}: {text[:20]!r}...: at most {VALUE_CHARACTERS} characters"
        yield from (
            f"type {name}: {text!r} is defined twice" for text in _twice(map(_plain, values))
        )


def _dialog_faults(
    dialog: dict[str, Any], intents: list[dict[str, Any]], prompts: set[str]
) -> Iterator[str]:
    declared = {
        intent["name"]: {slot["name"]: slot["type"] for slot in intent.get("slots", [])}
        for intent in intents
    }
    yield from (
        f"dialog: intent {name} is defined twice"
        for name in _twice(intent["name"] for intent in dialog["intents"])
    )
    for strategy in (dialog, *dialog["intents"]):
        if strategy.get("delegationStrategy", "ALWAYS") not in ("ALWAYS", "SKILL_RESPONSE"):
            yield (
                f"dialog: delegationStrategy is {strategy['delegationStrategy']!r}; "
                "it must be ALWAYS or SKILL_RESPONSE"
            )
    for intent in dialog["intents"]:
        place = f"dialog: intent {intent['name']}"
        if intent["name"] not in declared:
            yield f"{place} is not declared"
            continue
        if intent["name"].startswith("AMAZON."):
            yield f"{place}: a built-in intent has no dialog"
        # Everything that Alexa may ask for needs a prompt.
        asked = [("confirmation", intent, place)]
        for slot in intent.get("slots", []):
            kind = declared[intent["name"]].get(slot["name"])
            if kind is None:
                yield f"{place}: slot {slot['name']} is not declared"
            elif kind != slot["type"]:
                yield (
                    f"{place}: slot {slot['name']} has the type {slot['type']}, "
                    f"but {kind} in the intent"
                )
            of_slot = f"{place}: slot {slot['name']}"
            asked += [("elicitation", slot, of_slot), ("confirmation", slot, of_slot)]
        for kind, node, where in asked:
            prompt = node.get("prompts", {}).get(kind)
            if node.get(f"{kind}Required") and not prompt:
                yield f"{where}: {kind} is required but has no prompt"
            if prompt and prompt not in prompts:
                yield f"{where}: the prompt {prompt} is not defined"


def _prompt_faults(prompts: list[dict[str, Any]]) -> Iterator[str]:
    yield from (
        f"prompt {name} is defined twice" for name in _twice(prompt["id"] for prompt in prompts)
    )
    for prompt in prompts:
        if not prompt.get("variations"):
            yield f"prompt {prompt['id']} has no variation"
        for variation in prompt.get("variations", []):
            if variation["type"] not in ("PlainText", "SSML"):
                yield (
                    f"prompt {prompt['id']}: a variation must be PlainText or SSML, "
                    f"not {variation['type']}"
                )
            if not variation["value"].strip():
                yield f"prompt {prompt['id']}: an empty variation"


def manifest_faults(document: Any, models: dict[str, Any]) -> list[str]:
    """Return what the console would refuse in a manifest. models: the model of each locale."""
    try:
        manifest = document["manifest"]
        locales = manifest["publishingInformation"]["locales"]
        found = [
            f"{locale} is not a locale of Alexa's" for locale in locales if locale not in LOCALES
        ]
        found += [
            f"{locale} has no interaction model" for locale in locales if locale not in models
        ]
        found += [
            f"{locale} has an interaction model but is not in the manifest"
            for locale in models
            if locale not in locales
        ]
        for locale, texts in locales.items():
            found += [f"{locale}: {fault}" for fault in _text_faults(texts)]
            if locale in models:
                found += [
                    f"{locale}: {fault}"
                    for fault in phrase_faults(texts.get("examplePhrases", []), models[locale])
                ]
        found += _endpoint_faults(manifest["apis"]["custom"]["endpoint"])
    except (KeyError, TypeError, AttributeError) as error:
        return [f"it is not shaped like a manifest ({type(error).__name__}: {error})"]
    return found


def phrase_faults(phrases: list[str], model: Any) -> Iterator[str]:
    """Yield what is wrong with the example phrases, which must open this skill or ask a sample."""
    if not 1 <= len(phrases) <= PHRASES:
        yield f"there must be 1 to {PHRASES} example phrases, not {len(phrases)}"
    language = model["interactionModel"]["languageModel"]
    name = re.escape(language["invocationName"])
    samples = [
        _pattern(sample) for intent in language["intents"] for sample in intent.get("samples", [])
    ]
    for phrase in phrases:
        asked = re.fullmatch(
            rf"alexa,? {_LAUNCH} {name}(?:,? (?P<said>.+?))?[.?!]?", phrase, re.IGNORECASE
        )
        if asked is None:
            yield (
                f"example phrase {phrase!r}: it must be 'Alexa, open' or 'Alexa, ask', "
                "the invocation name, and what is asked"
            )
        elif said := asked["said"]:
            plain = _plain(re.sub(r"[,?!]", "", said))
            spoken = {plain, re.sub(rf"^{_CONNECTS} ", "", plain)}
            if not any(sample.fullmatch(text) for sample in samples for text in spoken):
                yield f"example phrase {phrase!r}: {said!r} is not a sample of an intent"


def _pattern(sample: str) -> re.Pattern[str]:
    return re.compile(
        ".+".join(re.escape(part) for part in re.split(r"\{[^{}]*\}", _plain(sample)))
    )


def _text_faults(texts: dict[str, Any]) -> Iterator[str]:
    for name, limit in (
        ("name", NAME_CHARACTERS),
        ("summary", SUMMARY_CHARACTERS),
        ("description", DESCRIPTION_CHARACTERS),
    ):
        text = texts.get(name) or ""
        if not text.strip():
            yield f"{name} is missing"
        if len(text) > limit:
            yield f"{name} has {len(text)} characters; at most {limit}"
    if len(texts.get("keywords", [])) > KEYWORDS:
        yield f"{len(texts['keywords'])} keywords; at most {KEYWORDS}"


def _endpoint_faults(endpoint: dict[str, Any]) -> Iterator[str]:
    try:
        parts = urlsplit(endpoint["uri"])
        plain = parts.scheme == "https" and bool(parts.hostname) and parts.port in (None, 443)
    except ValueError:
        plain = False
    if not plain:
        yield f"endpoint {endpoint['uri']!r}: it must be an https address on port 443"
    if (kind := endpoint.get("sslCertificateType")) not in CERTIFICATES:
        yield (
            f"endpoint: sslCertificateType is {kind!r}; it must be one of {', '.join(CERTIFICATES)}"
        )


def _plain(sample: str) -> str:
    return " ".join(sample.lower().split())


def _twice(names: Iterable[str]) -> list[str]:
    return [name for name, count in Counter(names).items() if count > 1]
