"""Verify that a request comes from Alexa. Only this file knows about certificates.

It makes the checks of
https://developer.amazon.com/docs/alexa/custom-skills/host-a-custom-skill-as-a-web-service.html
on the raw bytes, before parsing any of them. The SDK's own verifier is not used: it parses first,
and its dependencies do not load with OpenSSL 3.0.10 and later.

Unverified callers must not be able to tie up the server. So only a few chains are fetched at a
time, requests that need the same chain share its fetch, no request waits longer than a fetch may
take, and all memory is bounded.
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
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import certifi
import requests
import urllib3
from cachetools import FIFOCache, TTLCache
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.utils import CryptographyDeprecationWarning
from cryptography.x509 import verification
from werkzeug.datastructures import Headers

from skill.envelope import moment, parse

ALEXA_HOST = "echo-api.amazon.com"  # the certificate must be for this host
CHAIN_HOST = "s3.amazonaws.com"  # the chain must come from this host, and from this path
# Nothing but letters, digits and these: no "%2e%2e" or "\\" that S3 might read as another path.
_CHAIN_PATH = re.compile(r"/echo\.api/[\w./~-]+", re.ASCII)
_BUSY = frozenset({408, 425, 429, *range(500, 600)})  # statuses after which to try again
TOLERANCE, EVENT_TOLERANCE = timedelta(seconds=150), timedelta(hours=1)
FETCH_SECONDS, FETCH_BYTES, URL_CHARACTERS = 3.0, 64 * 1024, 500
FETCHES = 4  # how many chains are fetched at the same time
QUEUED, TURN_SECONDS = 2, 1.0  # how many more requests wait for their turn, and how long
RETRY_SECONDS = 0.2  # the pause before the one retry
CACHED_LEAVES, CACHED_FOR = 8, timedelta(hours=24)
# A key that is a day old is renewed: one request per minute tries, and waits a second for it.
REFRESH_SECONDS, REFRESHED_EVERY = 1.0, timedelta(seconds=60)
REMEMBERED_FAILURES, FAILED_FOR = 256, timedelta(seconds=10)


class NotAlexa(ValueError):
    """A request that must not be answered; the message says why."""


class Unavailable(NotAlexa):
    """A chain that cannot be fetched at the moment, although its address may be right."""


class Leaf(NamedTuple):
    """A verified key, when to fetch it again, and when its certificate expires."""

    key: rsa.RSAPublicKey
    refresh: datetime
    expires: datetime


class Fetch:
    """One fetch of a chain, whose outcome all waiting requests share."""

    def __init__(self) -> None:
        self.began = time.monotonic()
        self.outcome: Leaf | NotAlexa | None = None


class Verifier:
    """Checks requests. All threads share one verifier."""

    def __init__(
        self,
        *,
        skill_ids: tuple[str, ...] = (),
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """Take the ids of the skills to answer (none: all) and, for tests, the clock.

        Raises ValueError if the trust roots cannot be read.
        """
        self._skill_ids, self._now = skill_ids, now
        self._roots = verification.Store(_read_roots(roots_file()))
        self._leaves: FIFOCache[str, Leaf] = FIFOCache(CACHED_LEAVES)
        self._failures: TTLCache[str, None] = TTLCache(
            REMEMBERED_FAILURES,
            FAILED_FOR.total_seconds(),
            timer=lambda: self._now().timestamp(),
        )
        self._fetches: dict[str, Fetch] = {}
        self._fetching = 0  # fetching threads, including those that nobody waits for any more
        self._queued = 0
        self._changed = threading.Condition()  # guards all of the above

    def answer_only(self, *skill_ids: str) -> None:
        """Answer only these skills from now on."""
        self._skill_ids = skill_ids

    def remember(self, url: str, leaf: Leaf) -> None:
        """Keep the verified leaf of a chain, so that the chain need not be fetched."""
        with self._changed:
            self._leaves[url] = leaf

    def check(self, body: bytes, headers: Mapping[str, str] | Headers) -> dict[str, Any]:
        """Check a request's signature, time and skill id, and return its JSON.

        Raises NotAlexa if one of them is wrong or missing, and Junk if the body is not a request.
        """
        # First, on the bytes as they came: the parser must see nothing that Alexa did not sign.
        self._check_signature(body, headers)
        envelope = parse(body)
        self._check_time(envelope["request"])
        self._check_skill(envelope)
        return envelope

    def _check_signature(self, body: bytes, headers: Mapping[str, str] | Headers) -> None:
        try:
            # Without `validate`, characters that are not base64 would be skipped silently.
            signature = base64.b64decode(
                headers.get("Signature-256", "").encode("ascii"), validate=True
            )
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
        """Return the public key of the chain at a URL, verified against the trust roots.

        A key is fetched again after a day. If that fails, the old one is used until its
        certificate expires.
        """
        # The lock is held except during wait_for, so that what was looked up stays true.
        deadline = time.monotonic() + FETCH_SECONDS
        with self._changed:
            if self._known(url) is None:
                self._await_turn(url)
            # Look again, since another request may have fetched it during the wait.
            if (leaf := self._known(url)) is not None:
                return self._fresh(url, leaf).key
            fetch = self._fetch(url)
            self._changed.wait_for(lambda: fetch.outcome is not None, deadline - time.monotonic())
        if isinstance(fetch.outcome, Leaf):
            return fetch.outcome.key
        raise NotAlexa(str(fetch.outcome or "the certificate chain takes too long"))

    def _await_turn(self, url: str) -> None:
        """Wait until a chain may be fetched.

        Only a few requests wait: most of the server's threads must stay free for requests whose
        chain is known. Raises NotAlexa if the chain failed a moment ago, or if too many others are
        being fetched.
        """
        if url in self._failures:
            raise NotAlexa("the certificate chain could not be fetched a moment ago")
        if self._can_fetch(url):
            return
        has_turn = False
        if self._queued < QUEUED:
            self._queued += 1
            has_turn = self._changed.wait_for(lambda: self._can_fetch(url), TURN_SECONDS)
            self._queued -= 1
        if not has_turn:
            raise NotAlexa("too many other certificate chains are being fetched; try again")

    def _known(self, url: str) -> Leaf | None:
        """Return a chain's remembered leaf, unless its certificate has expired."""
        leaf = self._leaves.get(url)
        return leaf if leaf is not None and self._now() < leaf.expires else None

    def _fresh(self, url: str, leaf: Leaf) -> Leaf:
        """Renew a leaf that is a day old; return the old one if that fails or takes too long."""
        now = self._now()
        if now < leaf.refresh or not self._can_fetch(url):
            return leaf
        # Noted before the attempt, so that the other requests of this minute do not try as well.
        again = now + REFRESHED_EVERY
        self._leaves[url] = leaf._replace(refresh=again)
        fetch = self._fetch(url)
        self._changed.wait_for(lambda: fetch.outcome is not None, REFRESH_SECONDS)
        return fetch.outcome if isinstance(fetch.outcome, Leaf) else leaf

    def _can_fetch(self, url: str) -> bool:
        return self._fetching < FETCHES or self._under_way(url) is not None

    def _under_way(self, url: str) -> Fetch | None:
        """Return the running fetch of a chain, unless it is already taking too long."""
        fetch = self._fetches.get(url)
        if fetch is None or time.monotonic() - fetch.began > FETCH_SECONDS:
            return None
        return fetch

    def _fetch(self, url: str) -> Fetch:
        """Join the running fetch of a chain, or start one in a new thread.

        It needs a thread because only waiting for one can bound name lookup, connection, handshake
        and headers together; the timeout of `requests` bounds each part separately.
        """
        fetch = self._under_way(url)
        if fetch is None:
            fetch = Fetch()
            work = threading.Thread(target=self._run, args=(url, fetch), name="certificate chain")
            work.daemon = True
            work.start()
            self._fetches[url] = fetch
            self._fetching += 1
        return fetch

    def _run(self, url: str, fetch: Fetch) -> None:
        """Fetch and verify a chain, remember the outcome, and wake the waiting requests."""
        outcome: Leaf | NotAlexa
        try:
            outcome = self._leaf_of(fetch_chain(url))
        except NotAlexa as finding:
            outcome = finding
        except Exception as error:  # malformed certificates raise more than the documented errors
            outcome = NotAlexa(f"the certificate chain cannot be read: {type(error).__name__}")
        with self._changed:
            # A fetch that took too long may have been replaced; its successor must stay registered.
            self._fetching -= 1
            if self._fetches.get(url) is fetch:
                del self._fetches[url]
            if isinstance(outcome, Leaf):
                self._leaves[url] = outcome
            # An outage of S3 is not remembered: the next request may find it over.
            elif not isinstance(outcome, Unavailable):
                self._failures[url] = None
            fetch.outcome = outcome
            self._changed.notify_all()

    def _leaf_of(self, chain: bytes) -> Leaf:
        """Verify a chain and return its leaf."""
        certificate = self._verified_leaf(chain)
        public, expires = certificate.public_key(), certificate.not_valid_after_utc
        if not isinstance(public, rsa.RSAPublicKey):
            raise NotAlexa("the certificate has no RSA key")
        # The expiry is kept as well: an old key remains good for as long as its certificate.
        return Leaf(public, min(self._now() + CACHED_FOR, expires), expires)

    def _verified_leaf(self, chain: bytes) -> x509.Certificate:
        try:
            leaf, *intermediates = x509.load_pem_x509_certificates(chain)
            # This checks a server certificate's chain, dates, purpose and name, as in TLS.
            builder = verification.PolicyBuilder().store(self._roots).time(self._now())
            builder.build_server_verifier(x509.DNSName(ALEXA_HOST)).verify(leaf, intermediates)
            names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
            may_sign = _may_sign(leaf)
        except (ValueError, verification.VerificationError, x509.ExtensionNotFound):
            raise NotAlexa("the certificate chain does not verify") from None
        if not may_sign:
            raise NotAlexa("the certificate chain does not verify: its key is not for signatures")
        # The verification above would accept a wildcard; Alexa's own name must be listed.
        if ALEXA_HOST not in [name.lower() for name in names.get_values_for_type(x509.DNSName)]:
            raise NotAlexa("the certificate chain does not verify: it is for another name")
        return leaf

    def _check_time(self, request: dict[str, Any]) -> None:
        when = moment(request.get("timestamp"))
        if when is None or when.tzinfo is None:
            raise NotAlexa("the request has no timestamp with a time zone")
        tolerance = EVENT_TOLERANCE if request["type"].startswith("AlexaSkillEvent.") else TOLERANCE
        # In both directions: a request from the future could be kept and replayed later.
        if abs(self._now() - when) > tolerance:
            raise NotAlexa(f"the timestamp is more than {tolerance.seconds} s off")

    def _check_skill(self, envelope: dict[str, Any]) -> None:
        """Check the skill id in the session and in the context; events have no session."""
        if not self._skill_ids:
            return
        session, context = envelope.get("session"), envelope.get("context")
        owners = [
            owner
            for owner in (session, context and (context.get("System") or {}))
            if owner is not None
        ]
        found = [(owner.get("application") or {}).get("applicationId") for owner in owners]
        # All must name a skill of ours; otherwise a request could carry our id beside another.
        if not found or any(application not in self._skill_ids for application in found):
            raise NotAlexa("the request is for another skill")


