"""Choose the store that keeps the conversations: STATE=memory|attributes|redis://..."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import NamedTuple

from dialogue.bounded import NORMAL, Bounds
from dialogue.state import StateStore, Unreachable
from dialogue.state.sealing import Seal, new_key

log = logging.getLogger(__name__)

MEMORY, ATTRIBUTES = "memory", "attributes"
IN_TEXTS = 2048  # bytes of a carried state besides the history: the last speech, and a few texts


def check(where: str, *, keys: Sequence[bytes], workers: int) -> None:
    """Check that a store exists and that so many processes can share it. Raises ValueError."""
    _name(where)
    if workers > 1 and where == MEMORY:
        raise ValueError(
            f"STATE=memory keeps conversations in one process, and there are {workers} workers: "
            "the next turn may reach another one. Set STATE=attributes with a STATE_KEY, set "
            "STATE=redis://..., or run one worker with more threads"
        )
    if workers > 1 and where == ATTRIBUTES and not keys:
        raise ValueError(
            f"STATE=attributes needs STATE_KEY for {workers} workers: each would make a key of its "
            "own, and none could open another's state. Set it to the output of: "
            "openssl rand -base64 32"
        )


class Asked(NamedTuple):
    """How to open a store. bounds: for the store in memory."""

    where: str
    keys: Sequence[bytes]
    bounds: Bounds


def open_state(
    where: str,
    *,
    keys: Sequence[bytes],
    history_bytes: int | None,
    bounds: Bounds = NORMAL,
) -> StateStore:
    """Open the chosen store.

    history_bytes: the size of the model's largest history in fp16, or None if unbounded. bounds:
    for the store in memory. Raises ValueError if a history cannot be carried or an address is
    invalid.
    """
    check_carried(where, history_bytes)
    return STORES[_name(where)](Asked(where, keys, bounds))


def _open_memory(asked: Asked) -> StateStore:
    from dialogue.state.memory import MemoryState

    return MemoryState(asked.bounds)


def _open_attributes(asked: Asked) -> StateStore:
    from dialogue.state.attributes import AttributesState

    if not asked.keys:
        log.warning(
            "STATE_KEY is not set: a key was made for this process, and conversations under "
            "way begin anew when it ends"
        )
    return AttributesState(Seal(asked.keys or [new_key()]))


def _open_redis(asked: Asked) -> StateStore:
    from dialogue.state.redis_state import RedisState

    # Without a secret key, keys derive from session and user ids alone, which Redis never sees.
    store = RedisState(asked.where, Seal(asked.keys or [b""], seconds=None))
    try:
        store.check()
    except Unreachable as reason:
        log.error("%s; turns are answered without their conversations until it can", reason)
    return store


# By the whole value of STATE, or by the beginning of an address. Each opener imports its store, so
# that only the chosen one's package has to be installed.
STORES: dict[str, Callable[[Asked], StateStore]] = {
    MEMORY: _open_memory,
    ATTRIBUTES: _open_attributes,
    "redis://": _open_redis,
    "rediss://": _open_redis,
    "unix://": _open_redis,
}


def choices() -> list[str]:
    """Return the names in STORES as people write them; the name of an address is its beginning."""
    return [f"{name}..." if name.endswith("://") else name for name in STORES]


def _name(where: str) -> str:
    """Return the name in STORES that a choice matches. Raises ValueError if there is none."""
    for name in STORES:
        if where == name or (name.endswith("://") and where.startswith(name)):
            return name
    # do not quote the value: it may contain a password
    raise ValueError(f"STATE (--state) is none of {', '.join(choices())}")


def check_carried(where: str, history_bytes: int | None) -> None:
    """Check that a model's histories fit in a store. Raises ValueError.

    history_bytes: as in `open_state`.
    """
    if where != ATTRIBUTES:
        return
    from dialogue.state.attributes import AttributesState

    limit = AttributesState.limit or 0
    if history_bytes is None:
        raise ValueError(
            "STATE=attributes cannot carry the history of this model, whose size has no bound; use "
            "STATE=memory or redis://..."
        )
    if history_bytes + IN_TEXTS > limit:
        raise ValueError(
            f"STATE=attributes cannot carry the history of this model: it takes "
            f"{history_bytes} bytes in fp16, and there is room for {limit - IN_TEXTS}; use "
            "STATE=memory or redis://..."
        )
