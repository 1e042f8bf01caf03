"""Deploying to a fake of Amazon's API that checks each call against the published schema."""

import dataclasses
import json
import sys

import pytest

from skill import deploy, deployment, state, target
from skill import interaction_model as im

from .. import amazon as fake
from .conftest import ENDPOINT, OURS, TARGET, run


def test_a_new_skill_is_made_with_a_model_of_each_locale_and_enabled(logged_in, capsys):
    run()
    assert logged_in.skills[fake.NEW_SKILL] == TARGET.manifest()
    assert {locale for _, locale in logged_in.models} == set(OURS.locales)
    assert all(model == im.interaction_model(OURS) for model in logged_in.models.values())
    assert logged_in.enabled == {(fake.NEW_SKILL, "development")}
    said = capsys.readouterr().out
    assert "en-GB: building, 0 of 1 steps done\n" in said
    assert "en-GB: built\n" in said
    assert f"python app.py --skill-id {fake.NEW_SKILL}" in said
    assert state.read(state.DEPLOYED)["skill_id"] == fake.NEW_SKILL


def test_a_second_run_changes_nothing_and_says_so(logged_in, capsys):
    run()
    logged_in.calls.clear()
    capsys.readouterr()
    run()
    said = capsys.readouterr().out
    assert "manifest: up to date" in said
    assert all(f"{locale}: up to date" in said for locale in OURS.locales)
    assert {name for name in logged_in.names() if not name.startswith(("get_", "list_"))} == {
        "set_skill_enablement_v1"
    }


def test_a_new_address_changes_the_endpoint_alone_and_what_the_owner_has_added_stays(
    logged_in, capsys
):
    run()
    added = {
        "publishingInformation": {
            "locales": {"en-US": {"smallIconUri": "https://example.com/i.png"}}
        }
    }
    logged_in.skills[fake.NEW_SKILL] = {
        "manifest": deployment.merged(logged_in.skills[fake.NEW_SKILL]["manifest"], added)
    }
    logged_in.calls.clear()
    run("--endpoint", "https://alexa.example.com/skill", "--invocation-name", OURS.invocation_name)
    there = logged_in.skills[fake.NEW_SKILL]["manifest"]
    assert there["apis"]["custom"]["endpoint"] == {
        "uri": "https://alexa.example.com/skill",
        "sslCertificateType": "Trusted",
    }
    assert (
        there["publishingInformation"]["locales"]["en-US"]["smallIconUri"]
        == "https://example.com/i.png"
    )
    assert "set_interaction_model_v1" not in logged_in.names()
    assert "manifest: updated (manifest.apis.custom.endpoint.uri" in capsys.readouterr().out


def test_another_name_is_sent_to_the_same_skill(logged_in):
    run()
    run("--invocation-name", "night owl")
    assert list(logged_in.skills) == [fake.NEW_SKILL]
    assert {
        m["interactionModel"]["languageModel"]["invocationName"] for m in logged_in.models.values()
    } == {"night owl"}
    assert (
        logged_in.skills[fake.NEW_SKILL]["manifest"]["publishingInformation"]["locales"]["en-IN"][
            "name"
        ]
        == "Night Owl"
    )


def test_a_skill_is_found_again_by_its_name_on_another_machine(logged_in):
    other = im.manifest(dataclasses.replace(OURS, invocation_name="other thing"))
    logged_in.skills |= {"amzn1.ask.skill.other": other, "amzn1.ask.skill.mine": TARGET.manifest()}
    run()
    assert len(logged_in.skills) == 2
    assert {skill for skill, _ in logged_in.models} == {"amzn1.ask.skill.mine"}


def test_of_two_skills_of_the_name_one_has_to_be_said(logged_in, capsys):
    logged_in.skills |= {
        "amzn1.ask.skill.a": TARGET.manifest(),
        "amzn1.ask.skill.b": TARGET.manifest(),
    }
    run(status=2)
    assert "--skill-id amzn1.ask.skill.a or amzn1.ask.skill.b" in capsys.readouterr().err
    run("--skill-id", "amzn1.ask.skill.b")
    assert {skill for skill, _ in logged_in.models} == {"amzn1.ask.skill.b"}


# --- ask -----------------------------------------------------------------------------------------


def test_ask_is_used_where_it_is_there_and_logged_in(amazon, tmp_path, capsys):
    fake.write_ask(tmp_path / "bin" / "ask", amazon, sys.executable)
    state.write(state.LOGIN, fake.LOGIN)
    run()
    assert "through ask" in capsys.readouterr().err
    assert amazon.tokens == 1, "nobody logged in but ask"
    assert len(amazon.models) == len(OURS.locales)
    run("--endpoint", "https://alexa.example.com/")
    assert (
        amazon.skills[fake.NEW_SKILL]["manifest"]["apis"]["custom"]["endpoint"]["uri"]
        == "https://alexa.example.com/"
    )
    assert amazon.enabled


