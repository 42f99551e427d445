"""From an error to an outcome: one table decides.

What is out of reach now may answer in a moment: try later. What passed its deadline may have happened: lost, so look
before asking again. Everything else is an answer, and the answer is no. Being told to stop is no outcome of the step
but the end of the driver, and goes on up.
"""

import traceback
from collections.abc import Callable, Mapping
from datetime import timedelta

from backstay.errors import BackstayError, Cancelled, RunBusy, SourceDown, StoreUnreachable, TimedOut
from backstay.facts import CannotTell, Impossible, Lost, Outcome, Sight, TryLater

LATER: Mapping[type[BackstayError], timedelta] = {
    StoreUnreachable: timedelta(seconds=5),
    SourceDown: timedelta(seconds=2),
    RunBusy: timedelta(seconds=5),
}
"""Errors that may pass, and after how long it is worth asking again. RunBusy: an orphan still holds the lock."""


def outcome_of(error: BackstayError, asked: str) -> Outcome:
    """`asked` says what was asked, for an answer that never came. Raises Cancelled itself."""
    for kind, after in LATER.items():
        if isinstance(error, kind):
            return TryLater(after, str(error))
    match error:
        case Cancelled():
            raise error
        case TimedOut():
            return Lost(f"{asked}: {error}")
        case _:
            return Impossible(str(error), error.code)


def attempted(asked: str, act: Callable[[], Outcome]) -> Outcome:
    """What `act` says, or what its error means. Raises Cancelled and nothing else that is an Exception."""
    try:
        return act()
    except BackstayError as error:
        return outcome_of(error, asked)
    except Exception as error:  # noqa: BLE001 - a port broke its contract; the run stops with its name, not in pieces
        return Impossible(defect(error, asked), BackstayError.code)


def looked(asked: str, look: Callable[[], Sight]) -> Sight:
    """What `look` says. A look that fails has seen nothing: a person is asked. Raises Cancelled."""
    try:
        return look()
    except Cancelled:
        raise
    except BackstayError as error:
        return CannotTell(f"could not look at {asked}: {error}")
    except Exception as error:  # noqa: BLE001 - as above
        return CannotTell(defect(error, asked))


def defect(error: Exception, asked: str) -> str:
    """The kind of the error and where it came from. Not its text: nobody has checked that for secrets."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" in {frames[-1].name}, line {frames[-1].lineno}" if frames else ""
    return str(BackstayError(f"a defect in Backstay stopped {asked}", detail=f"{type(error).__name__}{place}"))
