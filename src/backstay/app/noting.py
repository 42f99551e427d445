"""Writing a fact into the stream of a component, once."""

from collections.abc import Callable

from backstay.app.home import Home
from backstay.engine.routine import component_stream
from backstay.errors import JournalConflict
from backstay.facts import Fact
from backstay.values import ComponentName


def _never(fact: Fact) -> bool:
    return False


def note(home: Home, component: ComponentName, fact: Fact, there: Callable[[Fact], bool] = _never) -> None:
    """Append it, whoever else writes there meanwhile; unless one of those that are there says that it is known: a try
    that died before it acted has written it down already."""
    stream = component_stream(component)
    while True:
        recorded = home.journal.read(stream)
        if any(there(one.fact) for one in recorded):
            return
        try:
            home.journal.append(stream, [fact], expected=recorded[-1].seq if recorded else 0)
        except JournalConflict:
            continue
        return
