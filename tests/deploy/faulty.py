"""The application, with a decoder that stalls: gunicorn 'tests.deploy.faulty:create_app()'.

While there is a file STALL in the folder that FAULTS names, a search waits for as many seconds as
stand in it. It says which process searches, and when it goes on.
"""

import os
import time
from pathlib import Path
from typing import Any

from flask import Flask

import app
from dialogue import agent

STALL, SEARCHING, GOES_ON = "stall", "searching", "goes-on"


def create_app() -> Flask:
    """Build the application as it is shipped, and only then let it stall."""
    made, search, folder = app.create_app(), vars(agent)["search"], Path(os.environ["FAULTS"])

    def stalling(*arguments: Any, **options: Any) -> Any:
        if (folder / STALL).exists():
            seconds = float((folder / STALL).read_text())
            (folder / SEARCHING).write_text(str(os.getpid()))
            time.sleep(seconds)
            (folder / GOES_ON).touch()
        return search(*arguments, **options)

    vars(agent)["search"] = stalling
    return made
