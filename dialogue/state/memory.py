"""State in this process: bounded, and lost when it ends."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import NamedTuple

from dialogue.bounded import NORMAL, Bounded, Bounds
from dialogue.state import ENDED, ENDED_SECONDS, Conflict, Owner, digest


class _Entry(NamedTuple):
    user: bytes
    turn: int
    state: bytes


class MemoryState:
    """Keeps states in a dictionary; the least recently used go first."""

    limit: int | None = None
    is_carried = False
    is_shared = False

    def __init__(self, bounds: Bounds = NORMAL) -> None:
        self._kept = Bounded[_Entry](bounds)
        self._ended = Bounded[None](replace(bounds, seconds=ENDED_SECONDS))
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def nbytes(self) -> int:
        """The bytes that the states take."""
        return self._kept.nbytes

    def get(self, owner: Owner, carried: str = "") -> bytes | None:
        """Return the state of an owner; None if there is none, or it is another user's."""
        with self._lock:
            entry = self._kept.get(owner.session)
            if entry is None and owner.session in self._ended:
                return ENDED
        return entry.state if entry and entry.user == digest(owner.user) else None

    def put(self, owner: Owner, state: bytes, *, turn: int, reopens: bool = False) -> str:
        """Keep the state after a turn; nothing is carried. Raises Conflict."""
        user = digest(owner.user)
        with self._lock:
            before = self._kept.get(owner.session)
            turns = before.turn if before and before.user == user else 0
            if turns != turn - 1 or (owner.session in self._ended and not reopens):
                raise Conflict
            self._ended.drop(owner.session)
            self._kept.put(owner.session, _Entry(user, turn, state), nbytes=len(state) + len(user))
        return ""

    def check(self) -> None:
        """Do nothing: the memory is always there."""

    def forget(self, owner: Owner) -> None:
        """Drop the state of an owner."""
        with self._lock:
            self._kept.drop(owner.session)

    def end(self, owner: Owner) -> None:
        """Drop the state of a session that has ended, and keep no more of it."""
        with self._lock:
            self._kept.drop(owner.session)
            self._ended.put(owner.session, None, nbytes=0)

    def forget_user(self, user: str) -> None:
        """Drop the state of all of a user's sessions."""
        wanted = digest(user)
        with self._lock:
            for session in list(self._kept):
                entry = self._kept.get(session)
                if entry and entry.user == wanted:
                    self._kept.drop(session)
