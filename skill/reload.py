"""Serve another model without downtime: load it beside the old one, try it, and only then swap."""

from __future__ import annotations

import contextlib
import logging
import queue
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from dialogue import allocator
from dialogue.agent import DialogueAgent
from dialogue.batching import BatchingAgent

log = logging.getLogger(__name__)

WATCH_SECONDS = 5.0  # between checks of the checkpoint's folder


class Reloader:
    """Loads whatever model is in the checkpoint's folder now."""

    def __init__(
        self,
        served: BatchingAgent,
        load: Callable[[], DialogueAgent],
        trial: Callable[[DialogueAgent], None],
        *,
        version: Callable[[], str],
        told: Callable[[str], None],
    ) -> None:
        """Take the served agent, how to load another, and the trial that it must pass.

        load, trial: raise ValueError on a model that must not be served. version: identifies what
        is in the folder, so that nothing is loaded twice. told: called with "swapped" or "refused".
        """
        self._served, self._load, self._trial, self._told = served, load, trial, told
        self._version, self._loaded = version, version()
        self._lock = threading.Lock()

    def reload(self) -> None:
        """Load the model, try it and serve it; if anything is wrong, keep serving the old one."""
        with self._lock:
            try:
                found = self._version()
                if found == self._loaded:
                    log.info("the model in the checkpoint's folder is served already")
                    return
                agent = self._load()
                self._trial(agent)
            except Exception as error:  # whatever it is, users must not notice
                reason = str(error) if isinstance(error, ValueError) else type(error).__name__
                log.error("a new model is refused, the one before goes on: %s", reason)
                self._told("refused")
                return
            self._served.swap(agent)
            self._loaded = found
            allocator.give_back()
        log.info("another model is served; conversations under way go on with the one before")
        self._told("swapped")

    def watch(
        self, folder: Path, *, every: float = WATCH_SECONDS, stopped: threading.Event | None = None
    ) -> threading.Thread:
        """Reload whenever files in a folder have changed and are no longer being written."""
        stop = stopped or threading.Event()

        def run() -> None:
            tried = last = _stamps(folder)
            while not stop.wait(every):
                before, last = last, _stamps(folder)
                if last != tried and last == before:
                    tried = last
                    self.reload()

        thread = threading.Thread(target=run, name="watch", daemon=True)
        thread.start()
        return thread

    def on_hangup(self) -> None:
        """Reload at every SIGHUP.

        In a terminal, SIGHUP still means that the terminal is gone, and ends the server.
        """
        if not hasattr(signal, "SIGHUP") or (sys.stdin and sys.stdin.isatty()):
            return
        asked: queue.SimpleQueue[None] = queue.SimpleQueue()  # its put is reentrant

        def run() -> None:
            while True:
                asked.get()
                self.reload()

        threading.Thread(target=run, name="reload", daemon=True).start()
        signal.signal(signal.SIGHUP, lambda *_: asked.put(None))


def _stamps(folder: Path) -> list[tuple[str, int, int]]:
    """Return the names, sizes and times of a folder's files; [] if there is no such folder."""
    found = []
    for path in sorted(folder.glob("*")):
        with contextlib.suppress(OSError):  # it may have been removed by now
            about = path.stat()
            found.append((path.name, about.st_size, about.st_mtime_ns))
    return found
