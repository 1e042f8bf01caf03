"""Where conversations live between requests: in this process, with Alexa, or in Redis.

A store keeps bytes (made by dialogue.state.codec) for an owner, and accepts a turn only after the
previous one: if two requests of a session are answered at the same time, the second gets a
Conflict.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Protocol


class Refused(Exception):
    """The stored state cannot be continued. The message says why, without ids or words."""


class Conflict(Exception):
    """Another turn of the session was stored after this one began."""


class Unreachable(Exception):
    """The store does not answer, or accepts nothing. The message says why, without ids or words."""


ENDED = b""  # in place of a state: the session has ended
ENDED_SECONDS = 60.0  # how long the end of a session is remembered; no turn takes this long


@dataclass(frozen=True)
class Owner:
    """Whose state it is: an Alexa session, and its user ("" if unknown)."""

    session: str
    user: str = ""

    def written(self) -> bytes:
        """Return both as bytes that differ for every owner."""
        return json.dumps([self.session, self.user]).encode("ascii")


def digest(identifier: str) -> bytes:
    """Return 16 bytes that stand for an id, which is long and need not itself be stored."""
    return hashlib.blake2b(identifier.encode("utf-8", "surrogatepass"), digest_size=16).digest()


class StateStore(Protocol):
    """Keeps the state of sessions. Threads may share a store.

    limit: the largest state in bytes, or None. is_carried: whether a state travels with every
    request, so that the store itself keeps nothing. is_shared: whether other processes use the
    store, too.
    """

    limit: int | None
    is_carried: bool
    is_shared: bool

    def get(self, owner: Owner, carried: str) -> bytes | None:
        """Return the state of an owner, None if there is none, or ENDED after `end`.

        carried: what the last `put` returned. Raises Refused or Unreachable.
        """
        ...

    def put(self, owner: Owner, state: bytes, *, turn: int, reopens: bool = False) -> str:
        """Replace the state of the previous turn, and return what the client must carry.

        turn: counted from 1. reopens: the turn began after its session had ended, and continues it
        all the same. Raises Conflict or Unreachable.
        """
        ...

    def check(self) -> None:
        """Check that the store can be used. Raises Unreachable."""
        ...

    def forget(self, owner: Owner) -> None:
        """Drop the state of an owner. Raises Unreachable."""
        ...

    def end(self, owner: Owner) -> None:
        """Drop the state of a session that has ended. Raises Unreachable.

        If one of its turns is being answered meanwhile, the `put` of that turn raises Conflict.
        """
        ...

    def forget_user(self, user: str) -> None:
        """Drop the state of all of a user's sessions. Raises Unreachable."""
        ...
