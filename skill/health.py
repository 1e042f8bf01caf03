"""GET /healthz, /readyz and /metrics: what whoever runs the server asks it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from flask import Flask, jsonify, request
from werkzeug.wrappers import Response

from skill.endpoint import is_loopback, plain, refuse_strangers
from skill.metrics import Metrics, may_read
from skill.verify import NotAlexa

Check = Callable[[], bool]


def mount(app: Flask, metrics: Metrics, *, token: str, checks: Mapping[str, Check]) -> None:
    """Serve them.

    token: who bears it may read the figures from anywhere; everybody else from this machine alone,
    and not through a proxy. checks: what has to be true for a request to be answered, by name.
    """

    @app.get("/healthz")
    def healthz() -> Response:
        return jsonify(status="ok")

    @app.get("/readyz")
    def readyz() -> Response:
        failing = [name for name, check in checks.items() if not check()]
        answer = jsonify(status="not ready" if failing else "ready", failing=failing)
        answer.status_code = 503 if failing else 200
        return answer

    @app.get("/metrics")
    def figures() -> Response:
        if not (may_read(request, token) or _is_local()):
            return plain("the metrics are for this machine, or for who has METRICS_TOKEN", 403)
        return metrics.response()


def _is_local() -> bool:
    """Return whether the request came from this machine directly."""
    try:
        refuse_strangers()
    except NotAlexa:
        return False
    return is_loopback(request.remote_addr or "")
