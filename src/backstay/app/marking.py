"""Marking a point suspicious by itself: a hold that a proof places, and only a person takes back."""

from collections.abc import Iterable
from contextlib import suppress
from functools import partial
from operator import eq

from backstay.app.home import Home
from backstay.app.noting import note
from backstay.errors import AccessDenied, StoreUnreachable
from backstay.facts import Hold, HoldPlaced, Point
from backstay.history import active_holds
from backstay.values import PointId, digest_of

PROVER = "backstay verify"


def suspicious_points(holds: Iterable[Hold]) -> frozenset[PointId]:
    """Those of which the mark is in force."""
    return frozenset(hold.point for hold in active_holds(holds) if hold.kind == "suspicious")


def mark(home: Home, point: Point, why: str) -> str:
    """Hold the point in every vault that has it, and write it down; gives why. Done twice it is done once: the mark is
    named by its reason, and one that a person took back is not placed again for the same reason.

    A host that only proves may seal no holds, and a vault may be away: the journal has the mark all the same."""
    id = "s-" + digest_of(f"{point.id}\n{why}".encode()).removeprefix("sha256:")[:12]
    history = home.history(point.component)
    if any(hold.id == id for hold in history.holds):
        return why
    hold = Hold(id, point.id, point.component, "suspicious", why, PROVER, home.clock.now())
    for name in history.vaults_of(point.id):
        with suppress(AccessDenied, StoreUnreachable):
            home.vault(name).keep_hold(hold)
        placed = HoldPlaced(name, hold)
        note(home, point.component, placed, partial(eq, placed))
    return why
