"""State that travels, sealed, in Alexa's session attributes. Any worker can answer any turn."""

from __future__ import annotations

import base64
import binascii

from dialogue.state import Owner, Refused
from dialogue.state.sealing import OVERHEAD, Seal

MAX_BYTES = 8192  # of all session attributes, as JSON
_AROUND = 64  # bytes of JSON around the text: {"state": "..."}


class AttributesState:
    """Seals states into texts that a client carries, and opens them."""

    limit: int | None = (MAX_BYTES - _AROUND) // 4 * 3 - OVERHEAD
    is_carried = True
    is_shared = False

    def __init__(self, seal: Seal) -> None:
        self._seal = seal

    def get(self, owner: Owner, carried: str) -> bytes | None:
        """Open the carried state; return None if it is "". Raises Refused."""
        if not carried:
            return None
        try:
            sealed = base64.b64decode(carried, validate=True)
        except (binascii.Error, ValueError):
            raise Refused("its state was tampered with") from None
        return self._seal.open(sealed, owner)

    def put(self, owner: Owner, state: bytes, *, turn: int, reopens: bool = False) -> str:
        """Seal a state. Two turns at once give two states; the client carries the last it got."""
        return base64.b64encode(self._seal.seal(state, owner)).decode("ascii")

    def check(self) -> None:
        """Do nothing: a request can always carry state."""

    def forget(self, owner: Owner) -> None:
        """Do nothing: a client that carries nothing has nothing."""

    def end(self, owner: Owner) -> None:
        """Do nothing, as above."""

    def forget_user(self, user: str) -> None:
        """Do nothing, as above."""
