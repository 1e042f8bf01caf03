import json

import pytest
from ask_smapi_model.v1.skill.interaction_model.interaction_model_data import InteractionModelData
from ask_smapi_model.v1.skill.manifest.skill_manifest_envelope import SkillManifestEnvelope

from skill import interaction_model as im

from .conftest import FakeAgent, read_request

ask_sdk_core = pytest.importorskip("ask_sdk_core")


@pytest.mark.parametrize(("name", "kind"), [(im.MODEL_FILE, InteractionModelData), (im.MANIFEST_FILE, SkillManifestEnvelope)])
def test_the_files_of_the_package_survive_the_sdk_unchanged(name, kind):
    """Deserialising drops what the schema does not know: a misspelt key would vanish, and the texts would differ."""
    from ask_sdk_core.serialize import DefaultSerializer

    text = (im.PACKAGE / name).read_text(encoding="utf-8")
    serializer = DefaultSerializer()
    through = serializer.serialize(serializer.deserialize(text, kind))
    assert _without_empty(through) == _without_empty(json.loads(text))


def _without_empty(node):
    if isinstance(node, dict):
        return {key: _without_empty(value) for key, value in node.items() if value not in ([], {}, None)}
    return [_without_empty(value) for value in node] if isinstance(node, list) else node


def test_the_files_are_what_the_module_writes():
    assert im.main(["--check"]) == 0


def test_the_shipped_model_has_no_fault():
    assert im.faults(im.interaction_model()) == []


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda m: m["languageModel"].update(invocationName="chatty"), "two words"),
        (lambda m: m["languageModel"].update(invocationName="the friend"), "article"),
        (lambda m: m["languageModel"]["intents"][0]["samples"].append("{raw_input}"), "words around it"),
        (lambda m: m["languageModel"]["intents"][0]["samples"].append("say {other}"), "lacks"),
        (lambda m: m["languageModel"]["intents"][0]["samples"].append("say {raw_input}"), "twice"),
        (lambda m: m["languageModel"]["intents"][0]["samples"].append("say? {raw_input}"), "letters"),
        (
            lambda m: m["languageModel"]["intents"].remove({"name": "AMAZON.StopIntent", "samples": []}),
            "AMAZON.StopIntent is missing",
        ),
        (lambda m: m["dialog"]["intents"][0]["slots"][0].update(name="other"), "not declared"),
    ],
)
def test_a_fault_that_the_schema_does_not_see_is_named(change, complaint):
    model = im.interaction_model()
    change(model["interactionModel"])
    assert any(complaint in fault for fault in im.faults(model))


def test_some_sample_has_no_launch_word():
    """Test clients take an utterance with ask, open, launch or tell in it for a launch."""
    samples = im.interaction_model()["interactionModel"]["languageModel"]["intents"][0]["samples"]
    assert any(not {"ask", "open", "launch", "tell"} & set(sample.split()) for sample in samples)


def test_the_slot_is_elicited_by_a_dialog_that_the_skill_leads():
    dialog = im.interaction_model()["interactionModel"]["dialog"]
    (intent,) = dialog["intents"]
    assert (intent["name"], intent["delegationStrategy"]) == ("ChatIntent", "SKILL_RESPONSE")
    assert intent["slots"][0]["name"] == "raw_input"
    assert intent["slots"][0]["elicitationRequired"] is True


def test_each_carrier_is_an_intent_whose_one_sample_begins_with_its_word():
    intents = im.interaction_model()["interactionModel"]["languageModel"]["intents"]
    samples = {intent["name"]: intent["samples"] for intent in intents if intent.get("slots")}
    assert samples.pop(im.CHAT_INTENT) == ["say {raw_input}"]
    assert samples == {name: [f"{word} {{raw_input}}"] for name, word in im.CARRIER_OF.items() if word}
    assert len(set(im.CARRIER_OF.values())) == len(im.CARRIER_OF)
    assert {"what", "do", "why", "who", "how", "is", "are", "can", "when", "where"} <= set(im.CARRIER_OF.values())


def test_each_intent_has_a_handler_of_its_own_and_each_handler_an_intent():
    from ask_sdk_core.handler_input import HandlerInput
    from ask_sdk_core.serialize import DefaultSerializer
    from ask_sdk_model import RequestEnvelope

    from skill import build_skill

    skill = build_skill(FakeAgent())
    mapper = skill.request_dispatcher.request_mappers[0]
    used = set()
    for intent in im.interaction_model()["interactionModel"]["languageModel"]["intents"]:
        envelope = read_request("help")
        envelope["request"]["intent"]["name"] = intent["name"]
        read = DefaultSerializer().deserialize(json.dumps(envelope), RequestEnvelope)
        handler = mapper.get_request_handler_chain(HandlerInput(request_envelope=read)).request_handler
        used.add(type(handler).__name__)
        assert (type(handler).__name__ == "NotUnderstood") == (intent["name"] == "AMAZON.FallbackIntent")
    assert used == {"Chat", "YesNo", "Help", "Repeat", "StartOver", "Leave", "NotUnderstood"}
