"""What the server counts and times for Prometheus: GET /metrics.

Only this file knows prometheus_client. If PROMETHEUS_MULTIPROC_DIR is set, as it is by
deploy/gunicorn.conf.py, workers share their figures in that folder, and each reports all of them.
"""

from __future__ import annotations

import hmac
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from flask import Request, Response
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
    multiprocess,
    values,
)
from prometheus_client.mmap_dict import MmapedDict

from dialogue.answers import Answer
from skill.envelope import Junk
from skill.verify import NotAlexa

if TYPE_CHECKING:
    from dialogue.agent import Reply

log = logging.getLogger(__name__)

SECONDS = (0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1, 1.5, 2, 3, 5, 6.5, 8)
STAGE_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.5, 1, 2, 5)
BATCH_SIZES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32)
TYPES = frozenset(
    {"LaunchRequest", "IntentRequest", "SessionEndedRequest", "CanFulfillIntentRequest"}
)
# Why a request was refused, by a word of the finding: callers must not be able to invent labels.
REFUSALS = {
    "certificate": "certificate",
    "timestamp": "timestamp",
    "another skill": "skill",
    "verification is off": "stranger",
}
FIGURES_BYTES = 1 << 16  # reserved for each file in which a worker shares figures


class _Reserved(MmapedDict):
    """A worker's shared figures, in a file whose disk blocks are reserved.

    On a full disk, writing to a mapped file without blocks kills the process (SIGBUS). A worker
    that starts on a full disk keeps its figures to itself: they are missing from /metrics.
    """

    def __init__(self, filename: str, read_mode: bool = False) -> None:
        name = filename if read_mode else _reserved(filename)
        super().__init__(name, read_mode)  # type: ignore[no-untyped-call]


def _reserved(filename: str) -> str:
    """Reserve a file's blocks and return its name; on a full disk, return a file in memory."""
    if sys.platform != "linux":
        return filename
    try:
        with Path(filename).open("ab") as file:
            os.posix_fallocate(file.fileno(), 0, FIGURES_BYTES)
        return filename
    except OSError as error:
        log.error("the figures of this worker are missing from /metrics: %s", error.strerror)
        Path(filename).unlink(missing_ok=True)
        return f"/proc/self/fd/{os.memfd_create('figures')}"


vars(values)["MmapedDict"] = _Reserved


class Metrics:
    """The figures of this process, and of its siblings under gunicorn."""

    def __init__(self) -> None:
        own = CollectorRegistry()
        self._registry = own

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"skill_{name}", text, labels, registry=own)

        def gauge(name: str, text: str) -> Gauge:
            return Gauge(f"skill_{name}", text, registry=own, multiprocess_mode="livesum")

        self._seconds = Histogram(
            "skill_request_seconds", "From a request to its response", ["type"],
            buckets=SECONDS, registry=own,
        )  # fmt: skip
        self._stages = Histogram(
            "skill_stage_seconds", "Of an answer, by stage; the agent's are of a whole batch",
            ["stage"], buckets=STAGE_SECONDS, registry=own,
        )  # fmt: skip
        self._batches = Histogram(
            "skill_batch_size", "Conversations answered together", buckets=BATCH_SIZES, registry=own
        )
        self._answers = counter("answers", "Utterances answered, by whom", "by")
        self._safety = counter("safety", "Fixed answers of safety, by reason", "reason")
        self._fallbacks = counter("fallbacks", "Replies of which no candidate might be said")
        self._misses = counter("deadline_misses", "Answers that came too late and were not said")
        self._refusals = counter("refusals", "Requests refused, by reason", "reason")
        self._failures = counter("failures", "Requests that raised and were answered all the same")
        self._reloads = counter("reloads", "Models loaded while serving, by outcome", "outcome")
        self._waiting = gauge("queue_length", "Utterances that waited when a batch was answered")
        self._resident = gauge("resident_bytes", "Memory of the processes, shared pages included")
        self._conversations = gauge("conversations", "Conversations kept in memory")
        self._kept = gauge("conversation_bytes", "Memory that kept conversations take, about")

    def requested(self, kind: str, seconds: float) -> None:
        """Count a request that was answered."""
        self._seconds.labels(kind if kind in TYPES else "other").observe(seconds)
        self._resident.set(resident_bytes())

    def answered(self, given: Answer) -> None:
        """Count the answer to an utterance."""
        self._answers.labels(given.by).inc()
        if given.by == "safety":
            self._safety.labels(given.reason).inc()
        if given.by == "late":
            self._misses.inc()
        for stage, seconds in given.seconds:
            self._stages.labels(stage).observe(seconds)

    def replied(self, replies: Sequence[Reply], *, waiting: int = 0) -> None:
        """Count a batch of the agent's replies. waiting: how many utterances are still waiting."""
        self._waiting.set(waiting)
        self._batches.observe(len(replies))
        for stage, seconds in replies[0].seconds:
            self._stages.labels(stage).observe(seconds)
        self._fallbacks.inc(sum(reply.is_fallback for reply in replies))

    def keeps(self, conversations: int, nbytes: int) -> None:
        """Record how many conversations are kept, and their size."""
        self._conversations.set(conversations)
        self._kept.set(nbytes)

    def refused(self, finding: NotAlexa | Junk) -> None:
        """Count a request that is not answered."""
        self._refusals.labels(reason_of(finding)).inc()

    def failed(self) -> None:
        """Count a request whose handler raised."""
        self._failures.inc()

    def reloaded(self, outcome: str) -> None:
        """Count a model that was loaded while serving. outcome: "swapped" or "refused"."""
        self._reloads.labels(outcome).inc()

    def response(self) -> Response:
        """Return all figures in Prometheus's format."""
        registry = self._registry
        if os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
            registry = CollectorRegistry()
            multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        return Response(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)


def reason_of(finding: NotAlexa | Junk) -> str:
    """Return why a request was refused, as one of a few labels."""
    if isinstance(finding, Junk):
        return "junk"
    found = (label for word, label in REFUSALS.items() if word in str(finding))
    return next(found, "signature")


def resident_bytes(process: int | None = None) -> int:
    """Return the memory of a process, or of this one; 0 if it is unknown."""
    try:
        pages = Path(f"/proc/{process or 'self'}/statm").read_text("ascii").split()[1]
    except OSError:  # only Linux has this file, and only while the process runs
        return 0
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def may_read(request: Request, token: str) -> bool:
    """Return whether a request carries the token."""
    given = request.headers.get("Authorization", "")
    return bool(token) and hmac.compare_digest(given.encode(), f"Bearer {token}".encode())
