"""What stands between us and a store: a bad line, one that hangs, TLS with a private authority, a company's proxy.

Each is a small server of threads on 127.0.0.1 that hands bytes on to a real one.
"""

import random
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

_NEVER = 1 << 62


@dataclass(frozen=True, slots=True)
class Fate:
    """What becomes of one connection."""

    refused: bool = False
    asked_bytes: int = _NEVER
    """It is cut when so much was sent by the client."""
    answered_bytes: int = _NEVER
    """It is cut when so much was answered."""
    delay_s: float = 0
    hangs: bool = False
    """Instead of being cut it says nothing more."""


GOOD = Fate()


class Line:
    """Listens, and hands each connection on to `target` as its fate will have it."""

    def __init__(
        self, target: str, fate: Callable[[], Fate] = lambda: GOOD, *, tls: ssl.SSLContext | None = None
    ) -> None:
        found = urlsplit(target)
        assert found.hostname is not None
        self._to, self._fate, self._tls = (found.hostname, found.port or 80), fate, tls
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._listening.settimeout(0.1)
        self._ended = threading.Event()
        self._open: set[socket.socket] = set()
        self.fates: list[Fate] = []
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        port: int = self._listening.getsockname()[1]
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{port}"

    def end(self) -> None:
        self._ended.set()
        self._thread.join()
        self._listening.close()
        for one in list(self._open):
            _cut(one)

    def _accept(self) -> None:
        while not self._ended.is_set():
            try:
                client, _ = self._listening.accept()
            except TimeoutError:
                continue
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        client.settimeout(None)
        fate = self._fate()
        self.fates.append(fate)
        if fate.refused:
            _cut(client)
            return
        self._ended.wait(fate.delay_s)
        try:
            if self._tls is not None:
                client = self._tls.wrap_socket(client, server_side=True)
            server = self._reach(client)
        except OSError:
            _cut(client)
            return
        self._open |= {client, server}
        back = threading.Thread(target=self._pump, args=(server, client, fate.answered_bytes, fate), daemon=True)
        back.start()
        self._pump(client, server, fate.asked_bytes, fate)
        back.join()
        self._open -= {client, server}

    def _reach(self, client: socket.socket) -> socket.socket:
        del client
        return socket.create_connection(self._to)

    def _pump(self, source: socket.socket, sink: socket.socket, left: int, fate: Fate) -> None:
        with suppress(OSError):
            while data := source.recv(65_536):
                sink.sendall(data[:left])
                left -= len(data)
                if left <= 0:
                    break
        if left <= 0 and fate.hangs:
            self._ended.wait()
        _cut(source)
        _cut(sink)


def _cut(one: socket.socket) -> None:
    """At once, as a cable does: the other side gets a reset where the system can give it one."""
    with suppress(OSError):
        one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    with suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)
    one.close()


def bad_luck(seed: int, *, share: float = 0.4) -> Callable[[], Fate]:
    """Fates by a seed: so many of the connections are refused, slow, or cut somewhere."""
    chance, lock = random.Random(seed), threading.Lock()

    def fate() -> Fate:
        with lock:
            if chance.random() > share:
                return Fate(delay_s=chance.choice([0, 0, 0.005]))
            cut = int(2 ** chance.uniform(0, 22))
            return chance.choice(
                [
                    Fate(refused=True),
                    Fate(asked_bytes=cut),
                    Fate(answered_bytes=cut),
                    Fate(answered_bytes=cut // 64 + 1),
                ]
            )

    return fate


class Proxy(Line):
    """A proxy for HTTP: CONNECT, or requests with a whole address. Knows whom it was asked for."""

    def __init__(self) -> None:
        super().__init__("http://127.0.0.1:9")
        self.asked: list[str] = []

    def _reach(self, client: socket.socket) -> socket.socket:
        head = client.recv(65_536, socket.MSG_PEEK)
        method, _, rest = head.partition(b" ")
        where = rest.partition(b" ")[0].decode()
        if method == b"CONNECT":
            while b"\r\n\r\n" not in head:
                head = client.recv(65_536, socket.MSG_PEEK)
            client.recv(head.index(b"\r\n\r\n") + 4)
            host, _, port = where.partition(":")
        else:
            found = urlsplit(where)
            host, port = found.hostname or "", str(found.port or 80)
        self.asked.append(f"{method.decode()} {host}:{port}")
        server = socket.create_connection((host, int(port)))
        if method == b"CONNECT":
            client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        return server


L = TypeVar("L", bound=Line)


@contextmanager
def ending(line: L) -> Generator[L]:
    try:
        yield line
    finally:
        line.end()


# ── a private authority ──────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Authority:
    ca: Path
    """What clients have to believe."""
    server: ssl.SSLContext


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """A certificate for 127.0.0.1, by an authority that nobody knows."""
    folder, now = tmp_path_factory.mktemp("authority"), datetime.now(UTC)
    keys = [ec.generate_private_key(ec.SECP256R1()) for _ in range(2)]
    names = [x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]) for name in ("test authority", "127.0.0.1")]

    def certificate(number: int, extension: x509.ExtensionType) -> bytes:
        made = (
            x509.CertificateBuilder().subject_name(names[number]).issuer_name(names[0])
            .public_key(keys[number].public_key()).serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1)).not_valid_after(now + timedelta(days=2))
            .add_extension(extension, critical=number == 0)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(keys[number].public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(keys[0].public_key()), critical=False)
        )  # fmt: skip
        return made.sign(keys[0], hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    ca, chain, key = folder / "ca.pem", folder / "server.pem", folder / "server.key"
    ca.write_bytes(certificate(0, x509.BasicConstraints(ca=True, path_length=None)))
    chain.write_bytes(certificate(1, x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])))
    key.write_bytes(
        keys[1].private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain, key)
    return Authority(ca, context)
