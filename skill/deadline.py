"""Slow replies: say something meanwhile (a progressive response), and stop waiting in time."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar
from urllib.parse import urlsplit

import requests

from skill.background import begin, is_done

T = TypeVar("T")

log = logging.getLogger(__name__)

HINT_AFTER, GIVE_UP_AFTER = 2.5, 6.5  # seconds; Alexa waits about 8
SEARCH_FOR = 5.5  # the agent's share of that; the best reply found by then is still in time
SEND_SECONDS = 1
_HOST = re.compile(r"api[a-z0-9-]*(?:\.[a-z0-9-]+)*\.amazonalexa\.com")


class TooLate(TimeoutError):
    """No answer came in time."""


def in_time(
    work: Callable[[], T],
    hint: Callable[[], None],
    *,
    wait: Callable[[Future[Any], float], bool] = is_done,
) -> T:
    """Run the work in a thread and return its result; if it is slow, run the hint in another.

    wait: (future, seconds) -> whether it was done in time; tests wait by their own clock. Late work
    is not stopped: its thread runs until the work is done. Raises TooLate, or whatever the work
    raised.
    """
    reply = begin(work, name="reply")
    if not wait(reply, HINT_AFTER):
        begin(hint, name="progressive response").add_done_callback(_log_failure)
        if not wait(reply, GIVE_UP_AFTER - HINT_AFTER):
            raise TooLate
    return reply.result()


def _log_failure(hint: Future[None]) -> None:
    if (error := hint.exception()) is not None:
        log.error("no progressive response: %s", type(error).__name__)


def is_alexas(endpoint: str) -> bool:
    """Return whether an address is one of Alexa's for progressive responses.

    These are https://api*.amazonalexa.com without a path: the token must not go anywhere else.
    """
    try:
        parts = urlsplit(endpoint)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return False
    is_plain = (
        parts.username is None
        and parts.path in ("", "/")
        and not parts.query
        and not parts.fragment
    )
    return (
        parts.scheme == "https" and bool(_HOST.fullmatch(host)) and port in (None, 443) and is_plain
    )


def say_meanwhile(endpoint: str, *, token: str, request_id: str, speech: str) -> None:
    """Let Alexa say something while the reply is on its way.

    A failure is only logged, without the token.
    https://developer.amazon.com/docs/alexa/custom-skills/send-the-user-a-progressive-response.html
    """
    if not is_alexas(endpoint) or not token:
        log.warning(
            "no progressive response for request %r: its endpoint is not Alexa's, "
            "or it has no token",
            request_id,
        )
        return
    directive = {
        "header": {"requestId": request_id},
        "directive": {"type": "VoicePlayer.Speak", "speech": speech},
    }
    try:
        answer = requests.post(
            f"{endpoint.rstrip('/')}/v1/directives",
            json=directive,
            headers={"Authorization": f"Bearer {token}"},
            timeout=SEND_SECONDS,
            allow_redirects=False,
        )
    except (requests.RequestException, OSError, ValueError) as error:
        log.warning(
            "the progressive response for request %r failed: %s", request_id, type(error).__name__
        )
        return
    if not answer.ok:
        log.warning(
            "the progressive response for request %r was answered %d",
            request_id,
            answer.status_code,
        )
