"""Deploying to a fake of Amazon's API that checks each call against the published schema."""

import dataclasses
import json
import logging
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from skill import deploy, interaction_settings, smapi, state
from skill import interaction_model as im

from . import amazon as fake
from . import rig

ROOT = Path(__file__).parent.parent.parent
OURS = interaction_settings.load()
ENDPOINT = "https://ann.ngrok-free.app/"
TARGET = deploy.Target(OURS, ENDPOINT, "Wildcard")


@pytest.fixture(autouse=True)
def alone(tmp_path, monkeypatch):
    """No login, no ask, no pauses."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    (tmp_path / "bin").mkdir()
    monkeypatch.setattr(smapi, "PAUSES", (0.0, 0.0, 0.0))
    monkeypatch.setattr(deploy, "ASK_AGAIN_SECONDS", 0.0)


@pytest.fixture
def amazon(tmp_path, monkeypatch):
    """Amazon, to whom a login and nothing else leads. What it saw must fit the published schema."""
    server = fake.Amazon()
    internet = fake.Internet(rig.Authority(), tmp_path)
    for host in ("api.amazonalexa.com", "api.amazon.com"):
        internet.put(host, server.port)
    for name, value in internet.environment.items():
        monkeypatch.setenv(name, value)
    yield server
    for each in (server, internet):
        each.shutdown()
        each.server_close()
    assert server.faults == []


@pytest.fixture
def logged_in(amazon):
    state.write(state.LOGIN, fake.LOGIN)
    return amazon


def run(*more, status=0):
    found = deploy.main(["--endpoint", ENDPOINT, *more])
    assert found == status
    return found


def test_a_new_skill_is_made_with_five_models_and_enabled(logged_in, capsys):
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
        "manifest": deploy.merged(logged_in.skills[fake.NEW_SKILL]["manifest"], added)
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


# --- refusals ------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [401, 409, 429, 500, 503, "silence"])
@pytest.mark.parametrize(
    "operation", ["get_vendor_list_v1", "set_interaction_model_v1", "get_skill_status_v1"]
)
def test_what_is_refused_for_now_is_tried_again(logged_in, status, operation):
    logged_in.plan.append((operation, status))
    run()
    assert logged_in.plan == []
    assert len(logged_in.models) == 5


def test_a_login_that_is_not_accepted_any_more_is_one_line_and_nothing_is_changed(
    logged_in, capsys
):
    state.write(state.LOGIN, {**fake.LOGIN, "refresh_token": "Atzr|another"})
    run(status=2)
    said = capsys.readouterr().err
    assert (
        "Amazon no longer accepts the login (400); run python -m skill.deploy --login; nothing was "
        "changed" in said
    )
    assert "another" not in said


def test_a_token_that_is_refused_twice_ends_it(logged_in, capsys):
    logged_in.plan += [("get_vendor_list_v1", 401), ("get_vendor_list_v1", 401)]
    run(status=2)
    assert (
        "refused with 401: planned 401; as a test; nothing was changed" in capsys.readouterr().err
    )
    assert logged_in.tokens == 2


def test_what_is_refused_for_good_is_one_line(logged_in, capsys):
    logged_in.plan.append(("create_skill_for_vendor_v1", 400))
    run(status=2)
    assert capsys.readouterr().err.endswith(
        "error: create-skill-for-vendor was refused with 400: planned 400; as a test; nothing was "
        "changed\n"
    )
    assert logged_in.skills == {}


def test_too_many_calls_end_it_after_a_few(logged_in, capsys):
    logged_in.plan += [("list_skills_for_vendor_v1", 429)] * 9
    run(status=2)
    assert "refused with 429" in capsys.readouterr().err
    assert logged_in.names().count("list_skills_for_vendor_v1") == 4


def test_a_skill_that_was_created_without_an_answer_is_not_created_twice(logged_in):
    logged_in.plan.append(("create_skill_for_vendor_v1", "then silence"))
    run()
    assert list(logged_in.skills) == [fake.NEW_SKILL]
    assert len(logged_in.models) == 5


def test_a_request_for_a_skill_that_was_lost_changes_nothing(logged_in, capsys):
    logged_in.plan.append(("create_skill_for_vendor_v1", "silence"))
    run(status=2)
    assert "none was made; nothing was changed" in capsys.readouterr().err


def test_a_model_whose_answer_was_lost_is_sent_once_more_at_most(logged_in):
    run()
    logged_in.plan.append(("set_interaction_model_v1", "then silence"))
    run("--invocation-name", "night owl")
    assert {
        m["interactionModel"]["languageModel"]["invocationName"] for m in logged_in.models.values()
    } == {"night owl"}


def test_a_manifest_that_somebody_changed_meanwhile_is_read_again(logged_in):
    run()
    logged_in.plan.append(("update_skill_manifest_v1", 412))
    run("--endpoint", "https://alexa.example.com/")
    assert logged_in.names()[-3:].count("set_skill_enablement_v1") == 1
    assert (
        logged_in.skills[fake.NEW_SKILL]["manifest"]["apis"]["custom"]["endpoint"]["uri"]
        == "https://alexa.example.com/"
    )


def test_a_build_that_fails_is_told_with_what_is_half_done(logged_in, capsys):
    logged_in.broken["en-GB"] = "the sample is invalid"
    run(status=2)
    said = capsys.readouterr()
    assert (
        "Alexa refused en-GB: the sample is invalid; the previous version stays in use; done so "
        "far: skill" in said.err
    )
    assert "run it again to finish" in said.err
    assert "en-GB: failed\n" in said.out
    assert logged_in.enabled == set()
    logged_in.broken.clear()
    run()
    assert logged_in.enabled


def test_a_build_that_lasts_too_long_is_told(logged_in, capsys, monkeypatch):
    monkeypatch.setattr(deploy, "BUILD_SECONDS", -1.0)
    run(status=2)
    assert "manifest is still being built after" in capsys.readouterr().err


def test_a_machine_that_is_offline_is_told(amazon, capsys, monkeypatch):
    state.write(state.LOGIN, fake.LOGIN)
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    run(status=2)
    assert (
        "api.amazon.com does not answer (ProxyError): make sure this machine is online; nothing "
        "was changed" in capsys.readouterr().err
    )


def test_a_certificate_that_nobody_vouches_for_is_refused(logged_in, capsys, monkeypatch):
    """What turns verification off must not be there."""
    monkeypatch.delenv("SSL_CERT_FILE")
    run(status=2)
    assert "does not answer (SSLError)" in capsys.readouterr().err
    assert logged_in.calls == []


# --- ask -----------------------------------------------------------------------------------------


def test_ask_is_used_where_it_is_there_and_logged_in(amazon, tmp_path, capsys):
    fake.write_ask(tmp_path / "bin" / "ask", amazon, sys.executable)
    state.write(state.LOGIN, fake.LOGIN)
    run()
    assert "through ask" in capsys.readouterr().err
    assert amazon.tokens == 1, "nobody logged in but ask"
    assert len(amazon.models) == 5
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
        "en-GB, en-CA, en-AU, en-IN",
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
        "would change: a new skill, Chatty Friend, with 5 interaction models"
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
        deploy.endpoint_address(written)


@pytest.mark.parametrize(
    ("host", "kind"),
    [
        ("a.ngrok-free.app", "Wildcard"), ("a.ngrok.io", "Wildcard"), ("b-c.trycloudflare.com", "Wildcard"),
        ("ngrok.io.example.com", "Trusted"), ("alexa.example.com", "Trusted"), ("notngrok.io", "Trusted"),
    ],
)  # fmt: skip
def test_the_certificate_type_is_known_by_the_host(host, kind):
    assert deploy.certificate_of(f"https://{host}/") == kind


# --- secrets -------------------------------------------------------------------------------------


def test_a_login_is_kept_for_its_owner_alone_and_only_where_it_works(amazon, monkeypatch, capsys):
    typed = dict(
        zip(("client id: ", "client secret: ", "refresh token: "), fake.LOGIN.values(), strict=True)
    )
    monkeypatch.setattr(deploy.getpass, "getpass", lambda prompt, stream: typed[prompt])
    assert deploy.main(["--login"]) == 0
    path = state.folder() / state.LOGIN
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert ROOT not in path.parents
    assert state.read(state.LOGIN) == fake.LOGIN
    path.unlink()
    typed["refresh token: "] = "Atzr|wrong"
    assert deploy.main(["--login"]) == 2
    assert not path.exists()
    printed = capsys.readouterr()
    assert not any(
        secret in printed.out + printed.err for secret in (fake.REFRESH, fake.SECRET, "Atzr|wrong")
    )


def test_a_login_that_others_may_read_is_refused(capsys):
    state.write(state.LOGIN, fake.LOGIN).chmod(0o644)
    run(status=2)
    assert "chmod 600" in capsys.readouterr().err


@pytest.mark.parametrize(
    "text", [f'"{fake.REFRESH}', f'["{fake.REFRESH}"]', f'{{"refresh_token": ["{fake.REFRESH}"]}}']
)
def test_a_broken_login_is_named_without_its_text(text, capsys):
    path = state.write(state.LOGIN, fake.LOGIN)
    path.write_text(text, encoding="utf-8")
    run(status=2)
    said = capsys.readouterr().err
    assert f"{path} is broken" in said
    assert "cAnArY" not in said


@pytest.mark.parametrize(
    "plan", [[], [("get_skill_status_v1", 400)], [("get_vendor_list_v1", 401)] * 2]
)
def test_no_secret_is_in_logs_errors_or_process_lists(logged_in, capfd, caplog, plan):
    """A canary in the login, looked for in all that is written, and in the arguments of every
    process.
    """
    caplog.set_level(logging.DEBUG)
    logged_in.plan += plan
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    code = (
        "import logging, sys; logging.basicConfig(level=logging.DEBUG)\n"
        "from skill import deploy; deploy.ASK_AGAIN_SECONDS = 0.01\n"
        f"sys.exit(deploy.main(['--endpoint', '{ENDPOINT}']))"
    )
    seen = []
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=ROOT,
    )
    while process.poll() is None:
        for arguments in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                seen.append(arguments.read_bytes())
            except OSError:
                continue
        try:
            process.wait(0.05)
        except subprocess.TimeoutExpired:
            continue
    said = process.stdout.read()
    process.stdout.close()
    assert process.returncode == (2 if plan else 0), said
    assert "urllib3" in said, "the log is on, so that it could tell"
    everything = said + caplog.text + b"".join(seen).decode(errors="replace")
    for secret in ("cAnArY", "Atza|"):
        assert secret not in everything
