"""A tunnel run by a program that prints its https address: cloudflared, or your own command."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import threading
from contextlib import suppress

from skill.redaction import redact
from skill.tunnel import END_SECONDS, GOES_ON, REASON_CHARACTERS, SECONDS, NoTunnel

CLOUDFLARED = "cloudflared tunnel --no-autoupdate --url http://127.0.0.1:{port}"
FIXED_SECONDS = 2.0  # a command with a fixed domain counts as working once it has run this long
_INSTALL = {
    "cloudflared": "install it from https://developers.cloudflare.com/"
    "cloudflare-one/connections/connect-networks/downloads/"
}
# Only an address without a path: such programs also mention web pages, which have one.
_ADDRESS = re.compile(
    r"https://((?:[a-z0-9](?:[a-z0-9-]*[a-z0-9])?\.)+[a-z]{2,})/?(?![\w/:?#.-])", re.IGNORECASE
)
_QUICK = re.compile(
    r"https://((?!api\.)[a-z0-9-]+\.trycloudflare\.com)(?![\w/:?#.-])", re.IGNORECASE
)


class CommandTunnel:
    """A running tunnel program and its address."""

    def __init__(
        self, process: subprocess.Popen[str], reader: threading.Thread, address: str
    ) -> None:
        self._process, self._reader, self.address = process, reader, address

    def is_alive(self) -> bool:
        """Return whether the program still runs."""
        return self._process.poll() is None

    def close(self) -> None:
        """End the program and every process that it started."""
        _end(self._process, self._reader)


def open_by_command(
    command: str, port: int, *, domain: str = "", seconds: float = SECONDS
) -> CommandTunnel:
    """Start a command and wait for its address; {port} in the command stands for the local port.

    domain: the domain of a fixed address, which the command need not print. Raises NoTunnel if the
    command cannot be started, ends, or prints no address.
    """
    arguments = [part.replace("{port}", str(port)) for part in shlex.split(command)]
    pattern = _QUICK if command == CLOUDFLARED else _ADDRESS
    try:
        process = subprocess.Popen(
            arguments, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            encoding="utf-8", errors="replace", start_new_session=True,
        )  # fmt: skip
    except OSError as error:
        advice = _INSTALL.get(arguments[0], "make sure that it is installed and on PATH")
        raise NoTunnel(
            f"{arguments[0]} cannot be started ({error.strerror}): {advice}; {GOES_ON}"
        ) from None
    found: list[str] = []
    last = [""]
    settled = threading.Event()

    def read() -> None:
        assert process.stdout is not None
        with process.stdout as output:
            for line in output:  # to the end: the program would block on a full pipe
                last[0] = line.strip() or last[0]
                if not found and (address := pattern.search(line)):
                    found.append(f"https://{address[1].lower()}")
                    settled.set()
        settled.set()

    reader = threading.Thread(target=read, name="tunnel output", daemon=True)
    reader.start()
    if domain and _lives(process, FIXED_SECONDS):
        return CommandTunnel(process, reader, f"https://{domain}")
    settled.wait(seconds)
    if found and not domain:
        return CommandTunnel(process, reader, found[0])
    ended = settled.is_set()
    _end(process, reader)
    said = redact(last[0], ())[:REASON_CHARACTERS]
    what = (
        f"ended; its last output was: {said or 'nothing'}"
        if ended
        else f"printed no https address within {seconds:.0f} s"
    )
    raise NoTunnel(f"{arguments[0]} {what}; {GOES_ON}")


def _lives(process: subprocess.Popen[str], seconds: float) -> bool:
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        return True
    return False


def _end(process: subprocess.Popen[str], reader: threading.Thread) -> None:
    with suppress(OSError):
        if os.name == "posix":
            os.killpg(process.pid, signal.SIGTERM)
        else:
            process.terminate()
    try:
        process.wait(END_SECONDS)
    except subprocess.TimeoutExpired:
        with suppress(OSError):
            os.killpg(process.pid, signal.SIGKILL) if os.name == "posix" else process.kill()
        process.wait()
    reader.join(END_SECONDS)
