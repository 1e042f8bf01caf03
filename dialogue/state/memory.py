"""State in this process: bounded, and gone with it."""

from __future__ import annotations

import hashlib
import threading
from typing import NamedTuple

from dialogue.bounded import NORMAL, Bounded, Bounds
from dialogue.state import Conflict, Owner


class _Entry(NamedTuple):
    user: bytes
    turn: int
    state: bytes


class MemoryState:
    """Keeps states in a dictionary; the least recently used go first."""

    half = False
    limit: int | None = None
    is_carried = False
    is_shared = False

    def __init__(self, bounds: Bounds = NORMAL) -> None:
        self._kept = Bounded[_Entry](bounds)
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def nbytes(self) -> int:
        """The bytes that the states take."""
        return self._kept.nbytes

    def get(self, owner: Owner, carried: str = "") -> bytes | None:
        """Return the state of an owner; None where there is none, or it is another user's."""
        with self._lock:
            entry = self._kept.get(owner.session)
        return entry.state if entry and entry.user == _digest(owner.user) else None

    def put(self, owner: Owner, state: bytes, *, turn: int) -> str:
        """Keep the state after a turn; nothing is to be carried. Raises Conflict."""
        user = _digest(owner.user)
        with self._lock:
            before = self._kept.get(owner.session)
            if (before.turn if before and before.user == user else 0) != turn - 1:
                raise Conflict
            self._kept.put(owner.session, _Entry(user, turn, state), nbytes=len(state) + len(user))
        return ""

    def forget(self, owner: Owner) -> None:
        """Drop the state of an owner."""
        with self._lock:
            self._kept.drop(owner.session)

    def forget_user(self, user: str) -> None:
        """Drop the state of all of a user's sessions."""
        digest = _digest(user)
        with self._lock:
            for session in list(self._kept):
                entry = self._kept.get(session)
                if entry and entry.user == digest:
                    self._kept.drop(session)


def _digest(user: str) -> bytes:
    """Shorten a user's id, which has 200 characters and more, and need not be kept itself."""
    return hashlib.blake2b(user.encode("utf-8", "surrogatepass"), digest_size=16).digest()