def test_what_ask_is_refused_is_one_line(amazon, tmp_path, capsys):
    fake.write_ask(tmp_path / "bin" / "ask", amazon, sys.executable)
    amazon.plan.append(("create_skill_for_vendor_v1", 403))
    run(status=2)
    assert (
        "ask smapi create-skill-for-vendor: planned 403; nothing was changed"
        in capsys.readouterr().err
    )


def test_where_ask_is_not_logged_in_the_login_is_used(logged_in, tmp_path, capsys):
    (tmp_path / "bin" / "ask").write_text("#!/bin/sh\necho '[Error]: no profile' >&2\nexit 1\n")
    (tmp_path / "bin" / "ask").chmod(0o755)
    run()
    assert "through the skill management API" in capsys.readouterr().err


# --- without either ------------------------------------------------------------------------------


def test_without_a_login_the_clicks_are_printed_with_their_values(capsys):
    run("--invocation-name", "night owl")
    said = capsys.readouterr().out
    for value in (
        ENDPOINT,
        "Night Owl",
        "en-US.json",
        ", ".join(OURS.locales[1:]),
        "open night owl",
        "wildcard certificate",
    ):
        assert value in said


@pytest.mark.parametrize("login", [None, fake.LOGIN])
def test_a_dry_run_needs_no_login_and_no_network_and_prints_what_it_would_send(
    capsys, monkeypatch, login
):
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    if login:
        state.write(state.LOGIN, login)
    run("--dry-run", "--certificate", "trusted")
    printed = capsys.readouterr()
    sent = json.loads(printed.out)
    assert sent["skill.json"]["manifest"]["apis"]["custom"]["endpoint"] == {
        "uri": ENDPOINT,
        "sslCertificateType": "Trusted",
    }
    assert {name for name in sent if name != "skill.json"} == {
        im.model_file(locale) for locale in OURS.locales
    }
    assert "what would change is unknown" in printed.err
    assert not (state.folder() / state.DEPLOYED).exists()


def test_a_dry_run_says_what_would_change_and_changes_nothing(logged_in, capsys):
    run("--dry-run")
    assert (
        f"would change: a new skill, Chatty Friend, with {len(OURS.locales)} interaction models"
        in capsys.readouterr().err
    )
    assert logged_in.skills == {}
    run()
    logged_in.calls.clear()
    capsys.readouterr()
    run("--dry-run")
    assert "would change: nothing" in capsys.readouterr().err
    run("--dry-run", "--endpoint", "https://alexa.example.com/", "--free-speech", "catchall")
    said = capsys.readouterr().err
    assert "would change: manifest: manifest.apis.custom.endpoint.uri" in said
    assert "would change: en-IN: interaction model" in said
    assert all(name.startswith(("get_", "list_")) for name in logged_in.names())


# --- the endpoint --------------------------------------------------------------------------------


def test_the_open_tunnel_s_address_is_the_default_and_the_last_one_after_it(capsys):
    assert deploy.main(["--dry-run"]) == 2
    assert "no endpoint is known" in capsys.readouterr().err
    state.write(state.DEPLOYED, {"endpoint": "https://last.example.com/"})
    assert deploy.main(["--dry-run"]) == 0
    assert "https://last.example.com/" in capsys.readouterr().out
    state.write(state.TUNNEL, {"address": "https://open.trycloudflare.com"})
    assert deploy.main(["--dry-run"]) == 0
    endpoint = json.loads(capsys.readouterr().out)["skill.json"]["manifest"]["apis"]["custom"][
        "endpoint"
    ]
    assert endpoint == {"uri": "https://open.trycloudflare.com/", "sslCertificateType": "Wildcard"}


@pytest.mark.parametrize(
    "written",
    [
        "http://a.example.com/",
        "https://a.example.com:8443/",
        "https://localhost/",
        "a.example.com",
        "https://a:b@c.com/",
        "https://[",
        "",
    ],
)
def test_an_endpoint_that_alexa_would_not_take_is_refused(written, capsys):
    if written:
        assert deploy.main(["--dry-run", "--endpoint", written]) == 2
        assert "cannot be used: expected an https address" in capsys.readouterr().err
    with pytest.raises(ValueError, match="cannot be used"):
        target.endpoint_address(written)


@pytest.mark.parametrize(
    ("host", "kind"),
    [
        ("a.ngrok-free.app", "Wildcard"), ("a.ngrok.io", "Wildcard"),
        ("b-c.trycloudflare.com", "Wildcard"),
        ("ngrok.io.example.com", "Trusted"), ("alexa.example.com", "Trusted"),
        ("notngrok.io", "Trusted"),
    ],
)  # fmt: skip
def test_the_certificate_type_is_known_by_the_host(host, kind):
    assert target.certificate_of(f"https://{host}/") == kind
