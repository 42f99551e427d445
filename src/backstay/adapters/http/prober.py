"""Smoke checks: a flow of requests with its cleanup, or a program.

    GET /health answered 503 in 12 ms, 200 expected

A flow stops at its first request that does not get what it expects; its cleanup is run all the same, so that a check
that is red every minute does not fill the database with its users. A cleanup request that needs a value which the flow
did not come to save has nothing to clean, and is left out.

What is said about a check shows the method, the path and the numbers: never a query, a body, a header, or a value from
the environment, a file or an earlier answer, even where one of them is part of the path.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import assert_never

from backstay.adapters.http.exchange import Answered, Exchanges, Unanswered
from backstay.adapters.http.flow import Flow, LookUp
from backstay.errors import AccessDenied, BackstayError, Cancelled, TimedOut, ToolFailed, ToolMissing, Usage
from backstay.plan import Check, CommandCheck, HttpCheck, Request
from backstay.ports import Clock, Heard, Seen
from backstay.processes import Command, run
from backstay.values import count, listed, say_span


def _never() -> bool:
    return False


class HttpProber:
    """Runs checks from here. `base` is the folder that programs start in; `stop` ends a program early, with Cancelled:
    nothing else is raised."""

    def __init__(self, base: Path, clock: Clock, stop: Callable[[], bool] = _never) -> None:
        self._base, self._clock, self._stop = base, clock, stop

    def probe(self, check: Check, look_up: LookUp) -> Seen:
        began = self._clock.elapsed()
        try:
            match check:
                case HttpCheck():
                    return self._flow(check, look_up, began)
                case CommandCheck():
                    return self._command(check, look_up, began)
                case _:
                    assert_never(check)
        except Cancelled:
            raise
        except BackstayError as error:  # a secret is missing, a name is not known: nobody can tell
            return Seen("unknown", error.message, self._clock.elapsed() - began, heard="not-sent")

    # ── flows ──

    def _flow(self, check: HttpCheck, look_up: LookUp, began: timedelta) -> Seen:
        flow = Flow(look_up)
        with Exchanges(check.timeout) as exchanges:
            try:
                last = self._requests(check.flow, exchanges, flow)
            finally:
                dirty = self._clean(check, exchanges, flow)
        took = self._clock.elapsed() - began
        if last.wrong or dirty:
            said = last.said if last.wrong else f"cleanup: {dirty}"
            return Seen("red", said, took, saved=flow.saved, heard=last.heard, status=last.status)
        said = f"{count(len(check.flow), 'request')} answered as expected in {say_span(took)}"
        return Seen("green", said if len(check.flow) > 1 else last.said, took, saved=flow.saved, status=last.status)

    def _requests(self, requests: tuple[Request, ...], exchanges: Exchanges, flow: Flow) -> "_Seen":
        last = _Seen("nothing was asked")
        for request in requests:
            last = self._request(request, exchanges, flow)
            if last.wrong:
                break
        return last

    def _clean(self, check: HttpCheck, exchanges: Exchanges, flow: Flow) -> str:
        """What went wrong with the cleanup; empty: nothing."""
        seen = [self._request(request, exchanges, flow) for request in check.cleanup if flow.knows(request)]
        return "; ".join(one.said for one in seen if one.wrong)

    def _request(self, request: Request, exchanges: Exchanges, flow: Flow) -> "_Seen":
        sent, shown = flow.formed(request), flow.shown(request)
        began = self._clock.elapsed()
        answer = exchanges.make(sent)
        took = say_span(self._clock.elapsed() - began)
        match answer:
            case Unanswered(heard, why):
                return _Seen(f"{shown}: {flow.host(request)} {why}", wrong=True, heard=heard)
            case Answered(status=status) if status not in request.expect:
                expected = listed(map(str, request.expect), "or")
                return _Seen(f"{shown} answered {status} in {took}, {expected} expected", wrong=True, status=status)
            case Answered():
                said = f"{shown} answered {answer.status} in {took}"
                if complaint := flow.learn(request, answer):
                    return _Seen(f"{said}, but {complaint}", wrong=True, status=answer.status)
                return _Seen(said, status=answer.status)
            case _:
                assert_never(answer)

    # ── programs ──

    def _command(self, check: CommandCheck, look_up: LookUp, began: timedelta) -> Seen:
        if any(part.is_secret() for part in check.argv):
            raise Usage("a secret may not stand among the arguments of a program: hand it over under `env:`")
        command = Command(
            tuple(part.render(look_up) for part in check.argv),
            deadline=check.timeout,
            env={name: value.render(look_up) for name, value in check.env.items() if not value.is_secret()},
            secrets={name: value.render(look_up) for name, value in check.env.items() if value.is_secret()},
            cwd=self._base,
        )
        try:
            finished = run(command, stop=self._stop)
        except TimedOut:
            said = f"{command.name} did not end within {say_span(check.timeout)}"
            return Seen("red", said, self._clock.elapsed() - began, heard="no-answer")
        except ToolFailed as error:
            return Seen("red", error.message, self._clock.elapsed() - began)
        except (ToolMissing, AccessDenied) as error:
            return Seen("unknown", error.message, self._clock.elapsed() - began, heard="not-sent")
        return Seen("green", f"{command.name} ended well in {say_span(finished.took)}", finished.took, status=0)


@dataclass(frozen=True, slots=True)
class _Seen:
    """One request: what was seen, and whether that is what was expected."""

    said: str
    wrong: bool = False
    heard: Heard = "answered"
    status: int | None = None
