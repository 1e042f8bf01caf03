"""python -m skill.interaction_model: write the skill package's files, or check them with --check.

The interaction models and the manifest are built from interaction_models/settings.toml and written
beside it, where the ASK tools read them.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from dialogue.command_line import command, tell
from dialogue.text_files import read_lines, read_text
from skill.interaction_lint import manifest_faults, model_faults
from skill.interaction_settings import PACKAGE, InteractionSettings, add_options, chosen

MANIFEST_FILE = "skill.json"
FREE_SPEECH_LINES = PACKAGE / "free_speech.txt"
FREE_SPEECH_TYPE = "FREE_SPEECH"
ENDPOINT_PLACEHOLDER = "https://your-domain.ngrok-free.app/"
BUILT_INS = (
    "AMAZON.StopIntent", "AMAZON.CancelIntent", "AMAZON.HelpIntent", "AMAZON.NavigateHomeIntent",
    "AMAZON.FallbackIntent", "AMAZON.RepeatIntent", "AMAZON.StartOverIntent", "AMAZON.YesIntent",
    "AMAZON.NoIntent",
)  # fmt: skip
CUSTOM: dict[str, tuple[str, ...]] = {}  # your own intents, each with its samples


def model_file(locale: str) -> str:
    """Return the path of a locale's interaction model in the package."""
    return f"interactionModels/custom/{locale}.json"


def interaction_model(settings: InteractionSettings) -> dict[str, Any]:
    """Build the interaction model, the same for every locale.

    https://developer.amazon.com/docs/alexa/smapi/interaction-model-schema.html
    """
    hears = _elicited(settings) if settings.free_speech == "elicit" else _caught(settings)
    language = {
        "invocationName": settings.invocation_name,
        "intents": [
            *hears["intents"],
            *({"name": name, "samples": list(samples)} for name, samples in CUSTOM.items()),
            *({"name": name, "samples": []} for name in BUILT_INS),
        ],
        "types": hears.get("types", []),
        "modelConfiguration": {"fallbackIntentSensitivity": {"level": "LOW"}},
    }
    dialog = {name: hears[name] for name in ("dialog", "prompts") if name in hears}
    return {"interactionModel": {"languageModel": language, **dialog}}


def _elicited(settings: InteractionSettings) -> dict[str, Any]:
    """Build intents and a dialog that take whole utterances in a slot that every response elicits.

    An utterance that no response has elicited, such as a one-shot request, is taken by the intent's
    own sample or by a carrier word's intent, again without losing a word.
    """
    bare, slot = f"{{{settings.slot}}}", {"name": settings.slot, "type": "AMAZON.SearchQuery"}
    intents = [
        {"name": name, "slots": [slot], "samples": [f"{word} {bare}"]}
        if word
        else {"name": name, "slots": [{**slot, "samples": [bare]}], "samples": [f"say {bare}"]}
        for name, word in settings.carrier_of.items()
    ]
    prompt = {
        "id": f"Elicit.{settings.intent}.{settings.slot}",
        "variations": [{"type": "PlainText", "value": "What would you like to say?"}],
    }
    asked = {
        **slot,
        "confirmationRequired": False,
        "elicitationRequired": True,
        "prompts": {"elicitation": prompt["id"]},
    }
    intent = {
        "name": settings.intent,
        "delegationStrategy": "SKILL_RESPONSE",
        "confirmationRequired": False,
        "prompts": {},
        "slots": [asked],
    }
    dialog = {"delegationStrategy": "SKILL_RESPONSE", "intents": [intent]}
    return {
        "intents": sorted(intents, key=lambda built: built["name"] != settings.intent),
        "dialog": dialog,
        "prompts": [prompt],
    }


def _caught(settings: InteractionSettings) -> dict[str, Any]:
    """Build one intent whose slot type takes free speech: its values are lines of real talk."""
    slot = {"name": settings.slot, "type": FREE_SPEECH_TYPE}
    intent = {"name": settings.intent, "slots": [slot], "samples": [f"{{{settings.slot}}}"]}
    values = [{"name": {"value": line}} for line in read_lines(FREE_SPEECH_LINES) if line]
    return {"intents": [intent], "types": [{"name": FREE_SPEECH_TYPE, "values": values}]}