def _may_sign(leaf: x509.Certificate) -> bool:
    """Return whether a certificate allows signatures; one that states no key usage does."""
    try:
        return leaf.extensions.get_extension_for_class(x509.KeyUsage).value.digital_signature
    except x509.ExtensionNotFound:
        return True


def chain_url(url: str) -> str:
    """Return a certificate URL in its normal form. Raises NotAlexa if it is not Amazon's."""
    try:
        # Cut first, so that a URL of megabytes costs nothing; its length is checked below.
        parts = urlsplit(url[: URL_CHARACTERS + 1])
        host, port = (parts.hostname or "").lower(), parts.port
    except ValueError:
        raise NotAlexa("the certificate URL is malformed") from None
    # ".." is resolved before the comparison, as Amazon's instructions demand.
    path = posixpath.normpath(parts.path)
    is_plain = (
        parts.username is None
        and not parts.query
        and not parts.fragment
        and len(url) <= URL_CHARACTERS
    )
    if not (
        parts.scheme == "https"
        and host == CHAIN_HOST
        and port in (None, 443)
        and _CHAIN_PATH.fullmatch(path)
        and is_plain
    ):
        raise NotAlexa("the certificate URL is not Amazon's")
    return f"https://{CHAIN_HOST}{path}"


def fetch_chain(url: str) -> bytes:
    """Return a certificate chain, fetched without redirects and bounded in time and size.

    An unavailable chain is tried once more, since S3 occasionally answers 503. Raises NotAlexa if
    there is no chain, and Unavailable if there may be one a moment later.
    """
    deadline = time.monotonic() + FETCH_SECONDS
    try:
        return _ask_for_chain(url, deadline)
    except Unavailable:
        if time.monotonic() > deadline - FETCH_SECONDS / 2:
            raise
    time.sleep(RETRY_SECONDS)
    return _ask_for_chain(url, deadline)


