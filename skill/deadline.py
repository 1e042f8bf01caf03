"""Replies that take long: a word meanwhile (a progressive response), and an end to the waiting."""

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
SEARCH_FOR = 5.5  # what the agent is given of it, so that its best so far still comes in time
SEND_SECONDS = 1
_HOST = re.compile(r"api[a-z0-9-]*(?:\.[a-z0-9-]+)*\.amazonalexa\.com")


class TooLate(TimeoutError):
    """There was no answer in time."""


def in_time(
    work: Callable[[], T],
    hint: Callable[[], None],
    *,
    wait: Callable[[threading.Event, float], bool],
) -> T:
    """Do the work in a thread of its own; give the hint where it takes long, in another. Raises TooLate, or what it raised.

    wait: (event, seconds) -> whether it was set within them; threading.Event.wait, but for tests. Work that is too late is
    not stopped: its thread ends when it ends.
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
    """Tell whether an address is Alexa's own for progressive responses: https://api*.amazonalexa.com, and nothing behind it."""
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
    """Let Alexa say something while the reply is on its way; what fails is logged without the token, and nothing else.

    https://developer.amazon.com/docs/alexa/custom-skills/send-the-user-a-progressive-response.html
    """
    if not is_alexas(endpoint) or not token:
        log.warning(
            "no progressive response for request %r: its endpoint is not Alexa's, or it has no token",
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
