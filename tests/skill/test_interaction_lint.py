"""The console's rules: each planted mistake is named."""

import copy
import dataclasses
import json

import pytest

from skill import interaction_model as im
from skill import interaction_settings
from skill.interaction_lint import manifest_faults, model_faults
from skill.interaction_settings import LOCALES

OURS = interaction_settings.load()
CAUGHT = dataclasses.replace(OURS, free_speech="catchall", intent="AskDeepPavlov")


@pytest.mark.parametrize("settings", [OURS, CAUGHT], ids=["elicit", "catchall"])
def test_the_shipped_package_has_no_fault(settings):
    assert im.package_faults(im.package(settings)) == []


def _first(model):
    return model["languageModel"]["intents"][0]


def _built_in(model, name):
    return next(intent for intent in model["languageModel"]["intents"] if intent["name"] == name)


def _named(name):
    return lambda model: model["languageModel"].update(invocationName=name)


def _sample(text):
    return lambda model: _first(model)["samples"].append(text)


def _type(**changes):
    kind = {"name": "ANIMAL", "values": [{"name": {"value": "cat"}}], **changes}
    return lambda model: model["languageModel"]["types"].append(kind)


def _dialog(model):
    return model["dialog"]["intents"][0]


def _without(name):
    return lambda model: model["languageModel"]["intents"].remove(_built_in(model, name))


OF_THE_MODEL = {
    "a name of one word": (_named("chatty"), "two words"),
    "a name in capitals": (_named("Chatty Friend"), "lower case"),
    "a name with an article": (_named("the friend"), "article"),
    "a name with a preposition": (_named("friend for"), "preposition"),
    "a name with a launch word": (_named("open my friend"), "opens or asks"),
    "a name with a wake word": (_named("chatty echo friend"), "wake word"),
    "a name that says skill": (_named("chatty skill"), "wake word"),
    "a name with a digit": (_named("chatty friend 2"), "numbers spelt out"),
    "a name with a stray apostrophe": (_named("chatty frien'd"), "possessive"),
    "a name of fifty-one letters": (_named("chatty " + "o" * 44), "characters"),
    "an intent with a digit": (lambda m: _first(m).update(name="Chat2"), "letters and underscores"),
    "an intent twice": (
        lambda m: m["languageModel"]["intents"].append(copy.deepcopy(_first(m))),
        "is defined twice",
    ),
    "an intent without samples": (lambda m: _first(m).update(samples=[]), "no sample"),
    "a built-in that is none": (
        lambda m: m["languageModel"]["intents"].append(
            {"name": "AMAZON.StoppIntent", "samples": []}
        ),
        "not one of Alexa's",
    ),
    "a built-in with a slot": (
        lambda m: _built_in(m, "AMAZON.HelpIntent").update(
            slots=[{"name": "x", "type": "AMAZON.NUMBER"}]
        ),
        "has no slots",
    ),
    "no stop": (_without("AMAZON.StopIntent"), "AMAZON.StopIntent is missing"),
    "no fallback": (_without("AMAZON.FallbackIntent"), "AMAZON.FallbackIntent is missing"),
    "no way home": (_without("AMAZON.NavigateHomeIntent"), "AMAZON.NavigateHomeIntent is missing"),
    "a slot with a hyphen": (
        lambda m: _first(m)["slots"][0].update(name="raw-input"),
        "letters and underscores",
    ),
    "a slot twice": (
        lambda m: _first(m)["slots"].append({"name": "raw_input", "type": "AMAZON.NUMBER"}),
        "is defined twice",
    ),
    "two phrase slots": (
        lambda m: _first(m)["slots"].append({"name": "other", "type": "AMAZON.SearchQuery"}),
        "one phrase slot",
    ),
    "a slot of a type that is not there": (
        lambda m: _first(m)["slots"].append({"name": "x", "type": "ANIMAL"}),
        "not declared",
    ),
    "a slot that no intent has": (_sample("say {other}"), "'other' is not declared"),
    "a bare phrase slot": (_sample("{raw_input}"), "words around it"),
    "a phrase slot beside another": (
        _sample("say {raw_input} {raw_input}"),
        "must be the only slot",
    ),
    "a sample twice": (_sample("say  {raw_input}"), "is defined twice"),
    "a sample in two intents, in other letters": (
        _sample("What {raw_input}"),
        "is defined twice, in ChatIntent and WhatIntent",
    ),
    "a sample with a question mark": (_sample("say? {raw_input}"), "letters, spaces"),
    "a sample with a digit": (_sample("say 2 {raw_input}"), "numbers spelt out"),
    "an open brace": (_sample("say {raw_input"), "a brace"),
    "an empty sample": (_sample(" "), "it is empty"),
    "a slot's sample with another slot": (
        lambda m: _first(m)["slots"][0]["samples"].append("{other}"),
        "not declared",
    ),
    "a type with a space": (_type(name="MY ANIMAL"), "letters and underscores"),
    "a type without values": (_type(values=[]), "has no value"),
    "a value twice": (
        _type(values=[{"name": {"value": "cat", "synonyms": ["Cat"]}}]),
        "is defined twice",
    ),
    "a value that is too long": (_type(values=[{"name": {"value": "c" * 141}}]), "at most 140"),
    "a dialog of an intent that is not there": (
        lambda m: _dialog(m).update(name="Other"),
        "Other is not declared",
    ),
    "a dialog of a built-in": (
        lambda m: _dialog(m).update(name="AMAZON.HelpIntent", slots=[]),
        "has no dialog",
    ),
    "a dialog slot that is not there": (
        lambda m: _dialog(m)["slots"][0].update(name="other"),
        "not declared",
    ),
    "a dialog slot of another type": (
        lambda m: _dialog(m)["slots"][0].update(type="AMAZON.NUMBER"),
        "has the type",
    ),
    "an elicitation without a prompt": (
        lambda m: _dialog(m)["slots"][0].update(prompts={}),
        "has no prompt",
    ),
    "a prompt that is not there": (lambda m: m.update(prompts=[]), "not defined"),
    "a prompt without words": (lambda m: m["prompts"][0].update(variations=[]), "no variation"),
    "a strategy that is none": (
        lambda m: m["dialog"].update(delegationStrategy="SKILL"),
        "delegationStrategy",
    ),
    "a sensitivity that is none": (
        lambda m: m["languageModel"]["modelConfiguration"]["fallbackIntentSensitivity"].update(
            level="LOWEST"
        ),
        "LOW, MEDIUM or HIGH",
    ),
    "no language model": (lambda m: m.pop("languageModel"), "not shaped like"),
}


