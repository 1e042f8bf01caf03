"""Encrypt and authenticate state that leaves this process: AES-256-GCM, by cryptography.

version (1 byte), nonce (12), and the ciphertext of the sealing time and the state. The key is
derived from the secret key and the owner, and the owner is authenticated, too.
"""

from __future__ import annotations

import base64
import binascii
import os
import struct
import time
from collections.abc import Callable, Sequence

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from dialogue.state import Owner, Refused

VERSION = b"\x01"
KEY_BYTES, NONCE_BYTES, TAG_BYTES = 32, 12, 16
SECONDS = 3600.0  # how long a sealed state is valid
AHEAD_SECONDS = 300.0  # how far the sealing machine's clock may be ahead of ours
_TIME = struct.Struct(">Q")  # milliseconds since 1970
OVERHEAD = len(VERSION) + NONCE_BYTES + _TIME.size + TAG_BYTES  # bytes that sealing adds


class Seal:
    """Seals state for its owner, and opens it again."""

    def __init__(
        self,
        keys: Sequence[bytes],
        *,
        seconds: float | None = SECONDS,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Take the secret keys: the first one seals, any of them opens.

        seconds: how long a sealed state is valid, or None for ever. clock: seconds since 1970.
        """
        self._keys, self._seconds, self._clock = tuple(keys), seconds, clock

    def seal(self, state: bytes, owner: Owner) -> bytes:
        """Encrypt and authenticate a state along with the time."""
        nonce, sealed_at = os.urandom(NONCE_BYTES), _TIME.pack(max(0, int(self._clock() * 1000)))
        cipher = _cipher(self._keys[0], owner)
        return VERSION + nonce + cipher.encrypt(nonce, sealed_at + state, VERSION + owner.written())

    def open(self, sealed: bytes, owner: Owner) -> bytes:
        """Return the state.

        Raises Refused if it was sealed for another owner or with another key, was tampered with, is
        too old, or comes from the future, for example because a clock was set back.
        """
        if sealed[:1] != VERSION:
            raise Refused("its seal is of another version")
        nonce, ciphertext = sealed[1 : 1 + NONCE_BYTES], sealed[1 + NONCE_BYTES :]
        for key in self._keys:
            try:
                opened = _cipher(key, owner).decrypt(nonce, ciphertext, VERSION + owner.written())
            except (InvalidTag, ValueError):  # ValueError if the nonce is too short
                continue
            if self._seconds is not None:
                age = self._clock() - _TIME.unpack_from(opened)[0] / 1000
                if age > self._seconds:
                    raise Refused("its state is too old")
                if age < -AHEAD_SECONDS:
                    raise Refused("its state was sealed later than now; was a clock set back?")
            return opened[_TIME.size :]
        raise Refused("its state is another session's, user's or key's, or was tampered with")


def keys_of(text: str) -> tuple[bytes, ...]:
    """Return the keys in STATE_KEY, each 32 bytes as base64, comma-separated; none if it is "".

    Raises ValueError, without quoting the keys.
    """
    parts = [part.strip() for part in text.split(",") if part.strip()]
    keys = []
    for number, part in enumerate(parts, start=1):
        try:
            key = base64.b64decode(part.replace("-", "+").replace("_", "/"), validate=True)
        except (binascii.Error, ValueError):
            key = b""
        if len(key) != KEY_BYTES:
            raise ValueError(
                f"STATE_KEY: key {number} of {len(parts)} is not 32 bytes as base64; make one "
                "with: openssl rand -base64 32"
            )
        keys.append(key)
    return tuple(keys)


def new_key() -> bytes:
    """Make a secret key."""
    return os.urandom(KEY_BYTES)


def _cipher(key: bytes, owner: Owner) -> AESGCM:
    """Derive the key of an owner, so that every session has its own nonces."""
    derived = HKDF(SHA256(), KEY_BYTES, salt=None, info=b"voice-skill state" + VERSION)
    return AESGCM(derived.derive(key + owner.written()))
