"""An internet of few hosts: TLS of their own, and behind it ports of this machine."""

import contextlib
import socket
import socketserver
import ssl
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from .rig import Authority, pem, rsa_key


class Internet(socketserver.ThreadingTCPServer):
    """A CONNECT proxy to a few hosts: each has its own TLS and leads to a port of this machine.

    The product is pointed here by https_proxy and SSL_CERT_FILE; nothing in it is patched.
    """

    allow_reuse_address = daemon_threads = True
    block_on_close = False

    def __init__(self, authority: Authority, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Passage)
        self.authority, self.folder = authority, Path(folder)
        self.hosts: dict[str, tuple[ssl.SSLContext, int]] = {}
        self.asked: list[str] = []
        roots = self.folder / "internet.pem"
        roots.write_bytes(pem(authority.root))
        address = f"http://127.0.0.1:{self.server_address[1]}"
        self.environment = {"https_proxy": address, "SSL_CERT_FILE": str(roots), "no_proxy": ""}
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def put(self, host: str, port: int, *, names: Sequence[str] | None = None) -> None:
        """Let a host's address lead to a port; names: whom its certificate is for."""
        key = rsa_key("internet")
        certificate, private = (self.folder / f"{host}.{kind}" for kind in ("crt", "key"))
        certificate.write_bytes(
            pem(self.authority.leaf(key=key, san=names or (host,)), self.authority.middle)
        )
        private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(certificate, private)
        self.hosts[host] = (tls, port)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: a client that refuses a certificate cuts the connection."""


class _Passage(socketserver.StreamRequestHandler):
    server: Internet

    def handle(self) -> None:
        host = self.rfile.readline().split()[1].decode().rpartition(":")[0]
        while self.rfile.readline().strip():
            pass
        self.server.asked.append(host)
        if host not in self.server.hosts:
            self.wfile.write(b"HTTP/1.1 502 no such host\r\nContent-Length: 0\r\n\r\n")
            return
        tls, port = self.server.hosts[host]
        self.wfile.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        with contextlib.suppress(OSError), tls.wrap_socket(self.request, server_side=True) as near:
            try:
                far = socket.create_connection(("127.0.0.1", port), timeout=30)
            except OSError:  # what is behind a tunnel has gone
                near.sendall(
                    b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
                )
                return
            with far:
                thread = threading.Thread(target=_pass, args=(far, near), daemon=True)
                thread.start()
                _pass(near, far)
                thread.join(5)


def _pass(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while part := source.recv(65536):
            target.sendall(part)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)
