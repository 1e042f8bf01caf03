"""Slow replies: say something meanwhile (a progressive response), and stop waiting in time."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Callable
from contextvars import copy_context
from typing import TypeVar
from urllib.parse import urlsplit

import requests

T = TypeVar("T")

log = logging.getLogger(__name__)

HINT_AFTER, GIVE_UP_AFTER = 2.5, 6.5  # seconds; Alexa waits about 8
SEARCH_FOR = 5.5  # the agent's share of these; its best reply by then still comes in time
SEND_SECONDS = 1
_HOST = re.compile(r"api[a-z0-9-]*(?:\.[a-z0-9-]+)*\.amazonalexa\.com")


class TooLate(TimeoutError):
    """No answer came in time."""


def in_time(
    work: Callable[[], T],
    hint: Callable[[], None],
    *,
    wait: Callable[[threading.Event, float], bool],
) -> T:
    """Run the work in a thread and return its result; if it is slow, run the hint in another.

    wait: (event, seconds) -> whether it was set in time; tests replace threading.Event.wait. Work
    that is late is not stopped: its thread goes on until the work is done. Raises TooLate, or what
    the work raised.
    """
    done, outcome = threading.Event(), list[T | BaseException]()

    def run() -> None:
        try:
            outcome.append(work())
        except Exception as error:
            outcome.append(error)
        finally:
            done.set()

    # in this context, so that what is logged there bears the request's id
    threading.Thread(target=copy_context().run, args=(run,), name="reply", daemon=True).start()
    if not wait(done, HINT_AFTER):
        threading.Thread(
            target=copy_context().run, args=(hint,), name="progressive response", daemon=True
        ).start()
        if not wait(done, GIVE_UP_AFTER - HINT_AFTER):
            raise TooLate
    (result,) = outcome
    if isinstance(result, BaseException):
        raise result
    return result


def is_alexas(endpoint: str) -> bool:
    """Return whether an address is Alexa's own for progressive responses.

    That is https://api*.amazonalexa.com with no path: the token must not be sent anywhere else.
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
