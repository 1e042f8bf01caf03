"""Is this request Alexa's? The only file that knows certificates.

The checks of https://developer.amazon.com/docs/alexa/custom-skills/host-a-custom-skill-as-a-web-service.html, on the
bytes as they came, before anything of them is parsed. The SDK's own verifier is not used: it parses first, and its
dependencies do not load with OpenSSL 3.0.10 and later.

Whoever is not verified yet can cost little: one chain is fetched at a time, nobody waits for another's fetch, and all
that is remembered is bounded.
"""

from __future__ import annotations

import base64
import binascii
import os
import posixpath
import re
import threading
import time
import warnings
from collections import OrderedDict
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import certifi
import requests
import urllib3
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.utils import CryptographyDeprecationWarning
from cryptography.x509 import verification
from werkzeug.datastructures import Headers

from skill.envelope import moment, parse

T = TypeVar("T")

ALEXA_HOST = "echo-api.amazon.com"  # whom the certificate must be for
CHAIN_HOST = "s3.amazonaws.com"  # where the chain must come from, and from which folder
_CHAIN_PATH = re.compile(r"/echo\.api/[\w./~-]+", re.ASCII)
TOLERANCE, EVENT_TOLERANCE = timedelta(seconds=150), timedelta(hours=1)
FETCH_SECONDS, FETCH_BYTES, URL_CHARACTERS = 3, 64 * 1024, 500
CACHED_LEAVES, CACHED_FOR = 8, timedelta(hours=24)
REMEMBERED_FAILURES, FAILED_FOR = 256, timedelta(seconds=60)


class NotAlexa(ValueError):
    """A request that is not to be answered; the message says why."""


