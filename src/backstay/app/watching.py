"""Looking whether it works, and writing down what was seen: the moment of a disaster is read from these looks."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

from backstay.app.driving import new_run
from backstay.app.estate import estate
from backstay.app.home import Home
from backstay.errors import JournalConflict, UnknownName, Usage
from backstay.facts import CheckSeen
from backstay.plan import PRIMARY, Mode
from backstay.ports import Acting, Seen
from backstay.values import SiteName, StepId, StreamName, listed

WATCH = StreamName("watch")


def look(home: Home, checks: Sequence[str], site: str, tell: Callable[[str, Seen], None]) -> Mapping[str, Seen]:
    """Run the named smoke checks, or all, once, and `tell` of each at once: a journal that cannot be written is no
    reason to keep it back. What was seen of the primary site is written into the journal."""
    known = home.plan.smoke
    if strange := [name for name in checks if name not in known]:
        raise UnknownName(
            f"the plan has no smoke check {listed(strange)}",
            detail=f"it has {listed(sorted(known)) or 'none'}",
            hint="name one of those, or none to run them all",
        )
    if not known:
        raise Usage(
            "the plan has no smoke checks", detail="nothing was asked", hint="say under `smoke:` what “it works” means"
        )
    home.plan.site(site)
    ports = estate(home, home.plan, SiteName(site), Mode.LIVE)
    words = ports.words(Acting(new_run("smoke", home.clock.now()), StepId("smoke"), 1, 1), {})
    seen: dict[str, Seen] = {}
    at: dict[str, datetime] = {}
    for name in checks or known:
        began = home.clock.now()
        seen[name] = ports.prober.probe(known[name], words)
        # What turned red while we looked did so before the look ended; what was green was so when it began.
        at[name] = began if seen[name].colour == "green" else home.clock.now()
        tell(name, seen[name])
    if site == PRIMARY:
        for name, one in seen.items():
            _write_down(home, name, one, at[name])
        home.seal()
    return seen


def _write_down(home: Home, name: str, seen: Seen, at: datetime) -> None:
    while True:
        facts = home.journal.read(WATCH)
        before = [r.fact.at for r in facts if isinstance(r.fact, CheckSeen) and r.fact.check == name]
        fact = CheckSeen(name, seen.colour, at, before[-1] if before else None, seen.why)
        try:
            home.journal.append(WATCH, [fact], expected=facts[-1].seq if facts else 0)
        except JournalConflict:
            continue  # somebody else looked at the same moment
        return
