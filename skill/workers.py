"""How many processes serve the application, as far as can be known in one of them."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def count() -> int:
    """Return the number of worker processes: gunicorn's own setting, else WEB_CONCURRENCY, or 1."""
    if Path(sys.argv[0]).name == "gunicorn" and "gunicorn" in sys.modules:
        from gunicorn.app.wsgiapp import WSGIApplication

        return int(WSGIApplication().cfg.workers)  # file, environment and command line
    concurrency = os.environ.get("WEB_CONCURRENCY", "")
    return int(concurrency) if concurrency.isdecimal() else 1
