"""The checklist of Alexa's reviewers holds, and each broken point is found."""

import dataclasses
import json
import os

import pytest

from skill import certification, deployment, doctor, interaction_settings, phrases, state
from skill import interaction_model as im

from . import amazon as fake
from . import rig

OURS = interaction_settings.load()
PUBLISHED = {
    "manifest": {
        "privacyAndCompliance": {
            "locales": {
                locale: {
                    "privacyPolicyUrl": "https://example.com/p",
                    "termsOfUseUrl": "https://example.com/t",
                }
                for locale in OURS.locales
            }
        },
        "publishingInformation": {
            "locales": {
                locale: {"largeIconUri": "https://example.com/i"} for locale in OURS.locales
            }
        },
    }
}


@pytest.fixture(autouse=True)
def alone(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("PATH", str(tmp_path))
    for name in ("SKILL_ID", "CHECKPOINT", "MODEL_CLASS"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("hears", ["elicit", "catchall"])
def test_the_checklist_holds_for_the_skill_as_it_is(hears):
    found = certification.checklist(dataclasses.replace(OURS, free_speech=hears), PUBLISHED)
    assert {name for name, (ok, _, _) in found.items() if not ok} == set()
    assert list(found) == [
        "no open microphone without a question", "help", "stop", "example phrases",
        "what is stored",
        "privacy policy", "terms of use", "icons",
    ]  # fmt: skip


def breaks_reprompt(monkeypatch):
    monkeypatch.setattr(phrases, "REPROMPT", ("I am still here.",) * 2)


def breaks_help(monkeypatch):
    monkeypatch.setattr(phrases, "HELP", ("You can talk. What about?",) * 2)


def breaks_stop(monkeypatch):
    monkeypatch.setattr(certification, "_CLOSES", ("AMAZON.StopIntent", "AMAZON.HelpIntent"))


def breaks_phrases(monkeypatch):
    broken = im.manifest(dataclasses.replace(OURS, invocation_name="night owl"))
    monkeypatch.setattr(certification, "manifest", lambda settings: broken)


def breaks_stored(monkeypatch):
    monkeypatch.setattr(certification, "PRIVACY", interaction_settings.PACKAGE / "none.md")


@pytest.mark.parametrize(
    ("name", "plant"),
    [
        ("no open microphone without a question", breaks_reprompt), ("help", breaks_help),
        ("stop", breaks_stop),
        ("example phrases", breaks_phrases), ("what is stored", breaks_stored),
    ],
)  # fmt: skip
def test_a_point_of_the_checklist_that_does_not_hold_is_found(name, plant, monkeypatch):
    plant(monkeypatch)
    found = certification.checklist(OURS, PUBLISHED)
    assert {point for point, (ok, _, _) in found.items() if not ok} == {name}
    assert found[name][2]


def test_what_the_owner_has_to_publish_is_looked_up_in_the_skill_s_manifest(
    tmp_path, monkeypatch, capsys
):
    assert doctor.main(["--certification", "--json"]) == 1
    listed = json.loads(capsys.readouterr().out)["checks"]
    assert [check["name"] for check in listed if not check["ok"]] == [
        "privacy policy",
        "terms of use",
        "icons",
    ]
    lacking = json.loads(json.dumps(PUBLISHED))
    del lacking["manifest"]["privacyAndCompliance"]["locales"]["en-IN"]["privacyPolicyUrl"]
    ok, found, _ = certification.checklist(OURS, lacking)["privacy policy"]
    assert (ok, found) == (False, "missing for en-IN")
    amazon = fake.Amazon()
    try:
        fake.write_ask(tmp_path / "ask", amazon, doctor.sys.executable)
        whole = deployment.merged(im.manifest(OURS), PUBLISHED)
        amazon.skills[rig.SKILL] = whole
        state.write(state.DEPLOYED, {"skill_id": rig.SKILL})
        assert doctor.main(["--certification"]) == 0
        assert amazon.faults == []
    finally:
        amazon.shutdown()
        amazon.server_close()
    assert os.environ["PATH"] == str(tmp_path)
