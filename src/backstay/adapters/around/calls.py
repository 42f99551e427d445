"""A call of a port's method as a value, and something that stands between a port and its callers."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypeVar, cast

P = TypeVar("P")


@dataclass(frozen=True, slots=True)
class Called:
    """One call of a port's method."""

    method: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    def __str__(self) -> str:
        shown = [_short(arg) for arg in self.args] + [f"{name}={_short(arg)}" for name, arg in self.kwargs.items()]
        return f"{self.method}({', '.join(shown)})"


class _Through:
    """Stands where a port stands: methods go through `between`, everything else is handed on."""

    def __init__(self, within: object, between: Callable[[Called, Callable[..., Any]], Any]) -> None:
        self.__dict__.update(_within=within, _between=between)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._within, name, value)

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._within, name)
        if not callable(found):
            return found

        def through(*args: Any, **kwargs: Any) -> Any:
            return self._between(Called(name, args, kwargs), found)

        return through


def through(port: P, between: Callable[[Called, Callable[..., Any]], Any]) -> P:
    """`port`, with every call given to `between(called, method)`, whose answer the caller gets."""
    return cast(P, _Through(port, between))


def _short(value: object) -> str:
    """Never the content: a call is shown to people, and may carry anything."""
    if isinstance(value, bytes):
        return f"{len(value)} bytes"
    if isinstance(value, (str, int, float, bool, datetime, timedelta)) or value is None:
        return repr(value) if not isinstance(value, str) or len(value) <= 80 else repr(value[:77] + "...")
    return type(value).__name__
