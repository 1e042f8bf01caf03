"""The server as deployed, in its own process: gunicorn with the shipped configuration."""

import contextlib
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self, cast

from ..skill.conftest import read_request
from ..skill.rig import SKILL, Alexa, with_time

ROOT = Path(__file__).parent.parent.parent
STARTED = 180.0  # seconds that loading may take on a busy machine
KEY = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="  # of the tests, and of nobody else


class Server:
    """A running gunicorn.

    application: which one it serves; None: python app.py runs in its place. prefix: a command line
    that runs the server's.
    """

    def __init__(
        self,
        folder: Path,
        port: int,
        alexa: Alexa,
        *,
        application: str | None = "app:create_app()",
        prefix: Sequence[str] = (),
        **environment: str,
    ) -> None:
        self.port, self._alexa, self._address = port, alexa, alexa.publish()
        self.log = Path(folder, f"{port}.log")
        gunicorn = ["-m", "gunicorn", "-c", "deploy/gunicorn.conf.py", f"--bind=127.0.0.1:{port}"]
        alone = ["app.py", "--tunnel=none", f"--port={port}"]
        command = [*prefix, sys.executable, *([*gunicorn, application] if application else alone)]
        given = {
            **os.environ, **alexa.s3.environment, "SKILL_ID": SKILL, "TMPDIR": str(folder),
            "LOG_FORMAT": "json",
        }  # fmt: skip
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                command, cwd=ROOT, env={**given, **environment}, stdout=log, stderr=log
            )

    def wait(self) -> Self:
        """Wait until it is ready."""
        deadline = time.monotonic() + STARTED
        while time.monotonic() < deadline:
            assert self.process.poll() is None, self.log.read_text()
            with contextlib.suppress(OSError):
                if self.get("/readyz")[0] == 200:
                    return self
            time.sleep(0.2)
        raise AssertionError(self.log.read_text())

    def get(self, path: str, **headers: str) -> tuple[int, str]:
        return self.ask("GET", path, None, headers)

    def ask(
        self, method: str, path: str, body: bytes | None, headers: dict[str, str]
    ) -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        with contextlib.closing(connection):
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()

    def say(
        self,
        text: str,
        session: str = "one",
        *,
        ask: Callable[[str, str, bytes, dict[str, str]], tuple[int, str]] | None = None,
        **attributes: Any,
    ) -> dict[str, Any]:
        """Say something as Alexa does, and return the response. ask: another way to the server."""
        body, headers = self.request(text, session, attributes)
        status, text = (ask or self.ask)("POST", "/", body, headers)
        assert status == 200, text
        return cast(dict[str, Any], json.loads(text))

    def request(
        self, text: str, session: str, attributes: Mapping[str, Any], *, seconds: float = 0
    ) -> tuple[bytes, dict[str, str]]:
        """Return the body and headers of a request of so many seconds from now."""
        envelope = with_time(read_request("chat"), seconds)
        envelope["request"]["requestId"] = f"amzn1.echo-api.request.{uuid.uuid4()}"
        envelope["session"] |= {"sessionId": session, "attributes": dict(attributes)}
        envelope["request"]["intent"]["slots"]["raw_input"]["value"] = text
        body = json.dumps(envelope).encode()
        signed = self._alexa.sign(body, self._address)
        return body, {**signed, "Content-Type": "application/json"}

    def lines(self) -> list[dict[str, Any]]:
        """Read the log."""
        return [json.loads(line) for line in self.log.read_text().splitlines() if line[:1] == "{"]

    def workers(self) -> list[int]:
        """Return the processes that the master has forked and that live."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [int(pid) for pid in children.read_text().split()]

    def kill(self) -> None:
        """End it and its workers at once."""
        with contextlib.suppress(FileNotFoundError):
            for worker in self.workers():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(worker, signal.SIGKILL)
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        self.process.terminate()
        return self.process.wait(30)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


def spoken(response: dict[str, Any]) -> str:
    """Return what a response says, without marks."""
    return re.sub("<[^>]+>", "", response["response"]["outputSpeech"]["ssml"])


def private_bytes(pid: int) -> int:
    """Return what a process has of its own, shared pages left out."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) << 10 for line in lines if line.startswith("Private_"))


def resident_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
