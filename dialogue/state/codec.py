"""Convert a session's state to bytes: the conversation, and the last request with its response.

version (1 byte), fingerprint of the model (16), length of the texts (4), the texts (JSON,
deflated), and the history in half precision, which takes most of the bytes.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from dialogue.conversation import Conversation, Turn
from dialogue.models import History
from dialogue.models.history import history_to_bytes
from dialogue.state import Refused

VERSION = 1
FINGERPRINT_BYTES = 16
_HEAD = struct.Struct(f">B{FINGERPRINT_BYTES}sI")
_SPEAKERS = {"u": "user", "b": "bot"}


@dataclass(frozen=True)
class Kept:
    """What is kept of a session between two requests.

    turn: how many requests it has had. request: a digest of the last one. response: the JSON
    returned for it, whose session attributes hold what repeating and fixed sentences need.
    """

    conversation: Conversation = field(default_factory=Conversation)
    turn: int = 0
    request: str = ""
    response: Mapping[str, Any] = field(default_factory=dict)

    @property
    def attributes(self) -> dict[str, Any]:
        """The session attributes of the last response."""
        return dict(self.response.get("sessionAttributes") or {})


class Histories(Protocol):
    """The model that a history belongs to; only it can read the history."""

    @property
    def fingerprint(self) -> str:
        """Return a hexadecimal digest that identifies the model."""
        ...

    def history_from_bytes(self, data: bytes) -> History:
        """Read a history. Raises ValueError if it is not one of this model."""
        ...


def pack(kept: Kept, histories: Histories, *, limit: int | None = None) -> bytes:
    """Write what is kept, with the history in half precision.

    limit: in bytes; beyond it, the oldest texts are left out, never the history. Raises ValueError
    if the history and the last response alone exceed the limit.
    """
    history = kept.conversation.history
    written = b"" if history is None else history_to_bytes(history, half=True)
    turns = kept.conversation.turns
    fits, data = 0, _join(kept, turns, written, histories)
    if limit is None or len(data) <= limit:
        return data
    best, too_many = _join(kept, (), written, histories), len(turns)
    if len(best) > limit:
        raise ValueError(f"the state takes {len(best)} bytes without any text; {limit} are allowed")
    while too_many - fits > 1:  # how many of the last turns fit
        middle = (fits + too_many) // 2
        data = _join(kept, turns[-middle:], written, histories)
        if len(data) <= limit:
            fits, best = middle, data
        else:
            too_many = middle
    return best


def unpack(data: bytes, histories: Histories) -> Kept:
    """Read what `pack` wrote. Raises Refused if it is broken, or of another version or model."""
    if not data or data[0] != VERSION:
        raise Refused("its state is of another version")
    try:
        _, fingerprint, length = _HEAD.unpack_from(data)
        if fingerprint != _fingerprint(histories):
            raise Refused("its state is of another model")
        texts, history = data[_HEAD.size : _HEAD.size + length], data[_HEAD.size + length :]
        turn, request, response, said = json.loads(zlib.decompress(texts))
        turns = tuple(Turn(_SPEAKERS[text[0]], text[1:]) for text in said)  # type: ignore[arg-type]
        read = histories.history_from_bytes(history) if history else None
        return Kept(Conversation(read, turns), int(turn), str(request), dict(response))
    except (ValueError, KeyError, TypeError, IndexError, struct.error, zlib.error):
        raise Refused("its state cannot be read") from None


def fingerprint_of(data: bytes) -> str:
    """Return the fingerprint of the model that a state belongs to; "" if it names none."""
    return data[1 : 1 + FINGERPRINT_BYTES].hex() if len(data) >= _HEAD.size else ""


def _join(kept: Kept, turns: tuple[Turn, ...], history: bytes, histories: Histories) -> bytes:
    said = [turn.speaker[0] + turn.text for turn in turns]
    written = json.dumps(
        [kept.turn, kept.request, dict(kept.response), said], separators=(",", ":")
    )  # in ASCII, since a text may contain half a surrogate pair
    texts = zlib.compress(written.encode("ascii"))
    return _HEAD.pack(VERSION, _fingerprint(histories), len(texts)) + texts + history


def _fingerprint(histories: Histories) -> bytes:
    return bytes.fromhex(histories.fingerprint)[:FINGERPRINT_BYTES].ljust(FINGERPRINT_BYTES, b"\0")
