"""GET /healthz, /readyz and /metrics, for whoever runs the server."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from flask import Flask, jsonify, request
from werkzeug.wrappers import Response

from skill.endpoint import is_loopback, plain, refuse_strangers
from skill.metrics import Metrics, may_read
from skill.verify import NotAlexa

Check = Callable[[], bool]


def mount(app: Flask, metrics: Metrics, *, token: str, checks: Mapping[str, Check]) -> None:
    """Serve the three pages.

    token: whoever has it can read the metrics from anywhere, and nobody else can. Without a token,
    they can be read only from this machine, and not through a proxy that identifies itself. checks:
    what must be true for the server to be ready, by name; /readyz?exclude=NAME leaves one out.
    """

    @app.get("/healthz")
    def healthz() -> Response:
        return jsonify(status="ok")

    @app.get("/readyz")
    def readyz() -> Response:
        left_out = request.args.getlist("exclude")
        asked = {name: check for name, check in checks.items() if name not in left_out}
        failing = [name for name, check in asked.items() if not check()]
        answer = jsonify(status="not ready" if failing else "ready", failing=failing)
        answer.status_code = 503 if failing else 200
        return answer

    @app.get("/metrics")
    def figures() -> Response:
        if not (may_read(request, token) if token else _is_local()):
            return plain("the metrics are for this machine, or for who has METRICS_TOKEN", 403)
        return metrics.response()


def _is_local() -> bool:
    """Return whether the request came from this machine directly."""
    try:
        refuse_strangers()
    except NotAlexa:
        return False
    return is_loopback(request.remote_addr or "")
