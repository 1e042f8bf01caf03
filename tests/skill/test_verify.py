"""Only Alexa gets in: a test CA issues what Amazon would, and everything that Amazon would not."""

import base64
import json
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from skill.verify import NotAlexa, Verifier, check_chain_url, fetch_chain

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
URL = "https://s3.amazonaws.com/echo.api/echo-api-cert-12.pem"
SKILL = "amzn1.ask.skill.1"


def name(text):
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def issue(
    subject,
    key,
    issuer,
    issuer_key,
    *,
    ca=False,
    san=("echo-api.amazon.com",),
    days=(-10, 10),
    usage=ExtendedKeyUsageOID.SERVER_AUTH,
):
    builder = (
        x509.CertificateBuilder()
        .subject_name(name(subject))
        .issuer_name(name(issuer))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW + timedelta(days=days[0]))
        .not_valid_after(NOW + timedelta(days=days[1]))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    if ca:
        use = dict.fromkeys(
            ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement"), False
        )
        use |= {"key_cert_sign": True, "crl_sign": True, "encipher_only": False, "decipher_only": False}
        builder = builder.add_extension(x509.KeyUsage(**use), critical=True)
    else:
        builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        if san:
            builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(host) for host in san]), critical=False)
    return builder.sign(issuer_key, hashes.SHA256())


class Authority:
    """A root, an intermediate and a good leaf."""

    def __init__(self):
        self.root_key, self.middle_key, self.leaf_key = (rsa.generate_private_key(65537, 2048) for _ in range(3))
        self.root = issue("root", self.root_key, "root", self.root_key, ca=True, days=(-100, 100))
        self.middle = issue("middle", self.middle_key, "root", self.root_key, ca=True, days=(-50, 50))

    def leaf(self, key=None, **changes):
        return issue("leaf", key or self.leaf_key, "middle", self.middle_key, **changes)

    def chain(self, *certificates):
        return b"".join(certificate.public_bytes(Encoding.PEM) for certificate in certificates)


@pytest.fixture(scope="module")
def authority():
    return Authority()


@pytest.fixture
def alexa(authority):
    """Send a request as Alexa would, but for what a test changes; returns how many chains were fetched."""

    def send(
        *,
        chain=None,
        key=None,
        url=URL,
        stamp=NOW,
        skill=SKILL,
        session_skill=...,
        now=NOW,
        verifier=None,
        tamper=None,
        headers=None,
        sign=None,
    ):
        chain = authority.chain(authority.leaf(), authority.middle) if chain is None else chain
        fetched = []

        def fetch(asked):
            fetched.append(asked)
            return chain

        verifier = verifier or Verifier(skill_ids=(SKILL,), fetch=fetch, roots=authority.chain(authority.root), now=lambda: now)
        request = {"type": "LaunchRequest", "requestId": "r"}
        if stamp is not None:
            request["timestamp"] = stamp if isinstance(stamp, str) else stamp.isoformat().replace("+00:00", "Z")
        envelope = {"version": "1.0", "request": request}
        if skill is not None:
            envelope["context"] = {"System": {"application": {"applicationId": skill}}}
        if session_skill is not ...:
            envelope["session"] = {"application": {"applicationId": session_skill}}
        body = json.dumps(envelope).encode()
        key = key or authority.leaf_key
        signature = sign(key, body) if sign else key.sign(body, padding.PKCS1v15(), hashes.SHA256())
        sent = {"Signature-256": base64.b64encode(signature).decode(), "SignatureCertChainUrl": url, **(headers or {})}
        verifier.check(tamper(body) if tamper else body, {key: value for key, value in sent.items() if value is not None})
        return verifier, fetched

    return send


def test_a_request_of_alexas_passes_and_its_certificate_is_fetched_once(alexa):
    verifier, fetched = alexa()
    assert fetched == [URL]
    alexa(verifier=verifier)
    assert fetched == [URL]


def test_a_cached_certificate_is_not_used_after_it_has_expired(alexa, authority):
    clock = [NOW]
    chain = authority.chain(authority.leaf(days=(-1, 1 / 24)), authority.middle)
    verifier = Verifier(fetch=lambda url: chain, roots=authority.chain(authority.root), now=lambda: clock[0])
    alexa(verifier=verifier)
    clock[0] += timedelta(hours=2)
    with pytest.raises(NotAlexa, match="chain"):
        alexa(verifier=verifier, stamp=clock[0])


