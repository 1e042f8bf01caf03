"""Serve the skill at POST /: verify the raw bytes, then let the SDK answer through flask-ask-sdk.

A refusal is a single line of plain text.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from functools import partial
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

from flask import Flask, Response, request
from werkzeug.exceptions import HTTPException
from werkzeug.wrappers import Response as AnyResponse

from skill import contract
from skill.adapter import skill_adapter
from skill.envelope import Junk, Reader, is_known, parse
from skill.interaction_settings import load
from skill.logs import LOGGED_ID, current_request
from skill.metrics import Metrics
from skill.verify import NotAlexa, Verifier

if TYPE_CHECKING:
    from ask_sdk_core.skill import CustomSkill

    from skill.interaction_settings import InteractionSettings
    from skill.transaction import Transactions

log = logging.getLogger(__name__)

BODY_LIMIT = 256 * 1024  # bytes; Alexa's own limit is half of that


def mount(
    app: Flask,
    skill: CustomSkill,
    *,
    verifier: Verifier | None,
    transactions: Transactions | None = None,
    interaction: InteractionSettings | None = None,
    metrics: Metrics | None = None,
) -> None:
    """Serve a skill at POST /.

    transactions: keeps the state of sessions; None: nothing is kept. interaction: the settings that
    `build_skill` was given. verifier: None turns verification off, for development: then only
    requests that reach loopback directly are answered, and a response that breaks the contract
    raises an exception. metrics: where requests are counted.
    """
    metrics = metrics or Metrics()
    app.config.update(
        MAX_CONTENT_LENGTH=BODY_LIMIT,
        ASK_SDK_VERIFY_SIGNATURE=False,
        ASK_SDK_VERIFY_TIMESTAMP=False,
    )
    skill.serializer = Reader()
    adapter = skill_adapter(skill, app)
    hears = interaction or load()

    def dispatch() -> dict[str, Any]:
        return cast(dict[str, Any], adapter.dispatch_request().get_json())

    @app.post("/", provide_automatic_options=False)
    def alexa() -> AnyResponse:
        begun = time.perf_counter()
        body = request.get_data(parse_form_data=False)
        current_request.set("")
        try:
            if verifier is None:
                refuse_strangers()
                envelope = parse(body)
            else:
                envelope = verifier.check(body, request.headers)
            current_request.set(str(envelope["request"].get("requestId") or "")[:LOGGED_ID])
            kept = transactions and partial(transactions.answer, envelope, dispatch)
            response = answer(kept or dispatch, envelope, hears, strict=verifier is None)
        except (NotAlexa, Junk) as finding:
            metrics.refused(finding)
            log.warning("refused a request: %s", finding)
            return plain(str(finding), 400)
        kind, seconds = str(envelope["request"]["type"]), time.perf_counter() - begun
        metrics.requested(kind, seconds)
        log.info("answered", extra={"figures": {"type": kind[:80], "ms": round(seconds * 1e3, 1)}})
        return Response(json.dumps(response), mimetype="application/json")

    @app.errorhandler(HTTPException)
    def refuse(error: HTTPException) -> AnyResponse:
        refusal = plain(error.name, error.code or 500)
        if "Allow" in (headers := dict(error.get_headers())):
            refusal.headers["Allow"] = headers["Allow"]
        return refusal


def answer(
    dispatch: Callable[[], dict[str, Any]],
    envelope: dict[str, Any],
    interaction: InteractionSettings,
    *,
    strict: bool,
) -> dict[str, Any]:
    """Answer a parsed request with a response that keeps the contract.

    dispatch: calls the SDK and returns its response. strict: raise BrokenContract if that response
    breaks the contract, instead of mending and logging it. Raises Junk if the request cannot be
    read.
    """
    if not is_known(envelope):
        log.info(
            "nothing to say to a request of type %.80r, which the SDK does not know",
            envelope["request"]["type"],
        )
        return contract.SILENCE
    response = dispatch()
    broken = contract.check(response, envelope, interaction)
    if not broken:
        return response
    if strict:
        raise contract.BrokenContract("; ".join(broken))
    log.error(
        "mended the response to request %.200r: %s",
        envelope["request"].get("requestId"),
        "; ".join(broken),
    )
    return contract.mend(response, envelope, interaction)


def is_loopback(host: str) -> bool:
    """Return whether a host name or address is this machine's loopback."""
    if host.lower() == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def refuse_strangers() -> None:
    """Refuse every request that did not come directly from this machine.

    Without verification, this is the only protection. It refuses requests forwarded by a proxy or
    a tunnel, requests to a host other than loopback (DNS rebinding), and requests from pages of
    another origin. Raises NotAlexa.
    """
    names = [name.lower() for name, _ in request.headers]
    forwarded = any(name == "forwarded" or name.startswith("x-forwarded-") for name in names)
    try:
        host = urlsplit(f"//{request.host}").hostname or ""
    except ValueError:
        host = ""
    if forwarded or not is_loopback(host):
        raise NotAlexa(
            "verification is off, so only this machine is answered, and only its direct requests"
        )
    origin, sent_by = request.headers.get("Origin"), request.headers.get("Sec-Fetch-Site", "none")
    # Following a link from another page is allowed: that page cannot read the response.
    is_visit = request.method == "GET" and request.headers.get("Sec-Fetch-Mode") == "navigate"
    if origin not in (None, request.host_url.rstrip("/")) or (
        sent_by not in ("none", "same-origin") and not is_visit
    ):
        raise NotAlexa("verification is off, so no page of another origin is answered")


def plain(line: str, status: int) -> Response:
    """Return a refusal as one line of plain text."""
    return Response(line + "\n", status=status, mimetype="text/plain")
