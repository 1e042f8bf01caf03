"""What stands outside: a certificate authority like Amazon's, Alexa who signs, and S3 who serves
chains, on loopback.

Nothing of the product is patched: it is pointed here by https_proxy (a CONNECT proxy, behind which
S3 speaks TLS) and SSL_CERT_FILE (the root), as a machine behind a company's proxy is.
"""

import base64
import contextlib
import socket
import socketserver
import ssl
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

Behaviour = Callable[[socket.socket], Any]  # what S3 does with a connection
Key = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
SKILL = "amzn1.ask.skill.00000000-0000-0000-0000-000000000000"  # the stored requests'
ALEXA_HOST, CHAIN_HOST = "echo-api.amazon.com", "s3.amazonaws.com"
_USES = (
    "digital_signature",
    "content_commitment",
    "key_encipherment",
    "data_encipherment",
    "key_agreement",
    "key_cert_sign",
)


@cache
def rsa_key(owner: str) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


@cache
def ec_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def key_usage(*uses: str) -> x509.KeyUsage:
    others = ("crl_sign", "encipher_only", "decipher_only")
    return x509.KeyUsage(**dict.fromkeys((*_USES, *others), False) | dict.fromkeys(uses, True))


def issue(
    subject: str,
    key: Key,
    issuer: str,
    issuer_key: rsa.RSAPrivateKey,
    *,
    ca: bool = False,
    san: Sequence[str] = (ALEXA_HOST,),
    days: tuple[int, int] = (-10, 10),
    usage: x509.ObjectIdentifier = ExtendedKeyUsageOID.SERVER_AUTH,
    uses: Sequence[str] | None = ("digital_signature", "key_encipherment"),
    critical: bool = True,
) -> x509.Certificate:
    """Issue a certificate that is valid from and until so many days from now.

    uses: what a leaf's key is for, as in Amazon's own; None: it says nothing of that.
    """
    now = datetime.now(UTC)
    name = {
        who: x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, who)]) for who in (subject, issuer)
    }
    builder = (
        x509.CertificateBuilder()
        .subject_name(name[subject])
        .issuer_name(name[issuer])
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + timedelta(days=days[0]))
        .not_valid_after(now + timedelta(days=days[1]))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()),
            critical=False,
        )
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    if ca:
        builder = builder.add_extension(key_usage("key_cert_sign", "crl_sign"), critical=True)
    else:
        builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        if uses is not None:
            builder = builder.add_extension(key_usage(*uses), critical=critical)
        if san:
            builder = builder.add_extension(
                x509.SubjectAlternativeName([x509.DNSName(host) for host in san]), critical=False
            )
    return builder.sign(issuer_key, hashes.SHA256())


class Authority:
    """A root and an intermediate, which issue leaves."""

    def __init__(self, owner: str = "amazon") -> None:
        self.root_key, self.middle_key = rsa_key(f"{owner} root"), rsa_key(f"{owner} middle")
        self.root = issue("root", self.root_key, "root", self.root_key, ca=True, days=(-100, 100))
        self.middle = issue(
            "middle", self.middle_key, "root", self.root_key, ca=True, days=(-50, 50)
        )

    def leaf(self, key: Key | None = None, **changes: Any) -> x509.Certificate:
        return issue("leaf", key or rsa_key("alexa"), "middle", self.middle_key, **changes)


def pem(*certificates: x509.Certificate) -> bytes:
    return b"".join(certificate.public_bytes(Encoding.PEM) for certificate in certificates)


def ok(body: bytes) -> Behaviour:
    """Let S3 answer with a body."""
    return lambda connection: connection.sendall(
        b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    )


BUSY = b"HTTP/1.1 503 Slow Down\r\nContent-Length: 0\r\n\r\n"


def in_turn(*behaviours: Behaviour) -> Behaviour:
    """Let S3 behave in one way after the other, and in the last one for ever."""
    left = list(behaviours)
    return lambda connection: (left.pop(0) if len(left) > 1 else left[0])(connection)


def raw(*parts: bytes | None, pause: float = 0.0) -> Behaviour:
    """Let S3 send some bytes as they are, with a pause after each; None: and so on for ever."""

    def behave(connection: socket.socket) -> None:
        last = b""
        for part in parts:
            if part is None:
                while True:
                    connection.sendall(last)
                    time.sleep(pause)
            connection.sendall(part)
            last = part
            time.sleep(pause)

    return behave


class S3(socketserver.ThreadingTCPServer):
    """A CONNECT proxy that leads to s3.amazonaws.com and nowhere else: `chains` says how each path
    behaves.
    """

    allow_reuse_address = daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(self, authority: Authority, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Tunnelled)
        self.chains: dict[str, Behaviour] = {}
        self.asked: list[str] = []
        self.connected: list[str] = []
        certificate, key = Path(folder, "s3.pem"), Path(folder, "s3.key")
        host_key = rsa_key("s3")
        certificate.write_bytes(
            pem(authority.leaf(key=host_key, san=(CHAIN_HOST,)), authority.middle)
        )
        key.write_bytes(host_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.tls.load_cert_chain(certificate, key)
        roots = Path(folder, "roots.pem")
        roots.write_bytes(pem(authority.root))
        self.environment = {
            "https_proxy": f"http://127.0.0.1:{self.server_address[1]}",
            "SSL_CERT_FILE": str(roots),
            "no_proxy": "",
        }
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: some tests cut connections short on purpose."""


class _Tunnelled(socketserver.StreamRequestHandler):
    server: S3

    def handle(self) -> None:
        target = self.rfile.readline().split()[1].decode()
        while self.rfile.readline().strip():
            pass
        self.server.connected.append(target)
        self.wfile.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        with (
            self.server.tls.wrap_socket(self.request, server_side=True) as connection,
            contextlib.suppress(OSError),
        ):
            path = connection.recv(65536).split()[1].decode()
            self.server.asked.append(path)
            self.server.chains.get(
                path, raw(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
            )(connection)


class Alexa:
    """Signs requests, and has its chain served."""

    def __init__(self, authority: Authority, s3: S3) -> None:
        self.authority, self.s3 = authority, s3
        self.good_chain = pem(authority.leaf(), authority.middle)

    def publish(self, behaviour: Behaviour | None = None) -> str:
        """Serve a chain (or what else is asked for) at an address of its own, and give its URL."""
        path = f"/echo.api/{uuid.uuid4()}.pem"
        self.s3.chains[path] = behaviour or ok(self.good_chain)
        return f"https://{CHAIN_HOST}{path}"

    def sign(
        self,
        body: bytes,
        url: str,
        *,
        key: rsa.RSAPrivateKey | None = None,
        sign: Callable[[rsa.RSAPrivateKey, bytes], bytes] | None = None,
    ) -> dict[str, str]:
        """Return the headers that Alexa sends with a body."""
        key = key or rsa_key("alexa")
        signature = sign(key, body) if sign else key.sign(body, padding.PKCS1v15(), hashes.SHA256())
        return {"Signature-256": base64.b64encode(signature).decode(), "SignatureCertChainUrl": url}


def now(seconds: float = 0) -> str:
    """Write the time so many seconds from now as Alexa does."""
    return (
        (datetime.now(UTC) + timedelta(seconds=seconds))
        .isoformat(timespec="seconds")
        .replace("+00:00", "Z")
    )


def with_time(envelope: dict[str, Any], seconds: float = 0) -> dict[str, Any]:
    """Copy an envelope, sent so many seconds from now."""
    return {**envelope, "request": {**envelope["request"], "timestamp": now(seconds)}}
