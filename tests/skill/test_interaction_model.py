"""The skill package is what the settings say, and the skill answers by its names."""

import dataclasses
import json
import re

import pytest
from ask_smapi_model.v1.skill.interaction_model.interaction_model_data import InteractionModelData
from ask_smapi_model.v1.skill.manifest.skill_manifest_envelope import SkillManifestEnvelope

from app import Settings, create_app
from dialogue.safety import is_offensive
from skill import handlers, interaction_settings
from skill import interaction_model as im
from skill.handlers import ROUTES
from skill.interaction_settings import LOCALES, PACKAGE, InteractionSettings
from skill.options import settings_of

from .conftest import FakeAgent, handler_input, read_request

ask_sdk_core = pytest.importorskip("ask_sdk_core")

OURS = interaction_settings.load()
CAUGHT = dataclasses.replace(OURS, free_speech="catchall", intent="AskDeepPavlov")
FILES = [*(im.model_file(locale) for locale in LOCALES), im.MANIFEST_FILE]


@pytest.mark.parametrize("settings", [OURS, CAUGHT], ids=["elicit", "catchall"])
@pytest.mark.parametrize("name", FILES)
def test_the_files_of_the_package_survive_the_sdk_unchanged(name, settings):
    """Deserialising drops what the schema does not know: a misspelt key would vanish, and the texts
    would differ.
    """
    from ask_sdk_core.serialize import DefaultSerializer

    built = im.package(settings)[name]
    if settings is OURS:
        assert json.loads((PACKAGE / name).read_text(encoding="utf-8")) == built
    kind = SkillManifestEnvelope if name == im.MANIFEST_FILE else InteractionModelData
    serializer = DefaultSerializer()
    through = serializer.serialize(serializer.deserialize(json.dumps(built), kind))
    assert _without_empty(through) == _without_empty(built)


def _without_empty(node):
    if isinstance(node, dict):
        return {
            key: _without_empty(value) for key, value in node.items() if value not in ([], {}, None)
        }
    return [_without_empty(value) for value in node] if isinstance(node, list) else node


def test_the_files_are_what_the_module_writes(capsys):
    assert im.main(["--check"]) == 0
    assert im.main(["--check", "--invocation-name", "night owl"]) == 1
    said = capsys.readouterr().err
    assert [name for name in FILES if f"{name} does not match the settings" in said] == FILES


def test_the_locales_have_one_model_and_the_manifest_names_them():
    models = [im.package(OURS)[im.model_file(locale)] for locale in LOCALES]
    assert all(model == models[0] for model in models)
    published = im.manifest(OURS)["manifest"]["publishingInformation"]
    assert tuple(published["locales"]) == LOCALES == OURS.locales
    assert published["distributionCountries"] == [locale[-2:] for locale in LOCALES]


def test_a_file_that_is_missing_or_no_json_or_of_another_locale_is_named(tmp_path):
    for name, document in im.package(OURS).items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(json.dumps(document), encoding="utf-8")
    assert im.check_package(OURS, tmp_path) == []
    (tmp_path / FILES[0]).unlink()
    (tmp_path / FILES[1]).write_text("{", encoding="utf-8")
    (tmp_path / FILES[0]).with_name("de-DE.json").write_text("{}", encoding="utf-8")
    found = im.check_package(OURS, tmp_path)
    assert any(FILES[0] in fault and "cannot read" in fault for fault in found)
    assert any(FILES[1] in fault for fault in found)
    assert any("de-DE.json is not a locale" in fault for fault in found)


# --- one's own settings --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"invocation_name": "friend"}, "two words"),
        ({"free_speech": "both"}, "elicit, catchall"),
        ({"intent": "Chat Intent"}, "letters and underscores"),
        ({"intent": "WhatIntent"}, "another intent"),
        ({"slot": "raw-input"}, "letters and underscores"),
        ({"locales": ("en-US", "de-DE")}, "de-DE"),
        ({"locales": ()}, "locales"),
        ({"slot": 5}, "expected text"),
    ],
)
def test_settings_that_alexa_would_refuse_are_refused(changes, complaint):
    with pytest.raises(ValueError, match=complaint):
        dataclasses.replace(OURS, **changes)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [("invocation_name = 5", "missing"), ("= 5", "settings.toml"), ("x = 1", "x")],
)
def test_a_broken_settings_file_is_named(tmp_path, text, complaint):
    file = tmp_path / "settings.toml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=complaint) as caught:
        interaction_settings.load(file)
    assert str(file) in str(caught.value)


def test_a_name_of_one_s_own_is_one_option_everywhere():
    settings = settings_of(["--invocation-name", "bob's robot", "--tunnel", "none"]).interaction
    assert settings == dataclasses.replace(OURS, invocation_name="bob's robot")
    assert settings.name == "Bob's Robot"
    documents = im.package(settings)
    assert im.package_faults(documents) == []
    assert "chatty" not in json.dumps(documents).lower()
    for locale in LOCALES:
        assert (
            documents[im.model_file(locale)]["interactionModel"]["languageModel"]["invocationName"]
            == "bob's robot"
        )


def test_a_name_that_cannot_be_used_is_one_plain_line(capsys):
    assert im.main(["--check", "--invocation-name", "alexa"]) == 2
    assert re.fullmatch(
        r"error: the invocation name 'alexa' cannot be used: .*\n", capsys.readouterr().err
    )


# --- elicit --------------------------------------------------------------------------------------


def test_some_sample_has_no_launch_word():
    """Test clients take an utterance with ask, open, launch or tell in it for a launch."""
    for settings in (OURS, CAUGHT):
        samples = im.interaction_model(settings)["interactionModel"]["languageModel"]["intents"][0][
            "samples"
        ]
        assert any(
            not {"ask", "open", "launch", "tell"} & set(sample.split()) for sample in samples
        )


