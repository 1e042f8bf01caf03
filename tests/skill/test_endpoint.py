"""What POST / refuses: junk, other methods, large bodies, and strangers."""

import json

import pytest

from app import Settings, create_app

from .conftest import REQUESTS, read_request

JUNK = [
    b"",
    b"null",
    b"[]",
    b"3",
    b'"x"',
    b"{}",
    b"true",
    b"\xff",
    b"\xef\xbb\xbf{}",
    b"[" * 100_000,
    b'{"request":' * 20_000,
]
JUNK += [
    b'{"request": 1}',
    b'{"request": []}',
    b'{"request": {}}',
    b'{"request": {"type": 5}}',
    b'{"request": {"type": null}}',
]
JUNK += [
    b'{"request": {"type": ""}}',
    b'{"request": {"type": "LaunchRequest", "x": NaN}}',
    b"request=%7B%7D",
]
JUNK += [
    b'{"request": {"type": "IntentRequest", %s}}' % part
    for part in (
        b'"intent": "x"', b'"intent": []', b'"intent": {"name": 5}', b'"intent": {"slots": []}',
        b'"locale": {}',
        b'"intent": {"slots": {"raw_input": 5}}', b'"requestId": []', b'"x": 1e999',
        b'"x": ' + b"9" * 5000,
    )
] + [
    b'{"request": {"type": "LaunchRequest"}, %s}' % part
    for part in (
        b'"session": 1', b'"session": []', b'"session": {"sessionId": {}}',
        b'"session": {"user": "x"}', b'"context": "x"',
        b'"session": {"user": {"userId": 5}}', b'"session": {"attributes": []}',
        b'"context": {"System": []}',
    )
]  # fmt: skip


@pytest.mark.parametrize(
    "content_type", ["application/json", "application/x-www-form-urlencoded", "text/html"]
)
@pytest.mark.parametrize("body", JUNK, ids=[repr(body[:70]) for body in JUNK])
def test_junk_is_refused_with_one_plain_line(client, body, content_type):
    answer = client.post("/", data=body, content_type=content_type)
    assert answer.status_code == 400
    assert answer.text.count("\n") == 1
    assert "<" not in answer.text


def test_other_methods_are_405_and_a_large_body_is_413(client):
    for method in (client.get, client.put, client.delete, client.options):
        answer = method("/")
        assert (answer.status_code, answer.text, answer.headers["Allow"]) == (
            405,
            "Method Not Allowed\n",
            "POST",
        )
    answer = client.post("/", data=b"x" * (256 * 1024 + 1), content_type="application/json")
    assert (answer.status_code, answer.text) == (413, "Request Entity Too Large\n")
    assert client.get("/other").text == "Not Found\n"


def test_a_form_content_type_does_not_hide_the_body(client):
    answer = client.post(
        "/",
        data=(REQUESTS / "launch.json").read_bytes(),
        content_type="application/x-www-form-urlencoded",
    )
    assert answer.status_code == 200


def test_slots_nested_without_end_are_refused(client):
    envelope = read_request("chat")
    envelope["request"]["intent"]["slots"]["raw_input"]["slotValue"] = "deep"
    deep = '{"type": "List", "values": [' * 400 + "]}" * 400
    answer = client.post("/", data=json.dumps(envelope).replace('"deep"', deep))
    assert (answer.status_code, answer.text) == (400, "the body is nested too deeply\n")


@pytest.mark.parametrize(
    "headers",
    [
        {"X-Forwarded-For": "1.2.3.4"},
        {"x-forwarded-proto": "https"},
        {"Forwarded": "for=1.2.3.4"},
        {"Host": "x.ngrok-free.app"},
    ],
)
def test_without_verification_nothing_forwarded_is_answered(client, headers):
    answer = client.post("/", json=read_request("launch"), headers=headers)
    assert answer.status_code == 400
    assert "only this machine" in answer.text


def test_with_verification_an_unsigned_request_is_refused(agent):
    answer = create_app(Settings(), agent).test_client().post("/", json=read_request("launch"))
    assert answer.status_code == 400
    assert agent.heard == []
