"""What deploy/compose.yaml describes, without containers: nginx, two gunicorns and Redis."""

import contextlib
import http.client
import os
import shutil
import signal
import socket
import ssl
import subprocess
import threading
import time

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from ..skill.rig import Authority, pem, rsa_key
from .serving import ROOT, Server, free_port, spoken

needed = ("nginx", "redis-server")
missing = [name for name in needed if not shutil.which(name)]
pytestmark = pytest.mark.skipif(bool(missing), reason=f"{', '.join(missing)} is not there")
TLS_PORT = 8443  # of the shipped file
SILENT = 1000


def nginx_folder(folder, ports):
    """Put the shipped file beside a certificate, and beside an upstream of these ports."""
    (folder / "tls").mkdir(parents=True)
    shutil.copy(ROOT / "deploy" / "nginx.conf", folder)
    authority, key = Authority(), rsa_key("nginx")
    certificate = authority.leaf(key=key, san=("localhost",))
    (folder / "tls" / "certificate.pem").write_bytes(pem(certificate, authority.middle))
    written = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (folder / "tls" / "certificate.key").write_bytes(written)
    (folder / "roots.pem").write_bytes(pem(authority.root))
    shipped = (ROOT / "deploy" / "upstream.conf").read_text()
    line = "server skill:5000 resolve max_fails=2 fail_timeout=5s;"
    assert line in shipped
    servers = "\n".join(line.replace("skill:5000 resolve", f"127.0.0.1:{port}") for port in ports)
    (folder / "upstream.conf").write_text(shipped.replace(line, servers))
    return folder


def nginx(folder, *options):
    return ["nginx", "-p", str(folder), "-c", str(folder / "nginx.conf"), *options]


def test_nginx_takes_the_shipped_file_and_finds_a_planted_error(tmp_path):
    folder = nginx_folder(tmp_path / "nginx", [5001, 5002])

    def check():
        return subprocess.run(nginx(folder, "-t"), capture_output=True, text=True, check=False)

    assert check().returncode == 0, check().stderr
    shipped = (folder / "nginx.conf").read_text()
    (folder / "nginx.conf").write_text(
        shipped.replace("client_max_body_size 256k", "client_max_body 256k")
    )
    assert 'unknown directive "client_max_body"' in check().stderr


class Topology:
    """All of it, and a way to ask it as Alexa does."""

    def __init__(self, folder, alexa, stack):
        self.folder, redis_port = folder, free_port()
        options = [
            "--port",
            str(redis_port),
            "--save",
            "",
            "--appendonly",
            "no",
            "--dir",
            str(folder),
        ]
        self.redis = stack.enter_context(running(["redis-server", *options]))
        state = f"redis://127.0.0.1:{redis_port}/0"
        self.servers = [Server(folder, free_port(), alexa, STATE=state) for _ in range(2)]
        for server in self.servers:
            stack.callback(server.kill)
        for server in self.servers:
            server.wait()
        nginx_folder(folder / "nginx", [server.port for server in self.servers])
        line = nginx(folder / "nginx", "-g", "daemon off;")
        self.nginx = stack.enter_context(running(line))
        self.tls = ssl.create_default_context(cafile=folder / "nginx" / "roots.pem")
        wait_for_port(TLS_PORT)

    def ask(self, method, path, body=None, headers=()):
        connection = http.client.HTTPSConnection(
            "localhost", TLS_PORT, timeout=30, context=self.tls
        )
        with contextlib.closing(connection):
            connection.request(method, path, body, dict(headers))
            answer = connection.getresponse()
            return answer.status, answer.read().decode()

    def say(self, text, session):
        """Say something through nginx, and return what is said."""
        return spoken(self.servers[0].say(text, session, ask=self.ask))


@contextlib.contextmanager
def running(line):
    process = subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(20)


def wait_for_port(port):
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.05)
    raise AssertionError(f"nobody listens on {port}")


@pytest.fixture(scope="module")
def topology(tmp_path_factory, outside):
    with pytest.MonkeyPatch.context() as patch, contextlib.ExitStack() as stack:
        for name, value in outside.s3.environment.items():
            patch.setenv(name, value)
        yield Topology(tmp_path_factory.mktemp("topology"), outside, stack)


@pytest.mark.slow
def test_both_servers_answer_through_nginx_and_only_the_skill_is_public(topology):
    for number in range(8):
        assert topology.say("do you like music", f"s{number}")
    for server in topology.servers:
        assert [line for line in server.lines() if line["message"] == "answered"]
    assert topology.ask("GET", "/healthz") == (200, '{"status":"ok"}\n')
    assert topology.ask("GET", "/metrics")[0] == 404
    assert topology.ask("GET", "/readyz")[0] == 404
    assert topology.ask("GET", "/")[0] == 403
    assert topology.ask("POST", "/", b" " * (256 * 1024 + 1))[0] == 413
    assert topology.ask("POST", "/", b"{}")[0] == 400


@pytest.mark.slow
def test_a_conversation_goes_on_at_whichever_server_the_next_turn_reaches(topology):
    """Each server knows the turns that the other kept in Redis: this is the fourth turn."""
    envelope = {}
    for _ in range(4):
        answer = topology.servers[0].say("what is your name", "shared", ask=topology.ask)
        envelope = answer["sessionAttributes"]
    assert envelope["turn"] == 4


@pytest.mark.slow
def test_a_thousand_silent_connections_keep_nobody_waiting_and_are_closed(topology, many_files):
    """Some say nothing at all, or nothing after TLS; others stop in the headers or in the body."""
    begun = (
        b"",
        b"POST / HTTP/1.1\r\nX: ",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n",
    )
    silent = []
    try:
        for number in range(SILENT):
            connection = socket.create_connection(("127.0.0.1", TLS_PORT))
            if number % 4:
                connection = topology.tls.wrap_socket(connection, server_hostname="localhost")
                connection.sendall(begun[number % 4 - 1])
            silent.append(connection)
        for number in range(8):
            assert topology.say("what is your name", f"silent {number}")
        for connection in silent:
            connection.settimeout(60)
            with contextlib.suppress(ConnectionResetError, ssl.SSLError):
                while connection.recv(4096):  # nginx may say first that it waits no longer
                    pass
    finally:
        for connection in silent:
            connection.close()


@pytest.mark.slow
def test_a_server_that_is_killed_in_the_middle_takes_nobody_down(topology):
    victim, answers = topology.servers[0], []

    def talk(number):
        for _ in range(6):  # answered by a fixed sentence, in time on a busy machine, too
            answers.append(topology.say("what is your name", f"k{number}"))

    talkers = [threading.Thread(target=talk, args=(number,)) for number in range(4)]
    for talker in talkers:
        talker.start()
    while not answers:
        time.sleep(0.001)
    for pid in (*victim.workers(), victim.process.pid):
        os.kill(pid, signal.SIGKILL)
    for talker in talkers:
        talker.join(60)
    assert len(answers) == 24
    assert all(answers)
