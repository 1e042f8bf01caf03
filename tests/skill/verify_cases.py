"""Good and bad requests: the tables of test_verify.py, and how each request is made and sent."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from _pytest.mark import ParameterSet
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.x509 import Certificate
from cryptography.x509.oid import ExtendedKeyUsageOID
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from .conftest import read_request
from .rig import (
    BUSY,
    SKILL,
    Alexa,
    Authority,
    Behaviour,
    ec_key,
    in_turn,
    issue,
    now,
    ok,
    pem,
    raw,
    rsa_key,
    with_time,
)

Serves = Callable[[Authority], Behaviour]
Change = Callable[[dict[str, Any]], object]  # of an envelope
AMAZON = "https://s3.amazonaws.com/echo.api/"
SHA256 = hashes.SHA256()


def case(name: str, **changes: Any) -> ParameterSet:
    return pytest.param(changes, id=name.replace(" ", "-"))


def chain(build: Callable[[Authority], Sequence[Certificate]]) -> Serves:
    """Serve the certificates that `build` makes of the authority."""
    return lambda authority: ok(pem(*build(authority)))


def leaf(**changes: Any) -> Serves:
    return chain(lambda authority: (authority.leaf(**changes), authority.middle))


def after(behaviour: Behaviour) -> Serves:
    """Serve a good chain to whoever asks once more."""
    return lambda authority: in_turn(behaviour, ok(pem(authority.leaf(), authority.middle)))


def serve(behaviour: Behaviour) -> Serves:
    return lambda authority: behaviour


def url(old: str, new: str) -> Callable[[str], str]:
    return lambda good: good.replace(old, new, 1)


def at(path: str, change: Callable[[dict[str, Any], str], object]) -> Change:
    """Change an envelope at a path like "session.user"."""

    def changed(envelope: dict[str, Any]) -> None:
        *steps, last = path.split(".")
        node = envelope
        for step in steps:
            node = node[step]
        change(node, last)

    return changed


def without(path: str) -> Change:
    return at(path, lambda node, last: node.pop(last))


def put(path: str, value: object) -> Change:
    return at(path, lambda node, last: node.update({last: value}))


def stamp(seconds: float) -> Change:
    return at("request.timestamp", lambda node, last: node.update({last: now(seconds)}))


def both(*changes: Change) -> Change:
    return lambda envelope: [change(envelope) for change in changes]


def epoch(factor: float) -> Change:
    return at(
        "request.timestamp", lambda node, last: node.update({last: int(time.time() * factor)})
    )


def ours(envelope: dict[str, Any]) -> None:
    """The ids of a stored request are ours: a change that changes nothing."""


def send(
    server: FlaskClient,
    alexa: Alexa,
    *,
    serves: Serves | None = None,
    url: Callable[[str], str] | None = None,
    request: str = "chat",
    change: Change = ours,
    body: bytes | None = None,
    key: RSAPrivateKey | None = None,
    sign: Callable[[RSAPrivateKey, bytes], bytes] | None = None,
    tamper: Callable[[bytes], bytes] | None = None,
    headers: Mapping[str, str | None] | None = None,
    respell: Callable[[str], str] | None = None,
) -> TestResponse:
    """Post a request as Alexa would, but for what a case changes."""
    address = alexa.publish(serves(alexa.authority) if serves else None)
    envelope = with_time(read_request(request))
    change(envelope)
    body = json.dumps(envelope).encode() if body is None else body
    signed = alexa.sign(body, url(address) if url else address, key=key, sign=sign)
    given = {**signed, **(headers or {})}.items()
    sent = {name: value for name, value in given if value is not None}
    if respell:
        sent["Signature-256"] = respell(sent["Signature-256"])
    return server.post(
        "/", data=tamper(body) if tamper else body, headers=sent, content_type="application/json"
    )


ID, SESSION_ID = "context.System.application.applicationId", "session.application.applicationId"


def stranger() -> tuple[Certificate, ...]:
    mallory = Authority("mallory")
    return mallory.leaf(key=rsa_key("alexa")), mallory.middle, mallory.root


GOOD = [
    case("as Alexa sends it"),
    case("host in capitals", url=url("s3.amazonaws.com", "S3.AmazonAWS.com")),
    case("scheme in capitals", url=url("https", "HTTPS")),
    case("port 443", url=url(".com/", ".com:443/")),
    case("path to normalise", url=url("/echo.api/", "/x/../echo.api/./")),
    case("root in the chain", serves=chain(lambda a: (a.leaf(), a.middle, a.root))),
    case(
        "strangers in the chain",
        serves=chain(lambda a: (a.leaf(), Authority("mallory").middle, a.middle)),
    ),
    case("leaf for several names", serves=leaf(san=("other.amazon.com", "echo-api.amazon.com"))),
    case("leaf's name in capitals", serves=leaf(san=("Echo-API.amazon.com",))),
    case("leaf that says nothing of its uses", serves=leaf(uses=None)),
    case("leaf for signatures alone", serves=leaf(uses=("digital_signature",))),
    case("leaf whose uses are not critical", serves=leaf(critical=False)),
    case(
        "text before the certificates",
        serves=lambda a: ok(b"subject=CN\n" + pem(a.leaf(), a.middle)),
    ),
    case("old signature beside the new", headers={"Signature": "anything"}),
    case("140 s ago", change=stamp(-140)),
    case("140 s ahead", change=stamp(140)),
    case("time in seconds", change=epoch(1)),
    case("time in milliseconds", change=epoch(1000)),
    case("skill event of 50 minutes ago", request="skill_disabled", change=stamp(-3000)),
    case("no session", change=without("session")),
    case("no context", change=without("context")),
    case("no user", change=both(without("session.user"), without("context.System.user"))),
    case("other content type", headers={"Content-Type": "application/x-www-form-urlencoded"}),
    case("one 503 before the chain", serves=after(raw(BUSY))),
    case("one hang-up before the chain", serves=after(raw())),
    case("chain in pieces", serves=lambda a: raw(*pieces(pem(a.leaf(), a.middle)), pause=0.05)),
]


def pieces(body: bytes) -> tuple[bytes, ...]:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body)
    return head, body[:700], body[700:]


BAD = [
    # the signature
    case("another key", key=rsa_key("mallory")),
    case("old signature only", headers={"Signature-256": None, "Signature": "YWJj"}),
    case("no signature", headers={"Signature-256": None}),
    case("empty signature", headers={"Signature-256": ""}),
    case("SHA-1", sign=lambda key, body: key.sign(body, padding.PKCS1v15(), hashes.SHA1())),
    case("SHA-512", sign=lambda key, body: key.sign(body, padding.PKCS1v15(), hashes.SHA512())),
    case(
        "PSS", sign=lambda key, body: key.sign(body, padding.PSS(padding.MGF1(SHA256), 32), SHA256)
    ),
    case(
        "truncated signature",
        sign=lambda key, body: key.sign(body, padding.PKCS1v15(), SHA256)[:-1],
    ),
    case(
        "lengthened signature",
        sign=lambda key, body: key.sign(body, padding.PKCS1v15(), SHA256) + b"\0",
    ),
    case("signature of nothing", sign=lambda key, body: key.sign(b"", padding.PKCS1v15(), SHA256)),
    case("base64 of odd length", headers={"Signature-256": "YWJjZ"}),
    case("base64 with a stranger", headers={"Signature-256": "YW!Jj"}),
    case("base64 for URLs", headers={"Signature-256": "-_-_"}),
    case("good base64 with a stranger in it", respell=lambda text: f"{text[:8]}!{text[8:]}"),
    case("good base64 with a space in it", respell=lambda text: f"{text[:8]} {text[8:]}"),
    case("signature not ASCII", headers={"Signature-256": "YWJjé"}),
    case("long signature", headers={"Signature-256": "A" * 8000}),
    # the body
    case("tampered body", tamper=lambda body: body.replace(b"movie", b"novel")),
    case("trailing newline", tamper=lambda body: body + b"\n"),
    case("shortened body", tamper=lambda body: body[:-1]),
    case("no body", tamper=lambda body: b""),
    case("signed null", body=b"null"),
    case("signed number", body=b"3"),
    case("signed list", body=b"[]"),
    case("signed empty object", body=b"{}"),
    case("signed nothing", body=b""),
    case("signed text", body=b"hello"),
    case("signed BOM", body=b"\xef\xbb\xbf{}"),
    case("signed invalid UTF-8", body=b'{"request": "\xff"}'),
    case("signed depth", body=b"[" * 100_000),
    case("signed NaN", body=b'{"request": NaN}'),
    # the leaf
    case("expired leaf", serves=leaf(days=(-10, -1))),
    case("leaf not yet valid", serves=leaf(days=(1, 10))),
    case("leaf for another name", serves=leaf(san=("evil.com",))),
    case("leaf for a longer name", serves=leaf(san=("echo-api.amazon.com.evil.com",))),
    case("leaf for no name", serves=leaf(san=())),
    case("leaf for a wildcard", serves=leaf(san=("*.amazon.com",))),
    case("leaf with an EC key", serves=lambda a: ok(pem(a.leaf(key=ec_key()), a.middle))),
    case("leaf for clients", serves=leaf(usage=ExtendedKeyUsageOID.CLIENT_AUTH)),
    case("leaf for code", serves=leaf(usage=ExtendedKeyUsageOID.CODE_SIGNING)),
    case("leaf for encryption alone", serves=leaf(uses=("key_encipherment",))),
    case(
        "leaf for data alone, not critical",
        serves=leaf(uses=("data_encipherment",), critical=False),
    ),
    case("leaf for data alone", serves=leaf(uses=("data_encipherment",))),
    case("leaf for agreement alone", serves=leaf(uses=("key_agreement",))),
    case("leaf for commitments alone", serves=leaf(uses=("content_commitment",))),
    case("leaf for revocation lists alone", serves=leaf(uses=("crl_sign",))),
    case("leaf for certificates alone", serves=leaf(uses=("key_cert_sign",))),
    case("leaf for no use at all", serves=leaf(uses=())),
    case(
        "self-signed leaf",
        serves=chain(lambda a: (issue("leaf", rsa_key("alexa"), "leaf", rsa_key("alexa")),)),
    ),
    case("untrusted root", serves=chain(lambda _: stranger())),
    case(
        "issued by a leaf",
        serves=chain(
            lambda a: (
                issue("x", rsa_key("alexa"), "leaf", rsa_key("b")),
                a.leaf(key=rsa_key("b")),
                a.middle,
            )
        ),
    ),
    case("missing intermediate", serves=chain(lambda a: (a.leaf(),))),
    case("intermediate first", serves=chain(lambda a: (a.middle, a.leaf()))),
    case("intermediate alone", serves=chain(lambda a: (a.middle,))),
    case("key of the intermediate", serves=chain(lambda a: (a.leaf(key=rsa_key("b")), a.middle))),
    # the URL
    case("no URL", headers={"SignatureCertChainUrl": None}),
    case("empty URL", url=lambda good: ""),
    case("http", url=url("https", "http")),
    case("ftp", url=url("https", "ftp")),
    case("no scheme", url=url("https:", "")),
    case("other host", url=url("s3.amazonaws.com", "evil.com")),
    case("longer host", url=url("s3.amazonaws.com", "s3.amazonaws.com.evil.com")),
    case("bucket's host", url=url("s3.amazonaws.com", "echo.s3.amazonaws.com")),
    case("host with a final dot", url=url("amazonaws.com", "amazonaws.com.")),
    case("port 8443", url=url(".com/", ".com:8443/")),
    case("port 0", url=url(".com/", ".com:0/")),
    case("port that is none", url=url(".com/", ".com:x/")),
    case("port too large", url=url(".com/", ".com:99999/")),
    case("other path", url=url("echo.api", "other.api")),
    case("path in capitals", url=url("echo.api", "Echo.API")),
    case("path that starts the same", url=url("echo.api", "echo.apis")),
    case("folder alone", url=lambda good: AMAZON),
    case("dots out of the folder", url=url("echo.api/", "echo.api/../")),
    case("encoded dots", url=url("echo.api/", "echo.api/%2e%2e/")),
    case("encoded slash", url=url("echo.api/", "echo.api%2f")),
    case("backslash", url=url("echo.api/", "echo.api/..\\")),
    case("user", url=url("https://", "https://user@")),
    case("user and password", url=url("https://", "https://s3.amazonaws.com:443@")),
    case("IPv6 that is none", url=lambda good: "https://[::1"),
    case("IPv6 around the host", url=url("s3.amazonaws.com", "[s3.amazonaws.com]")),
    case("query", url=lambda good: good + "?x=1"),
    case("fragment", url=lambda good: good + "#x"),
    case("semicolon", url=lambda good: good + ";x"),
    case("URL not ASCII", url=url("echo.api/", "echo.api/é")),
    case("long URL", url=lambda good: AMAZON + "a" * 2000),
    case("two URLs", url=lambda good: f"{good}, {good}"),
    # the fetch
    case("404", serves=serve(raw(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"))),
    case("500", serves=serve(raw(b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n"))),
    case("503 for ever", serves=serve(raw(BUSY))),
    case("429 for ever", serves=serve(raw(b"HTTP/1.1 429 Slow\r\nContent-Length: 0\r\n\r\n"))),
    case(
        "partial content",
        serves=lambda a: raw(b"HTTP/1.1 206 Partial\r\n\r\n" + pem(a.leaf(), a.middle)),
    ),
    case("empty chain", serves=serve(ok(b""))),
    case("garbage", serves=serve(ok(b"garbage"))),
    case("binary garbage", serves=serve(ok(bytes(range(256))))),
    case(
        "garbage in PEM",
        serves=serve(ok(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")),
    ),
    case("no HTTP", serves=serve(raw(b"hello"))),
    case("closed without a word", serves=serve(raw())),
    case("cut short", serves=lambda a: raw(pieces(pem(a.leaf(), a.middle))[0] + b"-----BEGIN")),
    case(
        "redirect",
        serves=serve(
            raw(
                b"HTTP/1.1 302 Found\r\nLocation: https://s3.amazonaws.com/echo.api/x\r\n"
                b"Content-Length: 0\r\n\r\n"
            )
        ),
    ),
    case("50 MB", serves=serve(ok(b"-" * (50 << 20)))),
    case(
        "50 MB without a length", serves=serve(raw(b"HTTP/1.1 200 OK\r\n\r\n", b"-" * 65536, None))
    ),
    case("silent", serves=serve(raw(b"", pause=4))),
    case(
        "slow body",
        serves=serve(raw(b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n", b"-", None, pause=0.1)),
    ),
    case("slow headers", serves=serve(raw(b"HTTP/1.1 200 OK\r\nX: ", b"-", None, pause=0.1))),
    # the time
    case("155 s ago", change=stamp(-155)),
    case("155 s ahead", change=stamp(155)),
    case("a year ago", change=stamp(-365 * 86_400)),
    case("skill event of 61 minutes ago", request="skill_disabled", change=stamp(-3660)),
    case("no zone", change=put("request.timestamp", datetime.now(UTC).isoformat()[:19])),
    case("no date", change=put("request.timestamp", "yesterday")),
    case("no time", change=without("request.timestamp")),
    case("null time", change=put("request.timestamp", None)),
    case("time that is a list", change=put("request.timestamp", [])),
    case("time that is true", change=put("request.timestamp", True)),
    case("time beyond all calendars", change=put("request.timestamp", 10**300)),
    case(
        "time at the end of the calendar",
        change=put("request.timestamp", "9999-12-31T23:59:59-23:59"),
    ),
    # the skill
    case(
        "another skill",
        change=both(put(ID, "amzn1.ask.skill.2"), put(SESSION_ID, "amzn1.ask.skill.2")),
    ),
    case("another skill in the context", change=put(ID, "amzn1.ask.skill.2")),
    case("another skill in the session", change=put(SESSION_ID, "amzn1.ask.skill.2")),
    case("skill in the session only", change=without("context.System.application")),
    case("skill in the context only", change=without("session.application")),
    case(
        "no skill",
        change=both(without("context.System.application"), without("session.application")),
    ),
    case(
        "no skill, neither context nor session", change=both(without("context"), without("session"))
    ),
    case("skill in capitals", change=put(ID, SKILL.upper())),
    case("null skill", change=put(ID, None)),
    case("skill that is a list", change=put(ID, [SKILL])),
    case("context that is a text", change=put("context", "System")),
]
