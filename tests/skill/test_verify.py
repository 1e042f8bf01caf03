"""Only Alexa gets in: good and bad requests through the whole server, which is pointed at the rig by its environment."""

import json
import threading
import time
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.x509.oid import ExtendedKeyUsageOID

from app import Settings, create_app
from skill.verify import NotAlexa, Verifier, chain_url, fetch_chain

from .conftest import read_request
from .rig import (
    BUSY,
    S3,
    SKILL,
    Authority,
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

AMAZON = "https://s3.amazonaws.com/echo.api/"
SHA256 = hashes.SHA256()


def case(name, **changes):
    return pytest.param(changes, id=name.replace(" ", "-"))


def chain(build):
    """Serve the certificates that `build` makes of the authority."""
    return lambda authority: ok(pem(*build(authority)))


def leaf(**changes):
    return chain(lambda authority: (authority.leaf(**changes), authority.middle))


def after(behaviour):
    """Serve a good chain to whoever asks once more."""
    return lambda authority: in_turn(behaviour, ok(pem(authority.leaf(), authority.middle)))


def serve(behaviour):
    return lambda authority: behaviour


def url(old, new):
    return lambda good: good.replace(old, new, 1)


def at(path, change):
    """Change an envelope at a path like "session.user"."""

    def changed(envelope):
        *steps, last = path.split(".")
        node = envelope
        for step in steps:
            node = node[step]
        change(node, last)

    return changed


def without(path):
    return at(path, lambda node, last: node.pop(last))


def put(path, value):
    return at(path, lambda node, last: node.update({last: value}))


def stamp(seconds):
    return at("request.timestamp", lambda node, last: node.update({last: now(seconds)}))


def both(*changes):
    return lambda envelope: [change(envelope) for change in changes]


def epoch(factor):
    return at(
        "request.timestamp", lambda node, last: node.update({last: int(time.time() * factor)})
    )


def ours(envelope):
    """The ids of a stored request are ours: a change that changes nothing."""


def send(
    server,
    alexa,
    *,
    serves=None,
    url=None,
    request="chat",
    change=ours,
    body=None,
    key=None,
    sign=None,
    tamper=None,
    headers=None,
    respell=None,
):
    """Post a request as Alexa would, but for what a case changes."""
    address = alexa.publish(serves and serves(alexa.authority))
    envelope = with_time(read_request(request))
    change(envelope)
    body = json.dumps(envelope).encode() if body is None else body
    sent = alexa.sign(body, url(address) if url else address, key=key, sign=sign) | (headers or {})
    sent = {name: value for name, value in sent.items() if value is not None}
    if respell:
        sent["Signature-256"] = respell(sent["Signature-256"])
    return server.post(
        "/", data=tamper(body) if tamper else body, headers=sent, content_type="application/json"
    )


ID, SESSION_ID = "context.System.application.applicationId", "session.application.applicationId"
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


def pieces(body):
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
                b"HTTP/1.1 302 Found\r\nLocation: https://s3.amazonaws.com/echo.api/x\r\nContent-Length: 0\r\n\r\n"
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


def stranger():
    mallory = Authority("mallory")
    return mallory.leaf(key=rsa_key("alexa")), mallory.middle, mallory.root


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


# --- what is remembered --------------------------------------------------------------------------------------------


@pytest.fixture
def clock():
    return [datetime.now(UTC)]


@pytest.fixture
def verify(alexa, clock):
    """Verify a good request at a URL, by a verifier whose clock the test holds; gives how often S3 was asked."""
    verifier = Verifier(now=lambda: clock[0])

    def check(address, **changes):
        stamp = clock[0].isoformat()
        body = json.dumps({"request": {"type": "LaunchRequest", "timestamp": stamp}}).encode()
        verifier.check(body, alexa.sign(body, address, **changes))
        return alexa.s3.asked.count(address.removeprefix("https://s3.amazonaws.com"))

    check.verifier = verifier
    return check


def refused(verify, address):
    with pytest.raises(NotAlexa):
        verify(address)


def test_a_chain_is_fetched_once_a_day_however_its_address_is_spelt(alexa, verify, clock):
    address = alexa.publish()
    for spelt in (address, address.replace("s3.a", "S3.A"), address.replace(".com", ".com:443")):
        verify(spelt)
    assert verify(address) == 1
    clock[0] += timedelta(hours=25)
    assert verify(address) == 2


def test_a_cached_leaf_is_not_believed_after_it_has_expired(alexa, verify, clock):
    address = alexa.publish(
        ok(pem(alexa.authority.leaf(days=(-1, 1 / 24)), alexa.authority.middle))
    )
    verify(address)
    clock[0] += timedelta(hours=2)
    with pytest.raises(NotAlexa, match="chain does not verify"):
        verify(address)


def test_few_leaves_are_kept(alexa, verify):
    for _ in range(12):
        verify(alexa.publish())
    assert len(verify.verifier._leaves) == 8


@pytest.mark.parametrize("behaviour", [raw(b"HTTP/1.1 404 No\r\n\r\n"), ok(b"garbage")])
def test_an_address_that_has_no_chain_is_left_alone_for_a_moment(alexa, verify, clock, behaviour):
    address = alexa.publish(behaviour)
    for _ in range(3):
        refused(verify, address)
    put_right(alexa, address)
    with pytest.raises(NotAlexa, match="a moment ago"):
        verify(address)
    clock[0] += timedelta(seconds=11)
    assert verify(address) == 2


@pytest.mark.parametrize("behaviour", [raw(BUSY), raw(), raw(b"hello")])
def test_what_s3_cannot_give_now_is_asked_for_again_by_the_next_request(alexa, verify, behaviour):
    """One 503 was remembered for a minute, in which all of Alexa's requests were refused."""
    address = alexa.publish(behaviour)
    refused(verify, address)
    put_right(alexa, address)
    verify(address)


def put_right(alexa, address):
    alexa.s3.chains[address.removeprefix("https://s3.amazonaws.com")] = ok(alexa.good_chain)


def test_a_bounded_number_of_failures_is_remembered(alexa, verify):
    for number in range(300):
        refused(verify, f"{AMAZON}{number}.pem")
    assert len(verify.verifier._failures) == 256


def at_once(count, work):
    """Do something in several threads at the same time, and return what each of them got."""
    got, start = [], threading.Barrier(count)

    def one(number):
        start.wait()
        got.append(work(number))

    threads = [threading.Thread(target=one, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return got


def outcome(verify, address):
    try:
        return verify(address) and "answered"
    except NotAlexa as finding:
        return str(finding)


def fetching():
    return [thread.name for thread in threading.enumerate()].count("certificate chain")


class Gate:
    """An S3 that answers when it is told to."""

    def __init__(self, alexa):
        self.alexa, self.open, self.addresses = alexa, threading.Event(), []

    def publish(self):
        self.addresses.append(self.alexa.publish(self.behave))
        return self.addresses[-1]

    def behave(self, connection):
        self.open.wait(20)
        ok(self.alexa.good_chain)(connection)

    def waits_for(self, count):
        paths = [address.removeprefix("https://s3.amazonaws.com") for address in self.addresses]
        for _ in range(1000):
            if sum(self.alexa.s3.asked.count(path) for path in paths) >= count:
                return
            time.sleep(0.01)
        pytest.fail(f"S3 was not asked {count} times")


@pytest.mark.parametrize("count", [2, 4, 8, 30])
def test_all_first_requests_at_once_share_one_fetch_and_are_answered(server, alexa, count):
    """Of four genuine ones, two or three were refused, since another had the chain fetched."""
    slow = raw(*pieces(alexa.good_chain), pause=0.25)
    address = alexa.publish(slow)
    body = json.dumps(with_time(read_request("chat"))).encode()
    headers = alexa.sign(body, address)

    def post(_):
        return server.application.test_client().post("/", data=body, headers=headers).status_code

    assert at_once(count, post) == [200] * count
    assert alexa.s3.asked.count(address.removeprefix("https://s3.amazonaws.com")) == 1


def test_all_who_wait_for_a_chain_that_does_not_verify_hear_why(alexa, verify):
    address = alexa.publish(raw(*pieces(pem(*stranger())), pause=0.25))
    said = at_once(6, lambda _: outcome(verify, address))
    assert set(said) == {"the certificate chain does not verify"}
    assert alexa.s3.asked.count(address.removeprefix("https://s3.amazonaws.com")) == 1


def test_strangers_have_few_chains_fetched_at_a_time_while_alexa_is_answered(alexa, verify):
    cached, gate = alexa.publish(), Gate(alexa)
    verify(cached)
    before = fetching()
    strangers = [threading.Thread(target=outcome, args=(verify, gate.publish())) for _ in range(4)]
    for stranger_ in strangers:
        stranger_.start()
    gate.waits_for(4)
    refusals = at_once(20, lambda _: outcome(verify, alexa.publish()))
    assert set(refusals) == {"too many other certificate chains are being fetched; try again"}
    assert fetching() - before == 4
    assert verify(cached) == 1
    gate.open.set()
    for stranger_ in strangers:
        stranger_.join()
    assert verify(alexa.publish()) == 1


def test_a_first_request_waits_for_its_turn_among_strangers(alexa, verify):
    gate = Gate(alexa)
    strangers = [threading.Thread(target=outcome, args=(verify, gate.publish())) for _ in range(4)]
    for stranger_ in strangers:
        stranger_.start()
    gate.waits_for(4)
    got = []
    genuine = threading.Thread(target=lambda: got.append(outcome(verify, alexa.publish())))
    genuine.start()
    for _ in range(1000):
        if verify.verifier._queued:
            break
        time.sleep(0.01)
    gate.open.set()
    for thread in (*strangers, genuine):
        thread.join()
    assert got == ["answered"]


# --- while S3 is down ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "outage",
    [
        raw(BUSY),
        raw(),
        raw(b"HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n"),
        ok(b"garbage"),
        ok(pem(*stranger())),
    ],
    ids=["503", "hang up", "404", "garbage", "stranger"],
)
def test_a_key_whose_certificate_is_valid_outlives_an_outage(alexa, verify, clock, outage):
    """A key was thrown away after a day, so that an outage of S3 refused all of Alexa's requests."""
    path = (address := alexa.publish()).removeprefix("https://s3.amazonaws.com")
    verify(address)
    alexa.s3.chains[path] = outage
    clock[0] += timedelta(hours=25)
    tried = verify(address)
    assert tried > 1
    assert verify(address) == verify(address) == tried  # the next try is a minute later
    clock[0] += timedelta(days=7)
    assert verify(address) > tried
    alexa.s3.chains[path] = ok(alexa.good_chain)
    clock[0] += timedelta(seconds=61)
    again = verify(address)
    clock[0] += timedelta(hours=23)
    assert verify(address) == again
    clock[0] += timedelta(days=1)
    refused(
        verify, address
    )  # ten days are over: the certificate has expired, and S3 has the same one


def test_a_key_whose_certificate_is_valid_outlives_an_s3_that_says_nothing(alexa, verify, clock):
    verify(address := alexa.publish())
    alexa.s3.chains[address.removeprefix("https://s3.amazonaws.com")] = Gate(alexa).behave
    clock[0] += timedelta(hours=25)
    assert verify(address) == verify(address) == 2


def test_a_renewed_chain_replaces_the_key_that_is_a_day_old(alexa, verify, clock):
    path = (address := alexa.publish()).removeprefix("https://s3.amazonaws.com")
    verify(address)
    renewed = rsa_key("renewed")
    alexa.s3.chains[path] = ok(pem(alexa.authority.leaf(key=renewed), alexa.authority.middle))
    with pytest.raises(NotAlexa, match="signature"):
        verify(address, key=renewed)
    clock[0] += timedelta(hours=25)
    assert verify(address, key=renewed) == 2
    with pytest.raises(NotAlexa, match="signature"):
        verify(address)


def test_only_one_request_waits_while_a_key_is_asked_for_again(alexa, verify, clock):
    address, gate = alexa.publish(), Gate(alexa)
    verify(address)
    alexa.s3.chains[address.removeprefix("https://s3.amazonaws.com")] = gate.behave
    gate.addresses.append(address)
    clock[0] += timedelta(hours=25)
    first = threading.Thread(target=verify, args=(address,))
    first.start()
    gate.waits_for(2)
    assert verify(address) == 2
    gate.open.set()
    first.join()


@pytest.mark.parametrize(
    "behaviour",
    [
        raw(b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n", b"-", None, pause=0.1),
        raw(b"HTTP/1.1 200 OK\r\n\r\n", b"-" * 9000, None),
    ],
)
def test_a_fetch_that_was_given_up_ends(alexa, verify, behaviour):
    refused(verify, alexa.publish(behaviour))
    time.sleep(0.5)
    assert verify(alexa.publish()) == 1


@pytest.mark.parametrize(
    "behaviour", [ok(b"-" * 65_537), raw(b"HTTP/1.1 200 OK\r\n\r\n", b"-" * 65_537)]
)
def test_more_than_64_kb_is_not_read(alexa, behaviour):
    with pytest.raises(NotAlexa, match="too large"):
        fetch_chain(alexa.publish(behaviour))
    assert len(fetch_chain(alexa.publish(ok(b"-" * 65_536)))) == 65_536


# --- settings ------------------------------------------------------------------------------------------------------


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
