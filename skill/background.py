"""Work in a thread of its own, for which nobody has to wait longer than they want to."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from contextvars import copy_context
from typing import Any, TypeVar

T = TypeVar("T")


def begin(work: Callable[[], T], *, name: str) -> Future[T]:
    """Run work in a daemon thread of that name, and return its future.

    The future also holds what the work raises. Work that is late is not stopped: nothing in Python
    can stop a thread.

    ThreadPoolExecutor is not used because the interpreter joins its threads at exit. One that
    hangs, such as in a name lookup or in pyngrok, would keep the whole process from ending; a
    daemon thread ends with it.
    """
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:  # as an executor does, so that nobody waits in vain
            future.set_exception(error)

    # in the caller's context, so that what is logged there bears its request's id
    threading.Thread(target=copy_context().run, args=(run,), name=name, daemon=True).start()
    return future


def is_done(future: Future[Any], seconds: float) -> bool:
    """Wait for a future, and return whether it is done within so many seconds.

    Its own `result(seconds)` raises TimeoutError, which the work may have raised as well.
    """
    return not wait([future], seconds).not_done
