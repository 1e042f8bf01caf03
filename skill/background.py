"""Run work in its own thread, so that callers wait no longer than they want to."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from contextvars import copy_context
from typing import Any, TypeVar

T = TypeVar("T")


def begin(work: Callable[[], T], *, name: str) -> Future[T]:
    """Start work in a daemon thread of the given name, and return its future.

    The future also holds any exception that the work raises. Late work is not stopped: Python
    cannot stop a thread.

    ThreadPoolExecutor is not used because the interpreter joins its threads at exit. A thread that
    hangs, for example in a name lookup or in pyngrok, would keep the process from exiting; a daemon
    thread ends with the process.
    """
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:  # as executors do, so that nobody waits in vain
            future.set_exception(error)

    # In the caller's context, so that the thread's log lines carry the id of its request.
    threading.Thread(target=copy_context().run, args=(run,), name=name, daemon=True).start()
    return future


def is_done(future: Future[Any], seconds: float) -> bool:
    """Wait for a future, and return whether it is done within the given number of seconds.

    `Future.result(seconds)` cannot tell: the TimeoutError may also come from the work.
    """
    return not wait([future], seconds).not_done
