"""The log as JSON, one object per line: request ids and figures, never what was said."""

from __future__ import annotations

import json
import logging
import traceback
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any

TEXT_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
LOGGED_ID = 200  # characters of an id; unverified callers may send any

# The id of the request being answered in this context; its threads run in a copy of the context.
current_request: ContextVar[str] = ContextVar("current_request", default="")


class JsonLines(logging.Formatter):
    """Writes a record as one line of JSON.

    `extra={"figures": {...}}` adds members. An exception is logged by type and location, never by
    message, which may quote what was said.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "process": record.process,
            "message": record.getMessage(),
        }
        if request := current_request.get():
            line["request_id"] = request
        if record.exc_info and record.exc_info[0]:
            places = traceback.extract_tb(record.exc_info[2])
            line["error"] = record.exc_info[0].__name__
            line["where"] = [f"{place.filename}:{place.lineno} {place.name}" for place in places]
        return json.dumps(line | getattr(record, "figures", {}), ensure_ascii=False)


def formatter(kind: str) -> logging.Formatter:
    """Return the formatter for "text" or "json". Raises ValueError on any other kind."""
    if kind not in ("text", "json"):
        raise ValueError(f"LOG_FORMAT is {kind!r}; it must be text or json")
    return JsonLines() if kind == "json" else logging.Formatter(TEXT_FORMAT)


def set_up(kind: str) -> None:
    """Log to standard error, at level INFO. Raises ValueError on an unknown kind."""
    handler = logging.StreamHandler()
    handler.setFormatter(formatter(kind))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    logging.getLogger("pyngrok").setLevel(logging.CRITICAL)  # skill.tunnel logs what matters


def configuration(kind: str) -> dict[str, Any]:
    """Return the same configuration as a dict for logging.config.dictConfig, for gunicorn."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"lines": {"()": f"{__name__}.formatter", "kind": kind}},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "lines"}},
        "root": {"level": "INFO", "handlers": ["stderr"]},
        "loggers": {"gunicorn.error": {"level": "INFO", "propagate": True, "handlers": []}},
    }
