"""The server on this machine: its address, its sockets, and what it says when it starts."""

from __future__ import annotations

import os
import socket
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from flask import Flask

from dialogue.batching import WAITING
from skill.endpoint import BODY_LIMIT
from skill.settings import Settings

CONNECTIONS = 4000  # idle ones cost little, and any past the limit would keep Alexa waiting
SAMPLE_REQUEST = Path(__file__).with_name("sample_request.json")


def check_address(settings: Settings) -> None:
    """Check that the host and port can be bound, before the model is loaded.

    Raises ValueError if they cannot.
    """
    host = None if settings.host in ("", "*") else settings.host
    try:
        for family, kind, protocol, _, address in socket.getaddrinfo(
            host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        ):
            with socket.socket(family, kind, protocol) as probe:
                if os.name == "posix":  # on Windows this would let two servers share a port
                    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                probe.bind(address)
    except (OSError, UnicodeError) as error:  # UnicodeError: a host name with an empty label
        reason = getattr(error, "strerror", None) or error
        raise ValueError(
            f"cannot listen on {settings.host}:{settings.port}: {reason}; --host must be a name or "
            "an address of this machine, such as 127.0.0.1, and another --port may be free"
        ) from None


def listen(app: Flask, settings: Settings) -> Any:
    """Bind the port and return waitress's server, ready to run.

    Raises OSError if the port cannot be bound.
    """
    import waitress

    _allow_files(CONNECTIONS + 100)
    return waitress.create_server(
        app,
        host=settings.host,
        port=settings.port,
        threads=WAITING + 16,  # more than may wait, so that the rest are refused at once
        max_request_body_size=BODY_LIMIT + 1,  # waitress also refuses a body of exactly this size
        max_request_header_size=16 * 1024,
        # The rest of a larger body goes to a file, so that many callers cannot fill the memory.
        inbuf_overflow=32 * 1024,
        connection_limit=CONNECTIONS,
        channel_timeout=30,
        cleanup_interval=10,
        asyncore_use_poll=True,
        clear_untrusted_proxy_headers=False,  # skill.endpoint refuses requests that carry them
        ident=None,
    )


def _allow_files(count: int) -> None:
    """Raise the limit on open files, connections included, to `count`, or as far as allowed."""
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < count:
        most = count if hard == resource.RLIM_INFINITY else min(count, hard)
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def address_of(settings: Settings) -> str:
    """Return the server's address on this machine."""
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    return f"http://{host}:{settings.port}/"


def announce(settings: Settings) -> None:
    """Print where the skill is, how to try it, and what a device still needs."""
    local = address_of(settings)
    print(f"\nThe skill answers at {local}")
    if not settings.verify:
        print(f"Talk to it in a browser: {local}simulator")
        print(
            "WARNING: verification is OFF. Anybody on this machine can talk to it; "
            "nobody else can. Not for a device."
        )
        print("Try it:")
        print(f"    curl -s {local} -H 'Content-Type: application/json' -d '@{SAMPLE_REQUEST}'")
    elif not settings.skill_ids:
        print(
            "WARNING: no skill id is set, so any Alexa skill's requests are answered. "
            "Pass --skill-id amzn1.ask.skill...."
        )
    missing = []
    if settings.tunnel == "none":
        missing.append(
            "an https address that Alexa can reach (--tunnel ngrok, with NGROK_AUTHTOKEN set)"
        )
    if not settings.verify:
        missing.append("verification (leave --no-verify out)")
    if not settings.skill_ids:
        missing.append(
            "a skill made from interaction_models/ in the Alexa developer console, "
            "and its id (--skill-id)"
        )
    if missing:
        print("A device still needs: " + ";\n    ".join(missing) + ".")
    sys.stdout.flush()
