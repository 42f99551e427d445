"""One request and its answer, within bounds: time, size, and where a credential may go.

*Time.* The client's own timeouts are for each read, so a server that drips a byte now and then could hold us for hours.
The exchange therefore runs in a thread of its own, and at the deadline we go on without it.
*Size.* At most LARGEST_BODY_BYTES of an answer are read, and only where the check looks into it. We ask for it
uncompressed, and do not unpack one that comes compressed all the same: a kilobyte can unpack to a gigabyte.
*Where.* A redirect is followed for GET and HEAD, and only to the same scheme, host and port: nothing that we carry, no
bearer, header or cookie, reaches a host that the plan does not name.
*Words.* What is said about a failure is its kind and the address. Never a body, a header, a query, or a library's own
text, which may hold any of them.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, urlsplit

from backstay.ports import Heard
from backstay.values import say_span

if TYPE_CHECKING:
    import httpx2

LARGEST_BODY_BYTES = 1 << 20
MOST_REDIRECTS = 5
LOCAL = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True, slots=True)
class Sent:
    """A request with nothing left to look up. Holds secrets, and is never shown."""

    method: str
    url: str = field(repr=False)
    headers: dict[str, str] = field(repr=False)
    body: bytes | None = field(repr=False)
    read_body: bool
    """Whether anybody looks into the answer."""
    expect: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Answered:
    status: int
    body: bytes = field(repr=False)
    whole: bool
    """False: it was longer than we read, or came in a form that we do not unpack."""


@dataclass(frozen=True, slots=True)
class Unanswered:
    heard: Heard
    why: str


class Exchanges:
    """The requests of one flow: they share connections and cookies. A context manager."""

    def __init__(self, within: timedelta) -> None:
        """`within`: the time for each request, to its last byte."""
        self._within = within
        self._clients: dict[tuple[bool, bool], httpx2.Client] = {}

    def __enter__(self) -> "Exchanges":
        return self

    def __exit__(self, *exc: object) -> None:
        for client in self._clients.values():
            client.close()

    def make(self, sent: Sent) -> Answered | Unanswered:
        """Send it and hear the answer, or why there is none. Never raises for what the other side does."""
        split = taken_apart(sent.url)
        if split.scheme not in ("http", "https") or not split.hostname:
            return Unanswered("not-sent", "the address is not one of http or https")
        client = self._client(split.scheme == "https", split.hostname in LOCAL)
        found: list[Answered | Unanswered] = []
        thread = threading.Thread(
            target=lambda: found.append(_spoken(client, sent)), name="backstay-request", daemon=True
        )
        thread.start()
        thread.join(self._within.total_seconds())
        return found[0] if found else Unanswered("no-answer", f"did not answer within {say_span(self._within)}")

    def _client(self, secure: bool, local: bool) -> "httpx2.Client":
        import httpx2

        if (secure, local) not in self._clients:
            self._clients[secure, local] = httpx2.Client(
                verify=secure,  # making a TLS context takes longer than most requests; plain HTTP has no use for one
                trust_env=not local,  # a proxy must not answer for an application that is down
                timeout=self._within.total_seconds(),
                follow_redirects=False,
                headers={"User-Agent": "backstay-smoke", "Accept-Encoding": "identity"},
            )
        return self._clients[secure, local]


def taken_apart(url: str) -> SplitResult:
    """Its parts; all of them empty for what is no address."""
    try:
        found = urlsplit(url)
        found.port  # noqa: B018 - the port is only looked at here, and may be no number
    except ValueError:
        return SplitResult("", "", "", "", "")
    return found


def _spoken(client: "httpx2.Client", sent: Sent) -> Answered | Unanswered:
    import httpx2

    try:
        return _followed(client, sent)
    except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout, httpx2.ProxyError) as error:
        return Unanswered("not-sent", _no_connection(error))
    except (httpx2.UnsupportedProtocol, httpx2.InvalidURL, httpx2.LocalProtocolError, UnicodeError, ValueError):
        return Unanswered("not-sent", "the request could not be formed: look at its address and headers")
    except httpx2.TimeoutException:
        return Unanswered("no-answer", "did not answer in time")
    except (httpx2.HTTPError, httpx2.StreamError, OSError, RuntimeError):
        # RuntimeError: the client was closed under a thread that nobody waits for any more.
        return Unanswered("no-answer", "ended the connection without a whole answer")


def _followed(client: "httpx2.Client", sent: Sent) -> Answered:
    url, left = sent.url, MOST_REDIRECTS if sent.method in ("GET", "HEAD") else 0
    while True:
        with client.stream(sent.method, url, headers=sent.headers, content=sent.body) as response:
            again = _same_origin(response, url) if left and response.status_code not in sent.expect else None
            if again is None:
                return _read(response, sent)
        url, left = again, left - 1


def _same_origin(response: "httpx2.Response", url: str) -> str | None:
    """Where the answer sends us, if that is where we are already."""
    if response.next_request is None:
        return None
    there = str(response.next_request.url)
    here, to = taken_apart(url), taken_apart(there)
    return there if (here.scheme, here.netloc) == (to.scheme, to.netloc) else None


def _read(response: "httpx2.Response", sent: Sent) -> Answered:
    if not sent.read_body:
        return Answered(response.status_code, b"", whole=False)
    if response.headers.get("content-encoding", "identity") != "identity":
        return Answered(response.status_code, b"", whole=False)
    body = bytearray()
    for piece in response.iter_raw(1 << 16):
        body += piece
        if len(body) > LARGEST_BODY_BYTES:
            return Answered(response.status_code, b"", whole=False)
    return Answered(response.status_code, bytes(body), whole=True)


def _no_connection(error: "httpx2.TransportError") -> str:
    """Why nothing could be sent, in words of our own."""
    import httpx2

    if isinstance(error, httpx2.ConnectTimeout | httpx2.PoolTimeout):
        return "no connection in time"
    words = str(error).lower()
    kinds: list[tuple[Callable[[], Any], str]] = [
        (lambda: "certificate" in words or "ssl" in words, "the certificate is not accepted"),
        (lambda: "name or service" in words or "getaddrinfo" in words or "resolution" in words, "no such host"),
        (lambda: "refused" in words, "nobody listens there"),
        (lambda: "unreachable" in words or "no route" in words, "there is no way to that host"),
    ]
    return next((said for fits, said in kinds if fits()), "no connection")
