"""The configured tunnel: open it, announce it, deploy its address if asked, and close it."""

from __future__ import annotations

import threading
from contextlib import suppress

from flask import Flask

from dialogue.command_line import tell
from skill import deploy, state, target, tunnel, tunnel_command, watchdog
from skill.settings import NOT_DEPLOYED, Settings

CLOSE_SECONDS = 5.0


def announce_tunnel(
    settings: Settings, app: Flask | None = None, stopped: threading.Event | None = None
) -> None:
    """Open the tunnel, print its address, and keep it open until stopped.

    If it cannot be opened, say why in one sentence; the server keeps running.
    app: its verifier learns the skill's id when the skill is deployed.
    """
    watchdog.keep_open(
        lambda: open_tunnel(settings),
        lambda address: announce_address(address, settings, app),
        stopped=stopped or threading.Event(),
    )


def open_tunnel(settings: Settings) -> watchdog.Tunnel:
    """Open the tunnel that the settings name. Raises NoTunnel if it cannot be opened."""
    if settings.tunnel == "ngrok":
        return tunnel.Ngrok(tunnel.open_tunnel(settings.port, domain=settings.domain))
    command = tunnel_command.CLOUDFLARED if settings.tunnel == "cloudflared" else settings.tunnel
    return tunnel_command.open_by_command(command, settings.port, domain=settings.domain)


def announce_address(address: str, settings: Settings, app: Flask | None) -> None:
    """Print a tunnel's address, record it for skill.deploy and skill.doctor; deploy it if asked."""
    kind = target.certificate_of(address).lower()
    print(
        f"Alexa reaches it at {address}/  "
        f"(put this into the skill's endpoint, certificate type: {kind})",
        flush=True,
    )
    try:
        state.write(state.TUNNEL, {"address": address})
        if settings.deploy:
            known = "" if settings.skill_ids == NOT_DEPLOYED else settings.skill_ids[0]
            skill_id = deploy.deploy_address(settings.interaction, address, skill_id=known)
            if skill_id and app is not None:
                app.extensions["verifier"].answer_only(
                    skill_id, *(set(settings.skill_ids) - set(NOT_DEPLOYED))
                )
    except (ValueError, OSError) as error:  # a failed deployment does not stop the server
        tell(f"Not deployed: {error}")


def close_tunnel(settings: Settings, watch: threading.Thread, stopped: threading.Event) -> None:
    """Close the tunnel and forget its address."""
    stopped.set()
    if settings.tunnel == "none" or watch.ident is None:
        return
    if settings.tunnel == "ngrok":
        tunnel.close()  # even one that is still being opened
    watch.join(CLOSE_SECONDS)
    with suppress(OSError):
        (state.folder() / state.TUNNEL).unlink(missing_ok=True)
