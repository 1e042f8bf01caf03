"""A public address for development: ngrok, through pyngrok. What cannot be opened is one plain sentence, never an end."""

from __future__ import annotations

import os
import threading
from pathlib import Path

SECONDS = 30.0  # pyngrok waits for ever on an agent that stays silent


class NoTunnel(RuntimeError):
    """There is no tunnel; the message says why and what to do."""


def is_configured() -> bool:
    """Tell whether an ngrok token is configured, by NGROK_AUTHTOKEN or in ngrok's own file."""
    if os.environ.get("NGROK_AUTHTOKEN"):
        return True
    from pyngrok import conf

    path = Path(conf.get_config_path(conf.get_default()))
    try:
        return "authtoken:" in path.read_text(encoding="utf-8")
    except OSError:
        return False


def open_tunnel(port: int, *, seconds: float = SECONDS) -> str:
    """Open a tunnel to a local port and return its https address. Raises NoTunnel where that fails or takes too long."""
    from pyngrok import ngrok
    from pyngrok.exception import PyngrokError, PyngrokNgrokError

    outcome: list[str | Exception] = []

    def connect() -> None:
        try:
            # a full URL: from a bare host:port the agent would build a broken upstream
            tunnel = ngrok.connect(f"http://127.0.0.1:{port}", name="alexa-skill")
            outcome.append(str(tunnel.public_url))
        except Exception as error:
            outcome.append(error)

    thread = threading.Thread(target=connect, name="ngrok", daemon=True)
    thread.start()
    thread.join(seconds)
    if not outcome:
        raise NoTunnel(f"the ngrok agent did not answer within {seconds:.0f} s; the skill goes on without a tunnel")
    result = outcome[0]
    if isinstance(result, str):
        return result
    if isinstance(result, PyngrokNgrokError) and result.ngrok_error_code == "ERR_NGROK_4018":
        raise NoTunnel(
            "ngrok wants an account's token: set NGROK_AUTHTOKEN (https://dashboard.ngrok.com/get-started/your-authtoken)"
        )
    if isinstance(result, (PyngrokError, OSError)):
        raise NoTunnel(
            f"ngrok could not be started ({type(result).__name__}); is its agent there (https://ngrok.com/download, or let "
            "pyngrok fetch it with a connection to the internet)? The skill goes on without a tunnel"
        )
    raise result


def close() -> None:
    """End the agent, which a signal would leave behind.

    pyngrok holds its lock as long as a silent agent is starting, so this waits a moment only; such an agent is ended by
    pyngrok's own exit hook.
    """
    from pyngrok import ngrok

    thread = threading.Thread(target=ngrok.kill, name="ngrok-kill", daemon=True)
    thread.start()
    thread.join(2)