class Verifier:
    """Checks requests; one for all threads."""

    def __init__(self, *, skill_ids: tuple[str, ...] = (), now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        """Take the skill ids that are answered (none: all), and for tests the clock.

        Raises ValueError where the trust roots cannot be read.
        """
        self._skill_ids, self._now = skill_ids, now
        self._roots = verification.Store(_read_roots(roots_file()))
        self._leaves: OrderedDict[str, tuple[datetime, rsa.RSAPublicKey]] = OrderedDict()
        self._failures: OrderedDict[str, datetime] = OrderedDict()
        self._fetching = threading.Lock()

    def check(self, body: bytes, headers: Mapping[str, str] | Headers) -> dict[str, Any]:
        """Check signature, time and skill id of a request and give its JSON.

        Raises NotAlexa where one of them is wrong or missing, Junk where the body is no request.
        """
        self._check_signature(body, headers)
        envelope = parse(body)
        self._check_time(envelope["request"])
        self._check_skill(envelope)
        return envelope

    def _check_signature(self, body: bytes, headers: Mapping[str, str] | Headers) -> None:
        try:
            signature = base64.b64decode(headers.get("Signature-256", "").encode("ascii"), validate=True)
        except (UnicodeEncodeError, binascii.Error):
            raise NotAlexa("the header Signature-256 is not base64") from None
        if not signature:
            raise NotAlexa("the header Signature-256 is missing")
        key = self._key(chain_url(headers.get("SignatureCertChainUrl", "")))
        try:
            key.verify(signature, body, padding.PKCS1v15(), SHA256())
        except InvalidSignature:
            raise NotAlexa("the signature does not fit the body") from None

    def _key(self, url: str) -> rsa.RSAPublicKey:
        """Give the public key of the chain at a URL, checked against the trust roots."""
        now = self._now()
        until, key = self._leaves.get(url, (now, None))
        if key is not None and now < until:
            return key
        if self._failures.get(url, now) > now:
            raise NotAlexa("the certificate chain could not be had a moment ago")
        if not self._fetching.acquire(blocking=False):
            raise NotAlexa("another certificate chain is being fetched; try again")
        try:
            leaf = self._verified_leaf(self._fetch(url))
            public = leaf.public_key()
            if not isinstance(public, rsa.RSAPublicKey):
                raise NotAlexa("the certificate has no RSA key")
        except NotAlexa:
            _remember(self._failures, url, now + FAILED_FOR, REMEMBERED_FAILURES)
            raise
        _remember(self._leaves, url, (min(now + CACHED_FOR, leaf.not_valid_after_utc), public), CACHED_LEAVES)
        return public

    def _fetch(self, url: str) -> bytes:
        """Fetch a chain in a thread of its own, which releases the lock when it ends.

        Nothing else bounds name lookup, connection, handshake and headers together.
        """
        outcome: list[bytes | NotAlexa] = [NotAlexa("the certificate chain takes too long")]
        done = threading.Event()

        def fetch() -> None:
            try:
                outcome.append(fetch_chain(url))
            except NotAlexa as finding:
                outcome.append(finding)
            finally:
                self._fetching.release()
                done.set()

        threading.Thread(target=fetch, name="certificate chain", daemon=True).start()
        done.wait(FETCH_SECONDS)
        fetched = outcome[-1]
        if isinstance(fetched, NotAlexa):
            raise fetched
        return fetched

    def _verified_leaf(self, chain: bytes) -> x509.Certificate:
        try:
            leaf, *intermediates = x509.load_pem_x509_certificates(chain)
            builder = verification.PolicyBuilder().store(self._roots).time(self._now())
            builder.build_server_verifier(x509.DNSName(ALEXA_HOST)).verify(leaf, intermediates)
            names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
            may_sign = _may_sign(leaf)
        except (ValueError, verification.VerificationError, x509.ExtensionNotFound):
            raise NotAlexa("the certificate chain does not verify") from None
        if not may_sign:
            raise NotAlexa("the certificate chain does not verify: its key is not for signatures")
        if ALEXA_HOST not in [name.lower() for name in names.get_values_for_type(x509.DNSName)]:  # a wildcard is not enough
            raise NotAlexa("the certificate chain does not verify: it is for another name")
        return leaf

    def _check_time(self, request: dict[str, Any]) -> None:
        when = moment(request.get("timestamp"))
        if when is None or when.tzinfo is None:
            raise NotAlexa("the request has no timestamp with a time zone")
        tolerance = EVENT_TOLERANCE if request["type"].startswith("AlexaSkillEvent.") else TOLERANCE
        if abs(self._now() - when) > tolerance:
            raise NotAlexa(f"the timestamp is more than {tolerance.seconds} s off")

    def _check_skill(self, envelope: dict[str, Any]) -> None:
        """Check the id in the context and in the session; what is not there at all (events have no session) names none."""
        if not self._skill_ids:
            return
        session, context = envelope.get("session"), envelope.get("context")
        owners = [owner for owner in (session, context and (context.get("System") or {})) if owner is not None]
        found = [(owner.get("application") or {}).get("applicationId") for owner in owners]
        if not found or any(application not in self._skill_ids for application in found):
            raise NotAlexa("the request is for another skill")


def _may_sign(leaf: x509.Certificate) -> bool:
    """Tell whether a certificate lets its key sign. Amazon's say so; what says nothing may."""
    try:
        return leaf.extensions.get_extension_for_class(x509.KeyUsage).value.digital_signature
    except x509.ExtensionNotFound:
        return True


def chain_url(url: str) -> str:
    """Give a certificate URL in its normal form. Raises NotAlexa where it is not Amazon's."""
    try:
        parts = urlsplit(url[: URL_CHARACTERS + 1])
        host, port = (parts.hostname or "").lower(), parts.port
    except ValueError:
        raise NotAlexa("the certificate URL is malformed") from None
    path = posixpath.normpath(parts.path)
    is_plain = parts.username is None and not parts.query and not parts.fragment and len(url) <= URL_CHARACTERS
    if not (parts.scheme == "https" and host == CHAIN_HOST and port in (None, 443) and _CHAIN_PATH.fullmatch(path) and is_plain):
        raise NotAlexa("the certificate URL is not Amazon's")
    return f"https://{CHAIN_HOST}{path}"


def fetch_chain(url: str) -> bytes:
    """Fetch a certificate chain, bounded in time and size, without redirects. Raises NotAlexa where that fails."""
    deadline = time.monotonic() + FETCH_SECONDS
    chain = b""
    try:
        with requests.get(
            url,
            timeout=FETCH_SECONDS,
            allow_redirects=False,
            stream=True,
            verify=str(roots_file()),
            headers={"Accept-Encoding": "identity"},
        ) as response:
            if response.status_code != 200:
                raise NotAlexa(f"the certificate URL answered {response.status_code}")
            while part := response.raw.read1(FETCH_BYTES, decode_content=False):
                chain += part
                if len(chain) > FETCH_BYTES:
                    raise NotAlexa("the certificate chain is too large")
                if time.monotonic() > deadline:
                    raise NotAlexa("the certificate chain takes too long")
    except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
        raise NotAlexa(f"the certificate chain cannot be fetched: {type(error).__name__}") from None
    return chain


def roots_file() -> Path:
    """Tell where the trust roots are: in the file that SSL_CERT_FILE names, else certifi's."""
    return Path(os.environ.get("SSL_CERT_FILE") or certifi.where())


def _read_roots(path: Path) -> list[x509.Certificate]:
    try:
        with warnings.catch_warnings():  # systems' files hold some old roots of odd form
            warnings.simplefilter("ignore", CryptographyDeprecationWarning)
            return x509.load_pem_x509_certificates(path.read_bytes())
    except (OSError, ValueError) as error:
        raise ValueError(
            f"the trust roots in {path} cannot be read ({error}); set SSL_CERT_FILE to a file of PEM certificates"
        ) from None


def _remember(memory: OrderedDict[str, T], url: str, value: T, limit: int) -> None:
    memory[url] = value
    memory.move_to_end(url)
    while len(memory) > limit:
        memory.popitem(last=False)
