"""The only loop that acts, and how it begins and ends."""

import secrets

from backstay.engine.claims import claim
from backstay.engine.desk import Desk, LeaseLost
from backstay.engine.driver import Done, Driver, Ending
from backstay.engine.leases import Tenure
from backstay.engine.shift import Shift
from backstay.errors import BackstayError, Cancelled, NotSupported, RunBusy, StoreUnreachable
from backstay.ports import World
from backstay.values import RunId


def refuse_without_assertions() -> None:
    """Raises NotSupported under `python -O`: what must never be is asserted, and -O would let it be."""
    if not __debug__:
        raise NotSupported("Backstay does not drive runs under python -O", hint="start Python without -O")


def drive(driver: Driver, world: World, run: RunId) -> Ending:
    """Drive a run as far as it goes: Done, Waiting for a moment, or WaitingFor a person.

    Raises NoSuchRun; RunBusy when another driver is alive, took over, or another run has a component; Cancelled when
    we were asked to stop (all children are dead, the lease is given back, `drive` goes on later); what the journal
    raises, when it can no longer be written. Whatever it raises, nothing acts any more when it comes back.
    """
    refuse_without_assertions()
    desk = Desk(driver, run)
    tenure = Tenure(driver, desk)
    if not tenure.take():
        return Done(desk.run)
    tenure.start()
    shift = Shift(driver, world, desk, tenure, secrets.token_hex(8))
    try:
        claim(driver.journal, desk.run.started)
        return shift.work()
    except (Cancelled, KeyboardInterrupt):
        _halt(shift)
        raise Cancelled(
            f"run {run} was stopped",
            detail="every program that it had started has ended; what was done stays as it is, and is in the journal",
            hint=f"`backstay resume {run}` goes on with it",
        ) from None
    except LeaseLost:
        _halt(shift)
        raise _why_lost(tenure, desk) from None
    except Exception:
        _halt(shift)
        raise
    except BaseException:
        driver.kill_children()
        raise
    finally:
        tenure.end()


def _halt(shift: Shift) -> None:
    try:
        shift.halt()
    except (BackstayError, LeaseLost):
        # The journal does not take our last words: whoever resumes waits for the lease to end, and looks.
        return


def _why_lost(tenure: Tenure, desk: Desk) -> BackstayError:
    lease = desk.run.lease
    if not desk.ours() and lease is not None:
        return RunBusy(
            f"run {desk.run.started.run} was taken over by {lease.driver}",
            detail="this driver could not renew its lease in time; it killed what it had started, and stopped",
        )
    return StoreUnreachable(
        f"the lease of run {desk.run.started.run} could not be renewed in time",
        detail=f"{tenure.why.message if tenure.why else 'the time ran out'}; what was started here was killed",
        hint="look whether the journal can be written, then `backstay resume`",
    )
