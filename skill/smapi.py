"""Amazon's skill management API (SMAPI), through `ask` or HTTPS. Only this file knows either.

https://developer.amazon.com/docs/alexa/smapi/smapi-overview.html
JSON is sent and received unchanged: PyPI's ask-smapi-sdk drops manifest fields that it does not
know.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import requests

from skill import state
from skill.redaction import redact_tokens
from skill.verify import roots_file

API, TOKENS = "https://api.amazonalexa.com", "https://api.amazon.com/auth/o2/token"
STAGE = "development"
SECONDS, ASK_SECONDS = 30.0, 180.0
PAUSES = (1.0, 2.0, 4.0, 8.0, 16.0)  # seconds before each retry of a temporarily refused call
LONGEST_PAUSE = 60.0
LOGIN_KEYS = ("client_id", "client_secret", "refresh_token")

_SKILL = "/v1/skills/{skill_id}"
_MODEL = _SKILL + "/stages/{stage}/interactionModel/locales/{locale}"
OPERATIONS = {  # by their names in `ask smapi`
    "get-vendor-list": ("GET", "/v1/vendors"),
    "list-skills-for-vendor": ("GET", "/v1/skills"),
    "create-skill-for-vendor": ("POST", "/v1/skills"),
    "get-skill-manifest": ("GET", _SKILL + "/stages/{stage}/manifest"),
    "update-skill-manifest": ("PUT", _SKILL + "/stages/{stage}/manifest"),
    "get-skill-status": ("GET", _SKILL + "/status"),
    "get-interaction-model": ("GET", _MODEL),
    "set-interaction-model": ("PUT", _MODEL),
    "set-skill-enablement": ("PUT", _SKILL + "/stages/{stage}/enablement"),
}
_QUERY = {
    "list-skills-for-vendor": {"next_token": "nextToken"},
    "get-skill-status": {"resource": "resource"},
}


class SmapiError(ValueError):
    """A call that was refused or not answered. status: the HTTP status; 0 without an answer."""

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


class Answer(NamedTuple):
    """An answer's JSON and its ETag, if it has one."""

    body: dict[str, Any]
    etag: str = ""


class Client(Protocol):
    """A way to call the API."""

    name: str

    def call(
        self,
        operation: str,
        *,
        body: dict[str, Any] | None = None,
        etag: str = "",
        **parameters: str,
    ) -> Answer:
        """Call an operation. Raises SmapiError if it is refused."""


def find_client() -> Client | None:
    """Return `ask` if it is on PATH and logged in, else HTTPS if there is a login, else None.

    Raises ValueError if the login's file is broken.
    """
    ask = Ask()
    if shutil.which("ask") and ask.is_logged_in():
        return ask
    login = state.read(state.LOGIN)
    return Https(login) if login else None


class Https:
    """Calls the API directly, with a refresh token of the owner's Login-with-Amazon profile."""

    name = "the skill management API"

    def __init__(self, login: dict[str, str]) -> None:
        """Take the login. Raises ValueError if a part of it is missing."""
        if missing := [key for key in LOGIN_KEYS if not login.get(key)]:
            raise ValueError(
                f"the login lacks {', '.join(missing)}; run python -m skill.deploy --login"
            )
        self._login, self._token, self._vendor = login, "", ""

    def call(
        self,
        operation: str,
        *,
        body: dict[str, Any] | None = None,
        etag: str = "",
        **parameters: str,
    ) -> Answer:
        """Call an operation; retry temporary refusals, and renew an expired token once."""
        method, path = OPERATIONS[operation]
        query = [
            (name, part)
            for key, name in _QUERY.get(operation, {}).items()
            for part in parameters.get(key, "").split(",")
            if part
        ]
        if operation == "list-skills-for-vendor":
            query.append(("vendorId", self._vendor_id()))
        if operation == "create-skill-for-vendor":
            body = {"vendorId": self._vendor_id(), **(body or {})}
        url = API + path.format(**parameters)
        # The last round has no pause: whatever it returns is the result.
        renewed = False
        for pause in (*PAUSES, None):
            headers = {"Authorization": f"Bearer {self._access_token()}"} | (
                {"If-Match": etag} if etag else {}
            )
            try:
                answer = _send(method, url, params=query, json=body, headers=headers)
            except SmapiError:  # no answer; a POST may have created the skill, so do not repeat it
                if pause is None or method == "POST":
                    raise
                time.sleep(pause)
                continue
            # The access token may have expired; if a new one is refused, too, that is final.
            if answer.status_code == 401 and not renewed and pause is not None:
                self._token, renewed = "", True
            elif pause is not None and _is_for_now(answer.status_code, method):
                time.sleep(_pause_of(answer, pause))
            else:
                return _read(answer, operation)
        raise AssertionError("the last answer is read")

    def _vendor_id(self) -> str:
        if not self._vendor:
            vendors = self.call("get-vendor-list").body.get("vendors") or []
            if not vendors:
                raise SmapiError(
                    "this account has no vendor id: "
                    "register as a developer at https://developer.amazon.com first"
                )
            self._vendor = str(vendors[0]["id"])
        return self._vendor

    def _access_token(self) -> str:
        if not self._token:
            asked = {"grant_type": "refresh_token", **{key: self._login[key] for key in LOGIN_KEYS}}
            answer = _send("POST", TOKENS, data=asked)
            try:
                found = answer.json().get("access_token")
            except (ValueError, AttributeError):
                found = None
            if answer.status_code != 200 or not found:
                raise SmapiError(
                    f"Amazon no longer accepts the login ({answer.status_code}); "
                    "run python -m skill.deploy --login",
                    401,
                )
            self._token = str(found)
        return self._token


