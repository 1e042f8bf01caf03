"""python -m skill.interaction_model: write the skill package's files, or with --check compare them.

What Alexa listens for stands here once, as code; interaction_models/ holds what the ASK tools read.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path
from typing import Any

from dialogue.command_line import command, tell

CHAT_INTENT, CHAT_SLOT = "ChatIntent", "raw_input"
INVOCATION_NAME = "chatty friend"
PACKAGE = Path(__file__).parent.parent / "interaction_models"
MODEL_FILE, MANIFEST_FILE = "interactionModels/custom/en-US.json", "skill.json"
ENDPOINT_PLACEHOLDER = "https://your-domain.ngrok-free.app/"

# Outside elicitation Alexa wants words around the slot, and hands over what stands in the slot alone. So each word that
# utterances begin with has an intent of its own, from whose name the handler knows the word that Alexa kept. ChatIntent is
# the one that is elicited; its sample is for the first time, and loses nothing.
_CARRIERS = (
    "what", "what's", "who", "who's", "whose", "where", "where's", "when", "why", "how", "how's", "which",
    "is", "isn't", "are", "aren't", "am", "was", "were", "do", "don't", "does", "did", "can", "can't", "could", "will", "would",
    "should", "have", "haven't", "has", "had", "i", "i'm", "i've", "i'll", "i'd", "my", "you", "you're", "your", "he", "he's",
    "she", "she's", "it", "it's", "that", "that's", "this", "there", "there's", "they", "they're", "we", "we're", "the", "some",
    "let's", "tell", "give", "talk", "because", "but", "and", "or", "so", "if", "well", "yeah", "yes", "no", "not", "maybe",
    "never", "today", "yesterday", "actually", "also", "oh", "okay", "hey", "hi", "hello", "thanks", "sorry", "please",
)  # fmt: skip
_CHAT_SAMPLE = "say"
CARRIER_OF = {f"{carrier.capitalize().replace(chr(39), '_')}Intent": carrier for carrier in _CARRIERS} | {CHAT_INTENT: ""}
BUILT_INS = (
    "AMAZON.StopIntent", "AMAZON.CancelIntent", "AMAZON.HelpIntent", "AMAZON.NavigateHomeIntent", "AMAZON.FallbackIntent",
    "AMAZON.RepeatIntent", "AMAZON.StartOverIntent", "AMAZON.YesIntent", "AMAZON.NoIntent",
)  # fmt: skip


def interaction_model() -> dict[str, Any]:
    """Build the interaction model for en-US.

    https://developer.amazon.com/docs/alexa/smapi/interaction-model-schema.html
    """
    slot = {"name": CHAT_SLOT, "type": "AMAZON.SearchQuery"}
    chat = {
        "name": CHAT_INTENT,
        "slots": [{**slot, "samples": [f"{{{CHAT_SLOT}}}"]}],
        "samples": [f"{_CHAT_SAMPLE} {{{CHAT_SLOT}}}"],
    }
    carriers = [
        {"name": name, "slots": [slot], "samples": [f"{carrier} {{{CHAT_SLOT}}}"]}
        for name, carrier in CARRIER_OF.items()
        if carrier
    ]
    prompt = {
        "id": f"Elicit.{CHAT_INTENT}.{CHAT_SLOT}",
        "variations": [{"type": "PlainText", "value": "What would you like to say?"}],
    }
    dialog = {
        "delegationStrategy": "SKILL_RESPONSE",
        "intents": [
            {
                "name": CHAT_INTENT,
                "delegationStrategy": "SKILL_RESPONSE",
                "confirmationRequired": False,
                "prompts": {},
                "slots": [
                    {**slot, "confirmationRequired": False, "elicitationRequired": True, "prompts": {"elicitation": prompt["id"]}}
                ],
            }
        ],
    }
    language = {
        "invocationName": INVOCATION_NAME,
        "intents": [chat, *carriers, *({"name": name, "samples": []} for name in BUILT_INS)],
        "types": [],
        "modelConfiguration": {"fallbackIntentSensitivity": {"level": "LOW"}},
    }
    return {"interactionModel": {"languageModel": language, "dialog": dialog, "prompts": [prompt]}}


def manifest() -> dict[str, Any]:
    """Build the skill's manifest.

    https://developer.amazon.com/docs/alexa/smapi/skill-manifest.html
    """
    locale = {
        "name": "Chatty Friend",
        "summary": "Someone to talk with about anything.",
        "description": "An open conversation: about your day, your pets, your plans, or a good film. "
        "Talk as you would to a friend; say stop to leave.",
        "examplePhrases": [f"Alexa, open {INVOCATION_NAME}", f"Alexa, ask {INVOCATION_NAME} what about movies"],
        "keywords": ["talk", "chat", "conversation"],
    }
    return {
        "manifest": {
            "manifestVersion": "1.0",
            "publishingInformation": {"locales": {"en-US": locale}, "category": "NOVELTY", "distributionCountries": ["US"]},
            "apis": {"custom": {"endpoint": {"uri": ENDPOINT_PLACEHOLDER, "sslCertificateType": "Wildcard"}}},
            "privacyAndCompliance": {
                "allowsPurchases": False,
                "usesPersonalInfo": False,
                "isChildDirected": False,
                "isExportCompliant": True,
                "containsAds": False,
            },
        }
    }  # fmt: skip


def faults(model: dict[str, Any]) -> list[str]:
    """List what Alexa would refuse in an interaction model, and its schema would not show."""
    language, dialog = model["interactionModel"]["languageModel"], model["interactionModel"]["dialog"]
    found = []
    name = language["invocationName"]
    if len(name.split()) < 2 or name != name.lower() or re.search(r"[^a-z' .]", name):
        found.append(f"invocation name {name!r}: two words or more, lower case letters")
    if len(name.split()) == 2 and set(name.split()) & {"a", "an", "the", "for", "to", "of"}:
        found.append(f"invocation name {name!r}: no article or preposition in a name of two words")
    intents = {intent["name"]: intent for intent in language["intents"]}
    samples = [sample for intent in language["intents"] for sample in intent["samples"]]
    found += [f"sample {sample!r} stands twice" for sample in sorted({s for s in samples if samples.count(s) > 1})]
    found += [
        f"sample {sample!r}: letters, spaces and ' . - _ {{}} only" for sample in samples if re.search(r"[^A-Za-z' .\-_{}]", sample)
    ]
    for intent in language["intents"]:
        slots = {slot["name"]: slot["type"] for slot in intent.get("slots", [])}
        for sample in intent["samples"]:
            used = re.findall(r"{(\w+)}", sample)
            found += [f"sample {sample!r} uses the slot {slot}, which {intent['name']} lacks" for slot in used if slot not in slots]
            if "AMAZON.SearchQuery" in slots.values() and (len(used) > 1 or not re.sub(r"{\w+}", "", sample).strip()):
                found.append(f"sample {sample!r}: a search query stands alone, with words around it")
    for elicited in dialog["intents"]:
        declared = {slot["name"] for slot in intents.get(elicited["name"], {}).get("slots", [])}
        found += [
            f"dialog slot {elicited['name']}.{s['name']} is not declared" for s in elicited["slots"] if s["name"] not in declared
        ]
    found += [
        f"{name} is missing" for name in ("AMAZON.StopIntent", "AMAZON.CancelIntent", "AMAZON.HelpIntent") if name not in intents
    ]
    return found


def files() -> dict[str, str]:
    """Give the package's files by their place in it, as text."""
    contents = {MODEL_FILE: interaction_model(), MANIFEST_FILE: manifest()}
    return {name: json.dumps(content, indent=2) + "\n" for name, content in contents.items()}


@command
def main(arguments: list[str] | None = None) -> int:
    """Write or check the package from the command line."""
    parser = argparse.ArgumentParser(prog="python -m skill.interaction_model", description="Write the skill package's files.")
    parser.add_argument("--check", action="store_true", help="write nothing; fail where a file is not what this module would write")
    options = parser.parse_args(arguments)
    found = faults(interaction_model())
    for name, text in files().items():
        path = PACKAGE / name
        if options.check:
            if not path.is_file() or path.read_text(encoding="utf-8") != text:
                found.append(f"{path} is not up to date; run python -m skill.interaction_model")
        elif not found:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            print(f"wrote {path}")
    for fault in found:
        tell(f"error: {fault}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
