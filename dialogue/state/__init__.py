"""Where conversations live between two requests: in this process, with Alexa, or in Redis.

A store keeps bytes (made by dialogue.state.codec) for an owner, and accepts a turn only after the
one before it: if two requests of a session are answered at the same time, the second meets a
Conflict.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Protocol


class Refused(Exception):
    """What was kept cannot be continued. The message says why, without ids or words."""


class Conflict(Exception):
    """Another turn of the session was kept after this one began."""


class Unreachable(Exception):
    """The store does not answer, or accepts nothing. The message says why, without ids or words."""


ENDED = b""  # in the place of a state: the session was over
ENDED_SECONDS = 60.0  # that the end of a session is remembered; every turn ends before


@dataclass(frozen=True)
class Owner:
    """Whose state it is: a session of Alexa's, and its user ("": unknown)."""

    session: str
    user: str = ""

    def written(self) -> bytes:
        """Return both as bytes that differ for every owner."""
        return json.dumps([self.session, self.user]).encode("ascii")


def digest(identifier: str) -> bytes:
    """Return 16 bytes that stand for an id, which is long and need not be kept itself."""
    return hashlib.blake2b(identifier.encode("utf-8", "surrogatepass"), digest_size=16).digest()


class StateStore(Protocol):
    """Keeps the state of sessions. Threads may share one.

    limit: the largest state in bytes, or None. is_carried: whether a state travels with every
    request, so that the store itself keeps nothing. is_shared: whether other processes use the
    store, too.
    """

    limit: int | None
    is_carried: bool
    is_shared: bool

    def get(self, owner: Owner, carried: str) -> bytes | None:
        """Return the state of an owner, None if there is none, or ENDED after `end`.

        carried: what `put` returned last. Raises Refused or Unreachable.
        """
        ...

    def put(self, owner: Owner, state: bytes, *, turn: int, reopens: bool = False) -> str:
        """Replace the state of the turn before, and return what is carried.

        turn: counted from 1. reopens: the turn began after the end of its session, which may
        go on all the same. Raises Conflict or Unreachable.
        """
        ...

    def check(self) -> None:
        """Make sure that the store can be used. Raises Unreachable."""
        ...

    def forget(self, owner: Owner) -> None:
        """Drop the state of an owner. Raises Unreachable."""
        ...

    def end(self, owner: Owner) -> None:
        """Drop the state of a session that is over. Raises Unreachable.

        A turn of it that is being answered meanwhile is not kept: its `put` raises Conflict.
        """
        ...

    def forget_user(self, user: str) -> None:
        """Drop the state of all of a user's sessions. Raises Unreachable."""
        ...
