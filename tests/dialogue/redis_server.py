"""A real redis-server of a test's own, on loopback, without a file on the disk."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from typing import Self

import pytest
import redis

BINARY = shutil.which("redis-server")
needs_redis = pytest.mark.skipif(
    BINARY is None, reason="redis-server is not there; apt-get install redis-server"
)


class RedisServer:
    """Starts on a port that stays the same, and can be stopped, frozen and filled."""

    def __init__(self, *options: str) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port: int = free.getsockname()[1]
        self._options = options
        self._process: subprocess.Popen[bytes]

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def client(self) -> redis.Redis:
        return redis.Redis(port=self.port)

    def start(self) -> Self:
        assert BINARY
        command = [BINARY, "--port", str(self.port), "--bind", "127.0.0.1", "--save", ""]
        self._process = subprocess.Popen(
            [*command, "--appendonly", "no", "--dir", "/tmp", *self._options],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for _ in range(600):
            with contextlib.suppress(redis.ConnectionError), self.client as client:
                if client.ping():
                    return self
            time.sleep(0.05)
        raise AssertionError("redis-server does not start")

    def stop(self) -> None:
        self.thaw()
        self._process.kill()
        self._process.wait()

    def freeze(self) -> None:
        os.kill(self._process.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        os.kill(self._process.pid, signal.SIGCONT)


@contextlib.contextmanager
def running(*options: str) -> Iterator[RedisServer]:
    server = RedisServer(*options).start()
    try:
        yield server
    finally:
        server.stop()


class Between:
    """Stands between a store and Redis, passes on what both say, and may lose Redis's next answer.

    loses: "" for none; "hangs up": the connection is closed instead; "says nothing".
    """

    def __init__(self, port: int) -> None:
        self._port, self.loses = port, ""
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._open = contextlib.ExitStack()
        self.url = f"redis://127.0.0.1:{self._listening.getsockname()[1]}/0"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)  # ends accept(), which close() would not
        self._listening.close()
        self._open.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # until it is closed
            while True:
                client, _ = self._listening.accept()
                server = socket.create_connection(("127.0.0.1", self._port))
                self._open.enter_context(client)
                self._open.enter_context(server)
                for pump in (self._ask, self._answer):
                    threading.Thread(target=pump, args=(client, server), daemon=True).start()

    def _ask(self, client: socket.socket, server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while said := client.recv(1 << 16):
                server.sendall(said)

    def _answer(self, client: socket.socket, server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while answer := server.recv(1 << 16):
                lost, self.loses = self.loses, ""
                if lost == "hangs up":
                    client.shutdown(socket.SHUT_RDWR)
                elif not lost:
                    client.sendall(answer)
