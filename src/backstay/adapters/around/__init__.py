"""Behaviour by wrapping: the same port with patience, a limit, a record of its calls, its writes taken out, or faults.

A wrapper has the port that it wraps as its type, so whoever uses the port cannot tell. Three of them work for any port
and only look at calls (`recorded`, `dry`, `faulty`): what is called is a method name, and the contract of a port is the
contract of each of its methods. Two are written for a store: patience has to know what may be asked twice, and a limit
how many bytes go through.

    store = faulty(store, Fault(at=3, what="unheard"))      # the third call acts, and is never heard back from
    store = paced(store, clock, rate=20_000_000)            # all threads together, 20 MB a second
    store = Patient(store, clock, total=timedelta(minutes=2))
"""

import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, cast

from backstay.adapters.around.calls import Called as Called
from backstay.adapters.around.calls import through as through
from backstay.adapters.around.pacing import paced as paced
from backstay.adapters.around.patience import Patient as Patient
from backstay.adapters.around.patience import first_answer as first_answer
from backstay.errors import StoreUnreachable

P = TypeVar("P")


def recorded(port: P, calls: list[Called]) -> P:
    """The same port; every call is added to `calls` before it is made."""

    def between(called: Called, method: Callable[..., Any]) -> Any:
        calls.append(called)
        return method(*called.args, **called.kwargs)

    return through(port, between)


def dry(port: P, writes: dict[str, Any], would: Callable[[str], None]) -> P:
    """The same port with its writes taken out: a method in `writes` says what it would do to `would`, and answers with
    the value given for it. All other methods are taken to be reads, and work."""

    def between(called: Called, method: Callable[..., Any]) -> Any:
        if called.method in writes:
            would(str(called))
            return writes[called.method]
        return method(*called.args, **called.kwargs)

    return through(port, between)


# ── faults ───────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Fault:
    """What goes wrong, and when.

    `refused`: the error is raised and nothing is done. `unheard`: it is done, then the error is raised: the answer was
    lost. `torn`: half of the bytes are given or taken; a torn write raises afterwards, a torn read does not.
    """

    at: int
    """The n-th call that counts, from 1."""
    what: Literal["refused", "unheard", "torn"] = "refused"
    method: str = ""
    """Only calls of this method count. Empty: every call."""
    times: int = 1
    """How many calls in a row."""
    error: BaseException | None = None
    """What is raised. None: StoreUnreachable."""


def faulty(port: P, *faults: Fault) -> P:
    """The same port, with `faults` in it. Counts calls over all threads; each fault counts for itself."""
    counts = [0] * len(faults)
    lock = threading.Lock()

    def strikes(called: Called) -> Fault | None:
        struck: Fault | None = None
        with lock:
            for number, fault in enumerate(faults):
                if fault.method in ("", called.method):
                    counts[number] += 1
                    if fault.at <= counts[number] < fault.at + fault.times:
                        struck = fault
        return struck

    def between(called: Called, method: Callable[..., Any]) -> Any:
        fault = strikes(called)
        if fault is None:
            return method(*called.args, **called.kwargs)
        error = fault.error or StoreUnreachable(
            f"the store did not answer to {called.method}", detail=f"a fault put in on purpose: {fault.what}"
        )
        match fault.what:
            case "refused":
                raise error
            case "unheard":
                method(*called.args, **called.kwargs)
                raise error
            case "torn":
                return _torn(called, method, error)

    return through(port, between)


def _torn(called: Called, method: Callable[..., Any], error: BaseException) -> Any:
    """Half of the last argument that is bytes, then the error; without one, half of the answer."""
    args = list(called.args)
    for at in reversed(range(len(args))):
        if isinstance(args[at], bytes):
            args[at] = args[at][: len(args[at]) // 2]
        elif at > 0 and isinstance(args[at], Iterable) and not isinstance(args[at], str):
            args[at] = list(_half(cast("Iterable[bytes]", args[at])))
        else:
            continue
        method(*args, **called.kwargs)
        raise error
    answer = method(*args, **called.kwargs)
    return answer[: len(answer) // 2] if isinstance(answer, bytes) else answer


def _half(parts: Iterable[bytes]) -> Iterator[bytes]:
    whole = list(parts)
    left = sum(map(len, whole)) // 2
    for part in whole:
        yield part[:left]
        left = max(0, left - len(part))