@pytest.mark.parametrize("mistake", OF_THE_MODEL)
def test_a_mistake_in_a_model_that_the_schema_does_not_see_is_named(mistake, tmp_path, capsys):
    plant, complaint = OF_THE_MODEL[mistake]
    model = copy.deepcopy(im.interaction_model(OURS))
    plant(model["interactionModel"])
    assert any(complaint in fault for fault in model_faults(model))
    file = tmp_path / "model.json"
    file.write_text(json.dumps(model), encoding="utf-8")
    assert im.main(["--check", str(file)]) == 1
    assert complaint in capsys.readouterr().err


def _texts(**changes):
    return lambda m: m["publishingInformation"]["locales"].update(
        {"en-GB": {**m["publishingInformation"]["locales"]["en-GB"], **changes}}
    )


def _endpoint(**changes):
    return lambda m: m["apis"]["custom"]["endpoint"].update(changes)


OF_THE_MANIFEST = {
    "a phrase that opens another skill": (
        _texts(examplePhrases=["Alexa, open chatty robot"]),
        "the invocation name",
    ),
    "a phrase that asks what is no sample": (
        _texts(examplePhrases=["Alexa, open chatty friend", "Alexa, ask chatty friend elephants"]),
        "'elephants' is not a sample",
    ),
    "a phrase without the wake word": (
        _texts(examplePhrases=["open chatty friend"]),
        "the invocation name",
    ),
    "no phrase": (_texts(examplePhrases=[]), "1 to 3 example phrases"),
    "four phrases": (
        _texts(examplePhrases=["Alexa, open chatty friend"] * 4),
        "1 to 3 example phrases",
    ),
    "no summary": (_texts(summary=""), "summary is missing"),
    "a summary that is too long": (_texts(summary="x" * 161), "at most 160"),
    "an endpoint without TLS": (_endpoint(uri="http://example.com/"), "https"),
    "an endpoint on another port": (_endpoint(uri="https://example.com:8443/"), "port 443"),
    "a certificate type that is none": (
        _endpoint(sslCertificateType="wildcard"),
        "sslCertificateType",
    ),
    "a locale without a model": (
        lambda m: m["publishingInformation"]["locales"].update({"de-DE": {}}),
        "de-DE has no interaction",
    ),
    "a locale that Alexa lacks": (
        lambda m: m["publishingInformation"]["locales"].update({"en-NZ": {}}),
        "en-NZ is not a locale of Alexa's",
    ),
    "a model without a locale": (
        lambda m: m["publishingInformation"]["locales"].pop("en-IN"),
        "is not in the manifest",
    ),
}


@pytest.mark.parametrize("mistake", OF_THE_MANIFEST)
def test_a_mistake_in_a_manifest_is_named(mistake):
    plant, complaint = OF_THE_MANIFEST[mistake]
    manifest, model = copy.deepcopy(im.manifest(OURS)), im.interaction_model(OURS)
    plant(manifest["manifest"])
    found = manifest_faults(manifest, dict.fromkeys(LOCALES, model))
    assert any(complaint in fault for fault in found), found


def test_at_least_forty_mistakes_are_planted():
    assert len(OF_THE_MODEL) + len(OF_THE_MANIFEST) >= 40


def test_a_phrase_may_have_words_that_connect_it_to_a_sample():
    model = im.interaction_model(OURS)
    for phrase in (
        "Alexa, ask chatty friend what's a good film",
        "Alexa, tell chatty friend that i like jazz",
    ):
        manifest = im.manifest(OURS)
        _texts(examplePhrases=["Alexa, open chatty friend", phrase])(manifest["manifest"])
        assert manifest_faults(manifest, dict.fromkeys(LOCALES, model)) == []
