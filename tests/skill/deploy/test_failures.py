"""What a deployment does when Amazon refuses, is silent or fails a build."""

import pytest

from skill import deployment, state

from .. import amazon as fake
from .conftest import OURS, run


@pytest.mark.parametrize("status", [401, 409, 429, 500, 503, "silence"])
@pytest.mark.parametrize(
    "operation", ["get_vendor_list_v1", "set_interaction_model_v1", "get_skill_status_v1"]
)
def test_what_is_refused_for_now_is_tried_again(logged_in, status, operation):
    logged_in.plan.append((operation, status))
    run()
    assert logged_in.plan == []
    assert len(logged_in.models) == len(OURS.locales)


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
    assert len(logged_in.models) == len(OURS.locales)


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
    monkeypatch.setattr(deployment, "BUILD_SECONDS", -1.0)
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
