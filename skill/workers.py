"""How many processes serve the application, as far as one of them can tell."""

from __future__ import annotations

import os
import sys
from pathlib import Path

_GUNICORN = ("gunicorn", "gunicorn/__main__.py")  # endings of its program's path


def count() -> int:
    """Return the number of worker processes: gunicorn's own setting, else WEB_CONCURRENCY, or 1."""
    program = Path(sys.argv[0])
    if any(program.match(name) for name in _GUNICORN) and "gunicorn" in sys.modules:
        from gunicorn.app.wsgiapp import WSGIApplication

        return int(WSGIApplication().cfg.workers)  # file, environment and command line
    concurrency = os.environ.get("WEB_CONCURRENCY", "")
    return int(concurrency) if concurrency.isdecimal() else 1