def test_the_slot_is_elicited_by_a_dialog_that_the_skill_leads():
    dialog = im.interaction_model(OURS)["interactionModel"]["dialog"]
    (intent,) = dialog["intents"]
    assert (intent["name"], intent["delegationStrategy"]) == ("ChatIntent", "SKILL_RESPONSE")
    assert intent["slots"][0]["name"] == "raw_input"
    assert intent["slots"][0]["elicitationRequired"] is True


def test_each_carrier_is_an_intent_whose_one_sample_begins_with_its_word():
    intents = im.interaction_model(OURS)["interactionModel"]["languageModel"]["intents"]
    samples = {intent["name"]: intent["samples"] for intent in intents if intent.get("slots")}
    assert samples.pop(OURS.intent) == ["say {raw_input}"]
    assert samples == {
        name: [f"{word} {{raw_input}}"] for name, word in OURS.carrier_of.items() if word
    }
    assert len(set(OURS.carrier_of.values())) == len(OURS.carrier_of)
    assert {"what", "do", "why", "who", "how", "is", "are", "can", "when", "where"} <= set(
        OURS.carrier_of.values()
    )


@pytest.mark.parametrize("settings", [OURS, CAUGHT], ids=["elicit", "catchall"])
def test_each_intent_has_an_answer_of_its_own_and_only_the_fallback_asks_again(settings):
    used = set()
    for intent in im.interaction_model(settings)["interactionModel"]["languageModel"]["intents"]:
        envelope = read_request("help")
        envelope["request"]["intent"]["name"] = intent["name"]
        request = handler_input(envelope, settings)
        answers = next(route.answers for route in ROUTES if route.takes(request))
        if intent["name"] not in im.CUSTOM:
            used.add(answers)
        assert (answers is handlers.not_understood) == (intent["name"] == "AMAZON.FallbackIntent")
    assert used == {
        handlers.chat, handlers.yes_or_no, handlers.explain, handlers.repeat, handlers.start_over,
        handlers.leave, handlers.not_understood,
    }  # fmt: skip


@pytest.mark.parametrize("settings", [OURS, CAUGHT], ids=["elicit", "catchall"])
def test_an_intent_of_one_s_own_needs_a_name_and_what_people_say(settings, monkeypatch):
    before = im.interaction_model(settings)["interactionModel"]["languageModel"]["intents"]
    monkeypatch.setitem(im.CUSTOM, "SkipIntent", ("skip this topic", "next topic"))
    documents = im.package(settings)
    assert im.package_faults(documents) == []
    for locale in LOCALES:
        intents = documents[im.model_file(locale)]["interactionModel"]["languageModel"]["intents"]
        assert [intent for intent in intents if intent not in before] == [
            {"name": "SkipIntent", "samples": ["skip this topic", "next topic"]}
        ]


# --- catchall ------------------------------------------------------------------------------------


def test_a_catch_all_is_one_intent_whose_only_sample_is_the_slot_and_no_dialog():
    model = im.interaction_model(CAUGHT)["interactionModel"]
    assert model.keys() == {"languageModel"}
    (intent,) = [
        intent
        for intent in model["languageModel"]["intents"]
        if not intent["name"].startswith("AMAZON.") and intent["name"] not in im.CUSTOM
    ]
    (kind,) = model["languageModel"]["types"]
    assert intent == {
        "name": "AskDeepPavlov",
        "slots": [{"name": "raw_input", "type": kind["name"]}],
        "samples": ["{raw_input}"],
    }


def test_its_type_holds_150_different_lines_of_talk_as_alexa_writes_it():
    (kind,) = im.interaction_model(CAUGHT)["interactionModel"]["languageModel"]["types"]
    lines = [value["name"]["value"] for value in kind["values"]]
    assert len(set(lines)) == len(lines) == 150
    assert all(re.fullmatch(r"[a-z' ]+", line) for line in lines)
    assert {len(line.split()) for line in lines} >= set(range(1, 13)), "short and long ones"
    assert not any(is_offensive(line) for line in lines)


def test_a_skill_of_old_is_answered_by_its_own_names_and_nothing_is_elicited():
    """The predecessor's interaction model: AskDeepPavlov, raw_input, no dialog model."""
    agent = FakeAgent()
    settings = dataclasses.replace(CAUGHT, slot="spoken")
    client = create_app(Settings(verify=False, interaction=settings), agent).test_client()
    envelope = read_request("chat")
    said = envelope["request"]["intent"]["slots"].pop("raw_input")
    envelope["request"]["intent"].update(
        name="AskDeepPavlov", slots={"spoken": {**said, "name": "spoken"}}
    )
    answer = client.post("/", json=envelope).get_json()["response"]
    assert agent.heard[0][1].startswith("i saw a great movie yesterday")
    assert "directives" not in answer
    assert answer["shouldEndSession"] is False
    assert answer["reprompt"]
    launch = client.post("/", json=read_request("launch")).get_json()["response"]
    assert "directives" not in launch


def test_an_intent_of_one_s_own_is_elicited_by_its_own_names():
    settings = InteractionSettings("night owl", "elicit", "Talk", "words", ("en-GB",))
    assert im.package_faults(im.package(settings)) == []
    answer = (
        create_app(Settings(verify=False, interaction=settings), FakeAgent())
        .test_client()
        .post("/", json=read_request("launch"))
    )
    (directive,) = answer.get_json()["response"]["directives"]
    assert (directive["slotToElicit"], directive["updatedIntent"]["name"]) == ("words", "Talk")
