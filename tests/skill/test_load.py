"""Nothing that an unauthenticated caller does grows the server's memory or keeps Alexa waiting."""

import functools
import http.client
import json
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from .conftest import read_request
from .rig import SKILL, with_time

ROOT = Path(__file__).parent.parent.parent
REQUESTS, HELD, SILENT, THREADS = 10_000, 200, 1000, 4
GROWTH = 8 << 20  # bytes: what an allocator may keep
SERVER = f"""
from app import Settings, create_app, listen
from tests.skill.conftest import FakeAgent
settings = Settings(port=0, skill_ids=({SKILL!r},))
server = listen(create_app(settings, FakeAgent()), settings)
print(server.effective_port, flush=True)
server.run()
"""


@pytest.fixture
def running(alexa):
    """The server in a process of its own: its port, and how to read its resident memory."""
    environment = {**os.environ, **alexa.s3.environment}
    command = [sys.executable, "-c", SERVER]
    with subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        try:
            yield int(process.stdout.readline()), lambda: resident(process.pid)
        finally:
            process.kill()


def resident(pid):
    (line,) = (
        line
        for line in Path(f"/proc/{pid}/status").read_text().splitlines()
        if line.startswith("VmRSS:")
    )
    return int(line.split()[1]) << 10


def hold(port, number):
    """Open a connection and stop in the middle of the headers, or of a body of 256 KB."""
    connection = socket.create_connection(("127.0.0.1", port))
    head = b"POST / HTTP/1.1\r\nHost: localhost\r\n"
    connection.sendall(
        head + (b"X: " if number % 2 else b"Content-Length: 262000\r\n\r\n" + b"x" * 100_000)
    )
    return connection


def post(connection, body, headers):
    connection.request("POST", "/", body, {**headers, "Content-Type": "application/json"})
    answer = connection.getresponse()
    answer.read()
    return answer.status


def be_alexa(port, alexa, address):
    """Send a turn, and give the seconds that it took."""
    body = json.dumps(with_time(read_request("chat"))).encode()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    start = time.monotonic()
    assert post(connection, body, alexa.sign(body, address)) == 200
    connection.close()
    return time.monotonic() - start


def flood(port, numbers, statuses):
    """Ask with certificate URLs that nobody has seen before."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    for number in numbers:
        url = f"https://s3.amazonaws.com/echo.api/{number}-{'x' * 300}.pem"
        statuses.append(
            post(connection, b"{}", {"Signature-256": "AAAA", "SignatureCertChainUrl": url})
        )
    connection.close()


@pytest.mark.slow
@pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="resident memory is read from /proc"
)
def test_ten_thousand_strangers_and_two_hundred_who_hold_the_line(running, alexa):
    port, memory = running
    good = functools.partial(be_alexa, port, alexa, alexa.publish())
    good()
    held = [hold(port, number) for number in range(HELD)]
    statuses, waits = [], []
    flood(port, range(REQUESTS // 10), statuses)
    before = memory()
    parts = [
        range(start, REQUESTS, THREADS) for start in range(REQUESTS // 10, REQUESTS // 10 + THREADS)
    ]
    strangers = [threading.Thread(target=flood, args=(port, part, statuses)) for part in parts]
    for stranger in strangers:
        stranger.start()
    while any(stranger.is_alive() for stranger in strangers):
        waits.append(good())
        time.sleep(0.2)
    waits.append(good())
    grown = memory() - before
    print(
        f"memory {before >> 20} MB, grown by {grown >> 10} KB; a good request took at most "
        f"{max(waits) * 1e3:.0f} ms of {len(waits)}"
    )
    for connection in held:
        connection.close()
    assert statuses == [400] * REQUESTS
    assert max(waits) <= 1
    assert grown <= GROWTH


@pytest.mark.slow
def test_a_thousand_who_hold_the_line_do_not_keep_alexa_waiting(running, alexa, many_files):
    """No further connection was accepted until one of them had been silent for half a minute."""
    port, _ = running
    address, held = alexa.publish(), []
    try:
        held.extend(hold(port, number) for number in range(SILENT))
        for _ in range(5):
            be_alexa(port, alexa, address)
    finally:
        for connection in held:
            connection.close()
