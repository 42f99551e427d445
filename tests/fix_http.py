"""A small HTTP server in a thread that answers as it is told, and remembers what it was asked."""

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest


@dataclass
class Asked:
    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Reply:
    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict[str, str])
    act: Callable[[Any], None] | None = None
    """Instead of answering: what to do with the connection."""


@dataclass
class Site:
    """`replies`: by `GET /path`. What is not in it is 404."""

    replies: dict[str, Reply] = field(default_factory=dict[str, Reply])
    asked: list[Asked] = field(default_factory=list[Asked])
    address: str = ""
    done: threading.Event = field(default_factory=threading.Event)

    def says(self, what: str, status: int = 200, body: Any = b"", **headers: str) -> None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.replies[what] = Reply(status, data, {name.replace("_", "-"): value for name, value in headers.items()})

    def paths(self) -> list[str]:
        return [f"{one.method} {one.path}" for one in self.asked]


def _serving(site: Site) -> type[BaseHTTPRequestHandler]:
    class Answers(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            site.asked.append(Asked(self.command, self.path, dict(self.headers.items()), body))
            reply = site.replies.get(f"{self.command} {self.path.partition('?')[0]}", Reply(404))
            if reply.act is not None:
                reply.act(self)
                self.close_connection = True
                return
            self.send_response(reply.status)
            for name, value in reply.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(reply.body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(reply.body)

        do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = do_HEAD = answer  # noqa: N815

        def log_message(self, format: str, *args: Any) -> None:
            pass

    return Answers


class _Quiet(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hung up is what some tests are about."""


def serving(site: Site) -> Iterator[Site]:
    with _Quiet(("127.0.0.1", 0), _serving(site)) as server:
        site.address = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield site
        finally:
            site.done.set()
            server.shutdown()
            thread.join()


@pytest.fixture
def site() -> Iterator[Site]:
    yield from serving(Site())


@pytest.fixture
def other_site() -> Iterator[Site]:
    yield from serving(Site())
