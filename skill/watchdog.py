"""Keep a tunnel open: replace it when its program ends or its address stops answering."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Protocol

import requests

from dialogue.command_line import tell
from skill.tunnel import NoTunnel
from skill.verify import roots_file

EVERY_SECONDS, ANSWER_SECONDS = 30.0, 8.0
MISSES = 3  # an address counts as dead after this many missed answers in a row


class Tunnel(Protocol):
    """An open tunnel."""

    address: str

    def is_alive(self) -> bool:
        """Return whether its program still runs."""

    def close(self) -> None:
        """Close the tunnel."""


def answers(address: str) -> bool:
    """Return whether the skill answers at a public address."""
    try:
        found = requests.get(
            f"{address}/healthz",
            timeout=ANSWER_SECONDS,
            verify=str(roots_file()),
            allow_redirects=False,
        )
        return bool(found.status_code == 200 and found.json() == {"status": "ok"})
    except (requests.RequestException, ValueError):
        return False


def keep_open(
    open_tunnel: Callable[[], Tunnel],
    on_address: Callable[[str], None],
    *,
    stopped: threading.Event,
    does_answer: Callable[[str], bool] = answers,
    every: float = EVERY_SECONDS,
) -> None:
    """Open a tunnel, report its address, and open another whenever it dies, until stopped.

    If the first tunnel cannot be opened, give up with one line. If a later one cannot, keep trying
    for ever, with a line for each new reason.
    """
    address, told = "", ""
    while not stopped.is_set():
        try:
            tunnel = open_tunnel()
        except NoTunnel as reason:
            if str(reason) != told:
                told = str(reason)
                tell(f"No tunnel: {told}")
            # A later failure may be an outage, and an Echo in use deserves patience; a first one is
            # more likely a mistake in the settings, which waiting does not fix.
            if not address:
                return
            stopped.wait(every)
            continue
        try:
            if stopped.is_set():  # while it was being opened; `finally` closes it
                return
            address, told = tunnel.address, ""
            on_address(address)
            why = _until_it_dies(tunnel, does_answer, stopped=stopped, every=every)
        finally:
            tunnel.close()
        if why:
            tell(f"The tunnel is gone ({why}); opening another.")


def _until_it_dies(
    tunnel: Tunnel, does_answer: Callable[[str], bool], *, stopped: threading.Event, every: float
) -> str:
    """Watch a tunnel and return why it died, or "" if stopped."""
    # One missed answer may be a lost packet or a busy server.
    missed = 0
    while not stopped.wait(every):
        if not tunnel.is_alive():
            return "its program has ended"
        missed = 0 if does_answer(tunnel.address) else missed + 1
        if missed >= MISSES:
            return "its address does not answer"
    return ""
