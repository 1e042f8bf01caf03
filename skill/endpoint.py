"""POST / is the skill: verify the raw bytes, then hand them to the SDK through flask-ask-sdk. Refusals are one plain line."""

from __future__ import annotations

import logging
import sys
from ipaddress import ip_address
from types import ModuleType
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from flask import Flask, Response, jsonify, request
from werkzeug.exceptions import HTTPException, InternalServerError
from werkzeug.wrappers import Response as AnyResponse

from skill import phrases
from skill.speech import to_speech
from skill.verify import NotAlexa, Verifier, parse

if TYPE_CHECKING:
    from ask_sdk_core.skill import CustomSkill

log = logging.getLogger(__name__)

BODY_LIMIT = 256 * 1024  # bytes; Alexa's own limit is half of that
SILENCE = {"version": "1.0", "response": {}}
_SPOKEN_TO = ("LaunchRequest", "IntentRequest")


def mount(app: Flask, skill: CustomSkill, *, verifier: Verifier | None) -> None:
    """Serve a skill at POST /.

    verifier: None turns verification off; then only requests that came to loopback directly are answered.
    """
    app.config.update(MAX_CONTENT_LENGTH=BODY_LIMIT, ASK_SDK_VERIFY_SIGNATURE=False, ASK_SDK_VERIFY_TIMESTAMP=False)
    adapter = _skill_adapter(skill, app)

    @app.post("/")
    def alexa() -> AnyResponse:
        body = request.get_data(parse_form_data=False)
        try:
            if verifier is None:
                _refuse_forwarded()
            else:
                verifier.check(body, request.headers)
            envelope = parse(body)
        except NotAlexa as finding:
            log.warning("refused a request: %s", finding)
            return _plain(str(finding), 400)
        kind = envelope["request"]["type"]
        try:
            response: Response = adapter.dispatch_request()
        except InternalServerError:  # the SDK cannot read it: a type or a field that it does not know
            log.warning("the SDK cannot read a request of type %.60r", kind)
            return jsonify(_trouble() if kind in _SPOKEN_TO else SILENCE)
        return response

    @app.get("/healthz")
    def healthz() -> AnyResponse:
        return jsonify(status="ok")

    @app.errorhandler(HTTPException)
    def refuse(error: HTTPException) -> AnyResponse:
        return _plain(error.name, error.code or 500)


def is_loopback(host: str) -> bool:
    """Tell whether a host name or address is this machine's loopback."""
    if host.lower() == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _refuse_forwarded() -> None:
    """Refuse what a proxy or a tunnel passed on: without verification only this machine is answered."""
    names = [name.lower() for name, _ in request.headers]
    forwarded = any(name == "forwarded" or name.startswith("x-forwarded-") for name in names)
    try:
        host = urlsplit(f"//{request.host}").hostname or ""
    except ValueError:
        host = ""
    if forwarded or not is_loopback(host):
        raise NotAlexa("verification is off, so only this machine is answered, and nothing that was forwarded")


def _plain(line: str, status: int) -> Response:
    return Response(line + "\n", status=status, mimetype="text/plain")


def _trouble() -> dict[str, Any]:
    speech = {"type": "SSML", "ssml": f"<speak>{to_speech(phrases.TROUBLE[0])}</speak>"}
    return {"version": "1.0", "response": {"outputSpeech": speech, "reprompt": {"outputSpeech": speech}, "shouldEndSession": False}}


def _skill_adapter(skill: CustomSkill, app: Flask) -> Any:
    """Build flask-ask-sdk's adapter, which needs no certvalidator here.

    Importing flask_ask_sdk imports certvalidator and with it oscrypto, which raises LibraryNotFoundError on OpenSSL
    3.0.10 and later (it reads one digit of the version). Nothing of it is used: our own Verifier stands in front. So
    three names stand in for it while the adapter is imported.
    """
    if "certvalidator" not in sys.modules:
        stub, errors = ModuleType("certvalidator"), ModuleType("certvalidator.errors")
        errors.ValidationError = errors.PathError = type("NeverRaised", (Exception,), {})  # type: ignore[attr-defined]
        stub.CertificateValidator, stub.errors = None, errors  # type: ignore[attr-defined]
        sys.modules |= {"certvalidator": stub, "certvalidator.errors": errors}
    from flask_ask_sdk.skill_adapter import SkillAdapter

    return SkillAdapter(skill=skill, skill_id="skill", app=app)
