"""The skill's server.

Run it with `python app.py` or, for several workers, with
`gunicorn -c deploy/gunicorn.conf.py 'app:create_app()'`.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import webbrowser
from contextlib import suppress
from typing import NoReturn

from dialogue.command_line import command
from skill import logs
from skill.application import create_app
from skill.chosen_tunnel import announce_tunnel, close_tunnel
from skill.options import settings_of
from skill.server import address_of, announce, check_address, listen
from skill.settings import Settings

__all__ = ["Settings", "create_app", "listen", "main"]


def _leave(signum: int, frame: object) -> NoReturn:
    sys.exit(0)


@command
def main(arguments: list[str] | None = None) -> int:
    """Serve the skill from the command line."""
    logs.set_up(os.environ.get("LOG_FORMAT") or "text")
    settings = settings_of(arguments)
    check_address(settings)
    app = create_app(settings)
    server = listen(app, settings)
    stopped = threading.Event()
    watch = threading.Thread(
        target=announce_tunnel, args=(settings, app, stopped), name="tunnel", daemon=True
    )
    app.extensions["reloader"].on_hangup()
    if settings.watch:
        app.extensions["reloader"].watch(settings.checkpoint)
    signal.signal(signal.SIGTERM, _leave)  # so that `finally` also ends the tunnel's agent
    with suppress(OSError):  # stdout may be closed; the skill still answers
        announce(settings)
    try:
        if settings.tunnel != "none":
            watch.start()
        if settings.open_page:
            threading.Thread(
                target=webbrowser.open,
                args=(f"{address_of(settings)}simulator",),
                name="page",
                daemon=True,
            ).start()
        server.run()
    except KeyboardInterrupt:
        pass
    finally:
        close_tunnel(settings, watch, stopped)
        app.extensions["agent"].close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
