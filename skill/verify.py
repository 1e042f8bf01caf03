"""Is this request Alexa's? The only file that knows certificates.

The checks of https://developer.amazon.com/docs/alexa/custom-skills/host-a-custom-skill-as-a-web-service.html, on the
bytes as they came, before anything of them is parsed. The SDK's own verifier is not used: it parses first, and its
dependencies do not load with OpenSSL 3.0.10 and later.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import posixpath
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import certifi
import requests
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509 import verification
from werkzeug.datastructures import Headers

ALEXA_HOST = "echo-api.amazon.com"  # whom the certificate must be for
CHAIN_HOST, CHAIN_FOLDER = "s3.amazonaws.com", "/echo.api/"  # where the chain must come from
TOLERANCE = timedelta(seconds=150)
FETCH_SECONDS, FETCH_BYTES = 3, 64 * 1024
CACHED_LEAVES, CACHED_FOR = 8, timedelta(hours=24)


class NotAlexa(ValueError):
    """A request that is not to be answered; the message says why."""


class Verifier:
    """Checks requests; one for all threads."""

    def __init__(
        self,
        *,
        skill_ids: tuple[str, ...] = (),
        fetch: Callable[[str], bytes] | None = None,
        roots: bytes | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """Take the skill ids that are answered (none: all), and for tests where chains, roots (PEM) and time come from."""
        self._skill_ids = skill_ids
        self._fetch = fetch or fetch_chain
        self._roots = roots
        self._now = now
        self._store: verification.Store | None = None
        self._leaves: OrderedDict[str, tuple[datetime, rsa.RSAPublicKey]] = OrderedDict()
        self._lock = threading.Lock()

    def check(self, body: bytes, headers: Mapping[str, str] | Headers) -> None:
        """Check signature, time and skill id of a request. Raises NotAlexa where one is wrong or missing."""
        self._check_signature(body, headers)
        envelope = parse(body)
        self._check_time(envelope)
        self._check_skill(envelope)

    def _check_signature(self, body: bytes, headers: Mapping[str, str] | Headers) -> None:
        try:
            signature = base64.b64decode(headers.get("Signature-256", "").encode("ascii"), validate=True)
        except (UnicodeEncodeError, binascii.Error):
            raise NotAlexa("the header Signature-256 is not base64") from None
        if not signature:
            raise NotAlexa("the header Signature-256 is missing")
        key = self._key(headers.get("SignatureCertChainUrl", ""))
        try:
            key.verify(signature, body, padding.PKCS1v15(), SHA256())
        except InvalidSignature:
            raise NotAlexa("the signature does not fit the body") from None

    def _key(self, url: str) -> rsa.RSAPublicKey:
        """Give the public key of the chain at a URL, checked against the trust roots."""
        check_chain_url(url)
        with self._lock:  # one fetch at a time: nobody can tie up more than one thread
            if url in self._leaves:
                until, key = self._leaves[url]
                if self._now() < until:
                    return key
                del self._leaves[url]
            leaf = self._verified_leaf(self._fetch(url))
            public = leaf.public_key()
            if not isinstance(public, rsa.RSAPublicKey):
                raise NotAlexa("the certificate has no RSA key")
            self._leaves[url] = (min(self._now() + CACHED_FOR, leaf.not_valid_after_utc), public)
            while len(self._leaves) > CACHED_LEAVES:
                self._leaves.popitem(last=False)
            return public

    def _verified_leaf(self, chain: bytes) -> x509.Certificate:
        try:
            leaf, *intermediates = x509.load_pem_x509_certificates(chain)
            if self._store is None:
                self._store = verification.Store(x509.load_pem_x509_certificates(self._roots or trust_roots()))
            builder = verification.PolicyBuilder().store(self._store).time(self._now())
            builder.build_server_verifier(x509.DNSName(ALEXA_HOST)).verify(leaf, intermediates)
        except (ValueError, verification.VerificationError) as error:
            raise NotAlexa(f"the certificate chain does not verify: {error}") from None
        return leaf

    def _check_time(self, envelope: dict[str, Any]) -> None:
        stamp = envelope["request"].get("timestamp")
        try:
            when = datetime.fromisoformat(stamp) if isinstance(stamp, str) else None
        except ValueError:
            when = None
        if when is None or when.tzinfo is None:
            raise NotAlexa("the request has no timestamp")
        if abs(self._now() - when) > TOLERANCE:
            raise NotAlexa(f"the timestamp is more than {TOLERANCE.seconds} s off")

    def _check_skill(self, envelope: dict[str, Any]) -> None:
        if not self._skill_ids:
            return
        found = application_ids(envelope)
        if not found or any(application not in self._skill_ids for application in found):
            raise NotAlexa("the request is for another skill")


def parse(body: bytes) -> dict[str, Any]:
    """Read a request envelope: an object with a request that has a type. Raises NotAlexa where it is something else."""
    try:
        envelope = json.loads(body.decode("utf-8"))
    except (ValueError, RecursionError):
        raise NotAlexa("the body is not JSON") from None
    request = envelope.get("request") if isinstance(envelope, dict) else None
    if not isinstance(request, dict) or not isinstance(request.get("type"), str):
        raise NotAlexa("the body is no request of Alexa's")
    assert isinstance(envelope, dict)
    return envelope


def application_ids(envelope: dict[str, Any]) -> list[object]:
    """List the skill ids that a request names, in its context and in its session."""
    found: list[object] = []
    for path in (("context", "System", "application"), ("session", "application")):
        node: Any = envelope
        for name in path:
            node = node.get(name) if isinstance(node, dict) else None
        if isinstance(node, dict):
            found.append(node.get("applicationId"))
    return found


def check_chain_url(url: str) -> None:
    """Refuse a certificate URL that is not Amazon's. Raises NotAlexa."""
    try:
        parts = urlsplit(url)
        host, port = (parts.hostname or "").lower(), parts.port
    except ValueError:
        raise NotAlexa("the certificate URL is malformed") from None
    path = posixpath.normpath(parts.path)
    plain = parts.username is None and not parts.query and not parts.fragment and "%" not in parts.path
    if not (
        parts.scheme.lower() == "https" and host == CHAIN_HOST and port in (None, 443) and path.startswith(CHAIN_FOLDER) and plain
    ):
        raise NotAlexa("the certificate URL is not Amazon's")


def fetch_chain(url: str) -> bytes:
    """Fetch a certificate chain, bounded in time and size, without redirects. Raises NotAlexa where that fails."""
    try:
        with requests.get(url, timeout=FETCH_SECONDS, allow_redirects=False, stream=True) as response:
            if response.status_code != 200:
                raise NotAlexa(f"the certificate URL answered {response.status_code}")
            chain = response.raw.read(FETCH_BYTES + 1, decode_content=True)
    except (requests.RequestException, OSError) as error:
        raise NotAlexa(f"the certificate chain cannot be fetched: {type(error).__name__}") from None
    if len(chain) > FETCH_BYTES:
        raise NotAlexa("the certificate chain is too large")
    return bytes(chain)


def trust_roots() -> bytes:
    """Read the trust roots as PEM: the file that SSL_CERT_FILE names, else certifi's."""
    return Path(os.environ.get("SSL_CERT_FILE") or certifi.where()).read_bytes()
