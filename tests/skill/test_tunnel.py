"""A tunnel through ngrok: how it opens, how its agent may fail, and a fixed domain."""

import pytest

from skill import tunnel
from skill.options import settings_of

from .ngrok import (
    CANARY,
    FAILURES,
    PUBLIC,
    WAYS,
    eror,
    refused,
    whole,
)


def test_a_tunnel_opens_and_its_address_is_returned(ngrok_agent):
    ngrok_agent()
    assert tunnel.open_tunnel(5000, seconds=20) == PUBLIC


# --- an agent that fails -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "way"),
    [
        *((code, "in its log") for code in FAILURES),
        *((code, way) for code in (105, 121, 334) for way in list(WAYS)[1:]),
    ],
)
def test_an_agent_s_failure_is_one_sentence_with_its_code_its_reason_and_what_to_do(
    ngrok_agent, code, way
):
    """Whatever the agent said, the sentence was "is its agent there"."""
    _, reason, advice = FAILURES[code]
    ngrok_agent(**WAYS[way](whole(code)))
    said = refused()
    assert said.startswith(f"ngrok's agent says ERR_NGROK_{code}: ")
    if way != "on stderr" or "\n" not in FAILURES[code][0]:
        assert reason.rstrip(";") in said
    assert advice in said
    assert "anary" not in said
    assert "203.0.113.7" not in said


ODD = {
    "no code": (
        {"lines": [eror("x509: certificate signed by unknown authority")], "ends": True},
        "signed by unknown authority",
    ),
    "an error without err": (
        {"lines": ['lvl=crit msg="cannot bind"'], "ends": True},
        "cannot bind",
    ),
    "plain words": ({"lines": ["Segmentation fault"], "ends": True}, "Segmentation fault"),
    "nothing": ({"ends": True}, "ngrok"),
    "no UTF-8": ({"bytes": [0xFF, 0xFE, 0x0A], "ends": True}, "ngrok"),
    "an odd level": ({"lines": ["lvl=basic_format msg=x"], "ends": True}, "ngrok"),
    "an API that answers a page": ({"refuses": "<html>503</html>", "status": 503}, "503"),
    "an API that answers nothing": ({"refuses": "", "status": 500}, "500"),
    "an API that answers a list": ({"refuses": "[]", "status": 400}, "400"),
    "an API that answers no JSON": ({"refuses": "fine", "status": 201}, "ngrok"),
    "an API without an address": ({"refuses": "{}", "status": 201}, "ngrok"),
    "an old agent": ({"refuses": "404 page not found", "status": 404}, "404"),
}


@pytest.mark.parametrize("name", ODD)
def test_an_agent_that_fails_oddly_is_one_sentence_too(ngrok_agent, name):
    does, told = ODD[name]
    ngrok_agent(**does)
    assert told in refused()


def test_a_silent_agent_is_given_up_in_time_and_ended_and_another_can_be_started(ngrok_agent):
    """pyngrok waited for the agent with its lock held, and the agent lived on."""
    ngrok_agent(silent=True)
    assert "did not answer within 1 s" in refused(seconds=1)
    ngrok_agent()
    assert tunnel.open_tunnel(5000, seconds=20) == PUBLIC


def test_what_a_silent_agent_has_said_before_is_told(ngrok_agent):
    ngrok_agent(lines=[eror(whole(108))], silent=True)
    assert "ERR_NGROK_108" in refused(seconds=2)


def test_an_agent_is_asked_directly_where_a_proxy_is_set(ngrok_agent, monkeypatch):
    """pyngrok asked the agent on this machine through http_proxy, for ever."""
    ngrok_agent()
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    assert tunnel.open_tunnel(5000, seconds=20) == PUBLIC


@pytest.mark.parametrize("mode", [0o644, 0o000])
def test_a_program_that_cannot_be_run_is_named(ngrok_agent, tmp_path, mode):
    ngrok_agent()
    (tmp_path / "ngrok").chmod(mode)
    assert "ngrok cannot be started (Permission denied): install it" in refused()


# --- a fixed domain ------------------------------------------------------------------------------


def test_a_fixed_domain_is_asked_for(ngrok_agent):
    ngrok_agent()
    assert (
        tunnel.open_tunnel(5000, domain="ann.ngrok-free.app", seconds=20)
        == "https://ann.ngrok-free.app"
    )


@pytest.mark.parametrize(
    "written",
    [
        "ann.ngrok-free.app",
        "https://ann.ngrok-free.app",
        "https://ann.ngrok-free.app/",
        "HTTPS://Ann.Ngrok-Free.App",
        " ann.ngrok-free.app\n",
        "ann.ngrok-free.app:443",
        "ann.ngrok-free.app.",
    ],
)
def test_a_domain_is_taken_as_it_is_copied(monkeypatch, written):
    monkeypatch.delenv("NGROK_DOMAIN", raising=False)
    assert settings_of(["--domain", written]).domain == "ann.ngrok-free.app"
    assert settings_of(["--domain", written]).tunnel == "ngrok"
    monkeypatch.setenv("NGROK_DOMAIN", written)
    assert settings_of(["--tunnel", "ngrok"]).domain == "ann.ngrok-free.app"
    assert (
        settings_of(["--tunnel", "ngrok", "--domain", "bob.ngrok-free.app"]).domain
        == "bob.ngrok-free.app"
    )


@pytest.mark.parametrize(
    "written",
    [
        "http://ann.ngrok-free.app",
        "https://ann.ngrok-free.app/skill",
        "ann.ngrok-free.app/skill",
        "ann.ngrok-free.app:8080",
        "ann.ngrok-free.app:x",
        "ann.ngrok-free.app?x=1",
        "ann@ngrok-free.app",
        "*.ngrok-free.app",
        "ann",
        "localhost",
        "203.0.113.7",
        "[::1",
        "ann ngrok-free.app",
        "-ann.ngrok-free.app",
        "ann..app",
        "a" * 300 + ".app",
        CANARY,
    ],
)
def test_what_is_no_domain_is_refused_in_one_sentence(monkeypatch, written):
    monkeypatch.setenv("NGROK_DOMAIN", written)
    assert settings_of(["--no-verify"]).domain == ""
    for arguments, name in (
        (["--tunnel", "ngrok"], "NGROK_DOMAIN"),
        ([f"--domain={written}"], "--domain"),
    ):
        with pytest.raises(ValueError, match="just a host name") as caught:
            settings_of(arguments)
        assert str(caught.value).startswith(f"{name}: ")
        assert CANARY not in str(caught.value)


def test_a_domain_without_a_tunnel_is_refused():
    for more in (["--tunnel", "none"], ["--no-verify"]):
        with pytest.raises(ValueError, match="tunnel"):
            settings_of(["--domain", "ann.ngrok-free.app", *more])
