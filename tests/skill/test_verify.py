"""Only Alexa gets in: good and bad requests through the whole server, which is pointed at the rig
by its environment.
"""

import json
import time

import pytest

from app import Settings, create_app
from skill.verify import NotAlexa, Verifier, chain_url

from .rig import (
    S3,
    SKILL,
    Authority,
    raw,
)
from .verify_cases import (
    AMAZON,
    BAD,
    GOOD,
    ID,
    put,
    send,
    serve,
)


def test_the_table_is_as_long_as_it_should_be():
    assert len(GOOD) >= 8
    assert len(BAD) >= 80


@pytest.mark.parametrize("changes", GOOD)
def test_a_request_of_alexas_passes(server, alexa, changes):
    answer = send(server, alexa, **changes)
    assert answer.status_code == 200, answer.text
    assert json.loads(answer.text)["version"] == "1.0"


@pytest.mark.parametrize("changes", BAD)
def test_what_is_not_alexas_is_refused_with_one_plain_line_in_time(server, alexa, agent, changes):
    start = time.monotonic()
    answer = send(server, alexa, **changes)
    assert answer.status_code == 400
    assert answer.mimetype == "text/plain"
    assert answer.text.count("\n") == 1
    assert "<" not in answer.text
    assert agent.heard == []
    assert time.monotonic() - start < 3.9


def test_a_refused_connection_is_a_refusal(server, alexa, monkeypatch):
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    assert send(server, alexa).status_code == 400


def test_a_redirect_is_not_followed_and_s3_is_the_only_host_asked(server, alexa):
    alexa.s3.asked.clear()
    send(
        server,
        alexa,
        serves=serve(
            raw(b"HTTP/1.1 302 Found\r\nLocation: /echo.api/other.pem\r\nContent-Length: 0\r\n\r\n")
        ),
    )
    assert len(alexa.s3.asked) == 1
    assert set(alexa.s3.connected) == {"s3.amazonaws.com:443"}


def test_a_server_that_is_not_s3_is_not_asked_for_a_chain(server, alexa, monkeypatch, tmp_path):
    """Its TLS certificate leads to a root that is not trusted."""
    with S3(Authority("mallory"), tmp_path) as impostor:
        monkeypatch.setenv("https_proxy", impostor.environment["https_proxy"])
        assert send(server, alexa).status_code == 400
        assert impostor.asked == []
        impostor.shutdown()


# --- settings
# -------------------------------------------------------------------------------------------------


def test_requests_of_several_skills_are_answered(alexa, agent):
    server = create_app(Settings(skill_ids=("amzn1.ask.skill.2", SKILL)), agent).test_client()
    assert send(server, alexa).status_code == 200
    assert send(server, alexa, change=put(ID, "amzn1.ask.skill.2")).status_code == 200
    assert send(server, alexa, change=put(ID, "amzn1.ask.skill.3")).status_code == 400


def test_trust_roots_that_cannot_be_read_are_named(monkeypatch, tmp_path):
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "nothing.pem"))
    with pytest.raises(ValueError, match="SSL_CERT_FILE"):
        Verifier()


def test_without_ssl_cert_file_the_roots_are_certifis(monkeypatch):
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    assert Verifier()


def test_a_long_certificate_url_is_refused_before_anything_is_fetched():
    assert chain_url(AMAZON + "a" * 400)
    with pytest.raises(NotAlexa, match="not Amazon's"):
        chain_url(AMAZON + "a" * 500)


def test_a_chain_url_is_given_in_its_normal_form():
    assert chain_url("https://S3.amazonaws.com:443/x/../echo.api/./a.pem") == f"{AMAZON}a.pem"