def _ask_for_chain(url: str, deadline: float) -> bytes:
    chain = b""
    try:
        with requests.get(
            url,
            timeout=deadline - time.monotonic(),
            allow_redirects=False,
            stream=True,
            verify=str(roots_file()),
            # No compression: a small body could expand past every bound.
            headers={"Accept-Encoding": "identity"},
        ) as response:
            if response.status_code in _BUSY:
                raise Unavailable(f"the certificate URL answered {response.status_code}")
            if response.status_code != 200:
                raise NotAlexa(f"the certificate URL answered {response.status_code}")
            # read1 returns what has arrived, so that a server that trickles is noticed in time.
            while part := response.raw.read1(FETCH_BYTES, decode_content=False):
                chain += part
                if len(chain) > FETCH_BYTES:
                    raise NotAlexa("the certificate chain is too large")
                if time.monotonic() > deadline:
                    raise Unavailable("the certificate chain takes too long")
    except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
        kind = type(error).__name__
        raise Unavailable(f"the certificate chain cannot be fetched: {kind}") from None
    return chain


def roots_file() -> Path:
    """Return the file of the trust roots: the one that SSL_CERT_FILE names, else certifi's."""
    return Path(os.environ.get("SSL_CERT_FILE") or certifi.where())


def _read_roots(path: Path) -> list[x509.Certificate]:
    try:
        with warnings.catch_warnings():  # system files hold some old roots in deprecated forms
            warnings.simplefilter("ignore", CryptographyDeprecationWarning)
            return x509.load_pem_x509_certificates(path.read_bytes())
    except (OSError, ValueError) as error:
        raise ValueError(
            f"the trust roots in {path} cannot be read ({error}); "
            "set SSL_CERT_FILE to a file of PEM certificates"
        ) from None