def manifest(
    settings: InteractionSettings,
    *,
    endpoint: str = ENDPOINT_PLACEHOLDER,
    certificate: str = "Wildcard",
) -> dict[str, Any]:
    """Build the skill's manifest.

    https://developer.amazon.com/docs/alexa/smapi/skill-manifest.html
    """
    called = settings.invocation_name
    locale = {
        "name": settings.name,
        "summary": "Someone to talk with about anything.",
        "description": "An open conversation: about your day, your pets, your plans, "
        "or a good film. Talk as you would to a friend; say stop to leave.",
        "examplePhrases": [f"Alexa, open {called}", f"Alexa, ask {called} what about movies"],
        "keywords": ["talk", "chat", "conversation"],
    }
    return {
        "manifest": {
            "manifestVersion": "1.0",
            "publishingInformation": {
                "locales": dict.fromkeys(settings.locales, locale),
                "category": "NOVELTY",
                "distributionCountries": [code.partition("-")[2] for code in settings.locales],
            },
            "apis": {"custom": {"endpoint": {"uri": endpoint, "sslCertificateType": certificate}}},
            "privacyAndCompliance": {
                "allowsPurchases": False,
                "usesPersonalInfo": False,
                "isChildDirected": False,
                "isExportCompliant": True,
                "containsAds": False,
            },
        }
    }


def package(settings: InteractionSettings) -> dict[str, dict[str, Any]]:
    """Return the package's documents by path."""
    model = interaction_model(settings)
    return {
        **{model_file(locale): model for locale in settings.locales},
        MANIFEST_FILE: manifest(settings),
    }


def package_faults(documents: dict[str, dict[str, Any]]) -> list[str]:
    """Return what Alexa's console would refuse in a package's documents, each with its file."""
    models = {name: document for name, document in documents.items() if name != MANIFEST_FILE}
    found = [f"{name}: {fault}" for name, model in models.items() for fault in model_faults(model)]
    if MANIFEST_FILE in documents:
        by_locale = {Path(name).stem: model for name, model in models.items()}
        found += [
            f"{MANIFEST_FILE}: {fault}"
            for fault in manifest_faults(documents[MANIFEST_FILE], by_locale)
        ]
    return found


def check_package(settings: InteractionSettings, folder: Path = PACKAGE) -> list[str]:
    """Return the faults of a folder's files, including any mismatch with the settings."""
    expected, there = package(settings), {}
    found = []
    for name in expected:
        try:
            there[name] = json.loads(read_text(folder / name))
        except ValueError as error:
            found.append(f"{name}: {error}; run python -m skill.interaction_model")
    found += package_faults(there)
    stale = [name for name, document in there.items() if document != expected[name]]
    found += [
        f"{name} does not match the settings; run python -m skill.interaction_model"
        for name in stale
    ]
    known = {folder / name for name in expected}
    others = sorted(
        path
        for path in (folder / "interactionModels" / "custom").glob("*.json")
        if path not in known
    )
    return [*found, *(f"{path.name} is not a locale of the settings; remove it" for path in others)]


@command
def main(arguments: list[str] | None = None) -> int:
    """Write or check the skill package from the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m skill.interaction_model", description="Write the skill package's files."
    )
    parser.add_argument(
        "--check", action="store_true", help="write nothing; list what is wrong with the files"
    )
    parser.add_argument(
        "files",
        nargs="*",
        type=Path,
        metavar="FILE",
        help="with --check: interaction models to check instead",
    )
    add_options(parser)
    options = parser.parse_args(arguments)
    if options.files and not options.check:
        parser.error("FILE needs --check")
    settings = chosen(options)
    if options.files:
        found = [
            f"{file}: {fault}" for file in options.files for fault in model_faults(_read_json(file))
        ]
    elif options.check:
        found = check_package(settings)
    else:
        found = package_faults(package(settings))
    for fault in found:
        tell(f"error: {fault}")
    if not options.check and not found:
        _write(package(settings))
    return 1 if found else 0


def _read_json(path: Path) -> Any:
    try:
        return json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is not JSON: {error}") from None


def _write(documents: dict[str, dict[str, Any]]) -> None:
    for name, document in documents.items():
        path = PACKAGE / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
        print(f"wrote {path}")


if __name__ == "__main__":
    sys.exit(main())
