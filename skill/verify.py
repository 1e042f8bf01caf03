"""Is this request Alexa's? The only file that knows certificates.

The checks of https://developer.amazon.com/docs/alexa/custom-skills/host-a-custom-skill-as-a-web-service.html, on the
bytes as they came, before anything of them is parsed. The SDK's own verifier is not used: it parses first, and its
dependencies do not load with OpenSSL 3.0.10 and later.

Whoever is not verified yet can cost little: few chains are fetched at a time, all who need the
same one share its fetch, nobody waits longer than a fetch may take, and all that is remembered is
bounded.
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
from typing import Any, NamedTuple, TypeVar
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
_BUSY = frozenset({408, 425, 429, *range(500, 600)})  # what S3 answers when it cannot answer
_CHAIN_PATH = re.compile(r"/echo\.api/[\w./~-]+", re.ASCII)
TOLERANCE, EVENT_TOLERANCE = timedelta(seconds=150), timedelta(hours=1)
FETCH_SECONDS, FETCH_BYTES, URL_CHARACTERS = 3.0, 64 * 1024, 500
FETCHES = 4  # chains that are fetched at a time
QUEUED, TURN_SECONDS = 2, 1.0  # how many more addresses wait for their turn, and how long
RETRY_SECONDS = 0.2  # the pause before a chain is asked for once more
CACHED_LEAVES, CACHED_FOR = 8, timedelta(hours=24)
# A key that is a day old is renewed, by one request a minute, which waits a second for it.
REFRESH_SECONDS, REFRESHED_EVERY = 1.0, timedelta(seconds=60)
REMEMBERED_FAILURES, FAILED_FOR = 256, timedelta(seconds=10)


class NotAlexa(ValueError):
    """A request that is not to be answered; the message says why."""


class Unavailable(NotAlexa):
    """A chain that cannot be had at the moment, through no fault of its address."""


class Leaf(NamedTuple):
    """A verified key, when to ask for it again, and until when its certificate is valid."""

    key: rsa.RSAPublicKey
    refresh: datetime
    expires: datetime


class Fetch:
    """One fetch of a chain; what it finds is there for all who wait for it."""

    def __init__(self) -> None:
        self.began = time.monotonic()
        self.outcome: Leaf | NotAlexa | None = None


class Verifier:
    """Checks requests; one for all threads."""

    def __init__(
        self,
        *,
        skill_ids: tuple[str, ...] = (),
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """Take the skill ids that are answered (none: all), and for tests the clock.

        Raises ValueError where the trust roots cannot be read.
        """
        self._skill_ids, self._now = skill_ids, now
        self._roots = verification.Store(_read_roots(roots_file()))
        self._leaves: OrderedDict[str, Leaf] = OrderedDict()
        self._failures: OrderedDict[str, datetime] = OrderedDict()
        self._fetches: dict[str, Fetch] = {}
        self._fetching = 0  # threads, those included that nobody waits for any more
        self._queued = 0
        self._changed = threading.Condition()  # guards all of these

    def answer_only(self, *skill_ids: str) -> None:
        """Answer these skills from now on, and no others."""
        self._skill_ids = skill_ids

    def check(self, body: bytes, headers: Mapping[str, str] | Headers) -> dict[str, Any]:
        """Check signature, time and skill id of a request and return its JSON.

        Raises NotAlexa where one of them is wrong or missing, Junk where the body is no request.
        """
        self._check_signature(body, headers)
        envelope = parse(body)
        self._check_time(envelope["request"])
        self._check_skill(envelope)
        return envelope

    def _check_signature(self, body: bytes, headers: Mapping[str, str] | Headers) -> None:
        try:
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
        """Return the public key of the chain at a URL, checked against the trust roots.

        A key is asked for again after a day. Where that fails it is believed as long as its
        certificate is valid.
        """
        deadline = time.monotonic() + FETCH_SECONDS
        with self._changed:
            if self._known(url) is None:
                self._await_turn(url)
            if (leaf := self._known(url)) is not None:
                return self._fresh(url, leaf).key
            fetch = self._fetch(url)
            self._changed.wait_for(lambda: fetch.outcome is not None, deadline - time.monotonic())
        if isinstance(fetch.outcome, Leaf):
            return fetch.outcome.key
        raise NotAlexa(str(fetch.outcome or "the certificate chain takes too long"))

    def _await_turn(self, url: str) -> None:
        """Wait until a chain may be fetched.

        Few wait: most of a server's threads have to stay free for those whose chain is known.
        Raises NotAlexa where it failed just now, or where too many others are being fetched.
        """
        now = self._now()
        if self._failures.get(url, now) > now:
            raise NotAlexa("the certificate chain could not be had a moment ago")
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
        """Return what is remembered of a chain, unless its certificate has expired."""
        leaf = self._leaves.get(url)
        return leaf if leaf is not None and self._now() < leaf.expires else None

    def _fresh(self, url: str, leaf: Leaf) -> Leaf:
        """Ask for a leaf again that is a day old; return the old one where that fails or lasts."""
        now = self._now()
        if now < leaf.refresh or not self._can_fetch(url):
            return leaf
        again = now + REFRESHED_EVERY
        _remember(self._leaves, url, leaf._replace(refresh=again), CACHED_LEAVES)
        fetch = self._fetch(url)
        self._changed.wait_for(lambda: fetch.outcome is not None, REFRESH_SECONDS)
        return fetch.outcome if isinstance(fetch.outcome, Leaf) else leaf

    def _can_fetch(self, url: str) -> bool:
        return self._fetching < FETCHES or self._under_way(url) is not None

    def _under_way(self, url: str) -> Fetch | None:
        """Return the fetch of a chain that others have begun, unless it takes too long already."""
        fetch = self._fetches.get(url)
        if fetch is None or time.monotonic() - fetch.began > FETCH_SECONDS:
            return None
        return fetch

    def _fetch(self, url: str) -> Fetch:
        """Join the fetch of a chain, or begin it, in a thread of its own.

        Nothing else bounds name lookup, connection, handshake and headers together.
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
        """Fetch and verify a chain, remember what came of it, and tell those who wait."""
        outcome: Leaf | NotAlexa
        try:
            outcome = self._leaf_of(fetch_chain(url))
        except NotAlexa as finding:
            outcome = finding
        except Exception as error:  # odd certificates raise more than the errors that one expects
            outcome = NotAlexa(f"the certificate chain cannot be read: {type(error).__name__}")
        with self._changed:
            self._fetching -= 1
            if self._fetches.get(url) is fetch:
                del self._fetches[url]
            if isinstance(outcome, Leaf):
                _remember(self._leaves, url, outcome, CACHED_LEAVES)
            elif not isinstance(outcome, Unavailable):
                _remember(self._failures, url, self._now() + FAILED_FOR, REMEMBERED_FAILURES)
            fetch.outcome = outcome
            self._changed.notify_all()

    def _leaf_of(self, chain: bytes) -> Leaf:
        """Verify a chain and return what is remembered of it."""
        certificate = self._verified_leaf(chain)
        public, expires = certificate.public_key(), certificate.not_valid_after_utc
        if not isinstance(public, rsa.RSAPublicKey):
            raise NotAlexa("the certificate has no RSA key")
        return Leaf(public, min(self._now() + CACHED_FOR, expires), expires)

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
        if ALEXA_HOST not in [
            name.lower() for name in names.get_values_for_type(x509.DNSName)
        ]:  # a wildcard is not enough
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
        owners = [
            owner
            for owner in (session, context and (context.get("System") or {}))
            if owner is not None
        ]
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
    """Return a certificate URL in its normal form. Raises NotAlexa where it is not Amazon's."""
    try:
        parts = urlsplit(url[: URL_CHARACTERS + 1])
        host, port = (parts.hostname or "").lower(), parts.port
    except ValueError:
        raise NotAlexa("the certificate URL is malformed") from None
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
    """Fetch a certificate chain, bounded in time and size, without redirects.

    A chain that is unavailable is asked for once more, since S3 now and then answers 503.
    Raises NotAlexa where there is none, Unavailable where there may be one a moment later.
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
            headers={"Accept-Encoding": "identity"},
        ) as response:
            if response.status_code in _BUSY:
                raise Unavailable(f"the certificate URL answered {response.status_code}")
            if response.status_code != 200:
                raise NotAlexa(f"the certificate URL answered {response.status_code}")
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