def test_few_certificates_are_kept(alexa):
    verifier, _ = alexa()
    for number in range(50):
        alexa(verifier=verifier, url=f"https://s3.amazonaws.com/echo.api/{number}.pem")
    assert len(verifier._leaves) <= 8


@pytest.mark.parametrize(
    "url", [URL.replace("s3.a", "S3.A"), URL.replace(".com/", ".com:443/"), URL.replace("echo.api/", "x/../echo.api/")]
)
def test_spellings_of_amazons_address_pass(alexa, url):
    alexa(url=url)


@pytest.mark.parametrize(
    "url",
    [
        "",
        URL.replace("https", "http"),
        URL.replace("s3.amazonaws.com", "evil.com"),
        URL.replace("s3.amazonaws.com", "s3.amazonaws.com.evil.com"),
        URL.replace("echo.api", "EcHo.aPi"),
        URL.replace("echo.api", "other"),
        URL.replace(".com/", ".com:563/"),
        URL.replace(".com/", ".com:x/"),
        URL.replace("echo.api/", "echo.api/../"),
        URL.replace("echo.api/", "echo.api/%2e%2e/"),
        URL.replace("https://", "https://user@"),
        "https://[::1",
        URL + "?x",
    ],
)
def test_another_certificate_url_is_refused_before_anything_is_fetched(url):
    with pytest.raises(NotAlexa, match="URL"):
        check_chain_url(url)


def refused(**changes):
    return pytest.param(changes, id="-".join(changes))


@pytest.mark.parametrize(
    "changes",
    [
        refused(tamper=lambda body: body + b"\n"),
        refused(tamper=lambda body: body.replace(b"Launch", b"Lunch!")),
        refused(key=rsa.generate_private_key(65537, 2048)),
        refused(headers={"Signature-256": None, "Signature": "abcd"}),
        refused(headers={"Signature-256": "not base64!"}),
        refused(headers={"Signature-256": "é"}),
        refused(headers={"Signature-256": "YWJj"}),
        refused(sign=lambda key, body: key.sign(body, padding.PSS(padding.MGF1(hashes.SHA256()), 32), hashes.SHA256())),
        refused(sign=lambda key, body: key.sign(body, padding.PKCS1v15(), hashes.SHA1())),
        refused(stamp=NOW + timedelta(seconds=151)),
        refused(stamp=NOW - timedelta(seconds=151)),
        refused(stamp="2026-06-01T12:00:00"),
        refused(stamp="yesterday"),
        refused(stamp=None),
        refused(skill="amzn1.ask.skill.2"),
        refused(skill=None),
        refused(session_skill="amzn1.ask.skill.2"),
        refused(session_skill=None),
        refused(chain=b""),
        refused(chain=b"garbage"),
        refused(chain=b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
    ],
)
def test_a_request_that_is_not_alexas_is_refused(alexa, changes):
    with pytest.raises(NotAlexa):
        alexa(**changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"days": (-10, -1)},
        {"days": (1, 10)},
        {"san": ("evil.com",)},
        {"san": ()},
        {"san": ("*.amazon.com.evil.com",)},
        {"usage": ExtendedKeyUsageOID.CLIENT_AUTH},
    ],
)
def test_a_certificate_that_is_not_for_alexa_now_is_refused(alexa, authority, changes):
    with pytest.raises(NotAlexa, match="chain does not verify"):
        alexa(chain=authority.chain(authority.leaf(**changes), authority.middle))


def test_a_chain_that_leads_to_no_trusted_root_is_refused(alexa, authority):
    other = Authority()
    self_signed = issue("leaf", authority.leaf_key, "leaf", authority.leaf_key)
    issued_by_leaf = issue("below", authority.leaf_key, "leaf", authority.leaf_key)
    for chain in (
        authority.chain(authority.leaf()),
        authority.chain(other.leaf(key=authority.leaf_key), other.middle, other.root),
        authority.chain(self_signed),
        authority.chain(issued_by_leaf, authority.leaf(), authority.middle),
    ):
        with pytest.raises(NotAlexa, match="chain does not verify"):
            alexa(chain=chain)


def test_an_elliptic_key_is_refused(alexa, authority):
    key = ec.generate_private_key(ec.SECP256R1())
    with pytest.raises(NotAlexa, match="RSA"):
        alexa(chain=authority.chain(authority.leaf(key=key), authority.middle))


def test_an_unreachable_chain_is_refused(monkeypatch):
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    with pytest.raises(NotAlexa, match="cannot be fetched"):
        fetch_chain(URL)