class Ask:
    """Calls the API through the ASK CLI, which has its own login and need not share it."""

    name = "ask"

    def is_logged_in(self) -> bool:
        """Return whether a working profile is configured."""
        try:
            return bool(self.call("get-vendor-list").body.get("vendors"))
        except SmapiError:
            return False

    def call(
        self,
        operation: str,
        *,
        body: dict[str, Any] | None = None,
        etag: str = "",
        **parameters: str,
    ) -> Answer:
        """Call an operation through `ask smapi`, which adds the vendor's id and has no ETags."""
        options = [
            text
            for name, value in parameters.items()
            for text in (f"--{name.replace('_', '-')}", value)
        ]
        program = shutil.which("ask")
        if program is None:
            raise SmapiError("ask is no longer on PATH")
        with tempfile.TemporaryDirectory(prefix="voice-skill-") as folder:
            if body is not None:
                # In a file, because it may be too long for an argument.
                file = Path(folder) / "body.json"
                file.write_text(json.dumps(body), encoding="utf-8")
                kind = (
                    "--interaction-model" if operation == "set-interaction-model" else "--manifest"
                )
                options += [kind, f"file:{file}"]
            try:
                done = subprocess.run(
                    [program, "smapi", operation, *options],
                    stdin=subprocess.DEVNULL, capture_output=True, encoding="utf-8",
                    errors="replace", timeout=ASK_SECONDS, check=False,
                )  # fmt: skip
            except (OSError, subprocess.TimeoutExpired) as error:
                raise SmapiError(f"ask smapi {operation} failed ({type(error).__name__})") from None
        if done.returncode:
            said = done.stderr or done.stdout
            # `ask` prints the API's JSON amid its own words.
            status = re.search(r'"statusCode":\s*(\d+)', said)
            found = re.findall(r'"message":\s*"((?:[^"\\]|\\.)*)"', said)
            reason = redact_tokens("; ".join(found) or said.strip()[:200] or "no reason given")
            raise SmapiError(f"ask smapi {operation}: {reason}", int(status[1]) if status else 0)
        try:
            answer = json.loads(done.stdout)
        except ValueError:  # "Command executed successfully!"
            answer = {}
        return Answer(answer if isinstance(answer, dict) else {})


def _send(method: str, url: str, **options: Any) -> requests.Response:
    try:
        return requests.request(
            method, url, timeout=SECONDS, verify=str(roots_file()), allow_redirects=False, **options
        )
    except requests.RequestException as error:
        host = url.split("/")[2]
        raise SmapiError(
            f"{host} does not answer ({type(error).__name__}): make sure this machine is online"
        ) from None


def _is_for_now(status: int, method: str) -> bool:
    """Return whether the same call may succeed later.

    It may after too many calls, during another change, or after a server error.
    """
    # A POST that met a server error may have created the skill; a second one would create another.
    return status in (409, 429) or (status >= 500 and method != "POST")


def _pause_of(answer: requests.Response, pause: float) -> float:
    asked = answer.headers.get("Retry-After", "")
    return min(float(asked), LONGEST_PAUSE) if asked.isdigit() else pause


def _read(answer: requests.Response, operation: str) -> Answer:
    try:
        body = answer.json() if answer.content else {}
    except ValueError:
        body = {}
    body = body if isinstance(body, dict) else {}
    if answer.status_code // 100 == 2:
        return Answer(body, answer.headers.get("ETag", ""))
    violations = [
        str(found.get("message", ""))
        for found in body.get("violations") or []
        if isinstance(found, dict)
    ]
    reason = redact_tokens(
        "; ".join(filter(None, [str(body.get("message") or ""), *violations])) or "no reason given"
    )
    raise SmapiError(
        f"{operation} was refused with {answer.status_code}: {reason}", answer.status_code
    )
