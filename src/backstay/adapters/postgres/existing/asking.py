"""A sandbox for a point that somebody else holds: the same server, the same checks, and what is not known of it.

Nobody looked at the source when such a point was taken. The server itself, where it answers today, is asked what is odd
there; what it does not know either is *not verified*, and is not held against the point.
"""

import json
from collections.abc import Generator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from backstay.adapters.postgres import catalogue
from backstay.adapters.postgres.answers import PostgresAnswers
from backstay.adapters.postgres.existing.dumps import DumpPoint
from backstay.adapters.postgres.existing.pgbackrest import PgBackRestPoint
from backstay.adapters.postgres.logical_room import logical_sandbox
from backstay.adapters.postgres.place import PostgresPlace
from backstay.adapters.postgres.said import Said, failed, passed
from backstay.adapters.postgres.sandbox import sandbox
from backstay.adapters.postgres.session import connect, spoken
from backstay.errors import BackstayError
from backstay.facts import CheckResult, Verdict
from backstay.ports import Clock, Progress, unwatched
from backstay.values import count, listed

_OF_THE_SOURCE = frozenset({"I02", "I03", "I04", "I05", "I07", "I10"})
"""Findings that a backup may bring back faithfully."""
_KINDS = {"tables": "rp", "views": "v", "materialized views": "m", "sequences": "S", "foreign tables": "f"}
_COUNT = (
    "SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname !~ '^pg_'"
    " AND n.nspname <> 'information_schema' AND c.relpersistence <> 't' AND strpos('{kinds}', c.relkind::text) > 0"
)


@contextmanager
def existing_sandbox(
    place: PostgresPlace, clock: Clock, point: PgBackRestPoint | DumpPoint, folder: Path, progress: Progress = unwatched
) -> Generator[PostgresAnswers]:
    """Like `sandbox` and `logical_sandbox`, which do the work."""
    known = _of_the_live_one(place)
    if isinstance(point, DumpPoint):
        point = replace(point, point=replace(point.point, about={**point.point.about, **known}))
        making = logical_sandbox(place, clock, point, folder, progress)
    else:
        point.learned.update(known)
        making = sandbox(place, clock, point, folder, progress)
    with making as answers:
        about = point.point.about
        answers.heed(lambda found: [_judged(check, answers, about) for check in found if check.code != "R05"])
        yield answers


def _of_the_live_one(place: PostgresPlace) -> dict[str, str]:
    """What is odd at the source today. Empty where it does not answer."""
    with suppress(BackstayError), spoken():
        with connect(place.dsn, within_s=2) as db:
            now = catalogue.survey(db, within_s=10)
        return {"findings": catalogue.stored(now, now)["findings"]}
    return {}


def _judged(check: CheckResult, answers: PostgresAnswers, about: Mapping[str, str]) -> CheckResult:
    if check.code == "S01" and check.verdict is Verdict.NOT_VERIFIED:
        verdict, said = _structure(check.said.partition(",")[0], answers, about)
        return replace(check, verdict=verdict, said=said)
    if check.code in _OF_THE_SOURCE and check.verdict is Verdict.FAILED:
        said = f"{check.said}; nobody looked whether the source had that too"
        return replace(check, verdict=Verdict.NOT_VERIFIED, said=said)
    return check


def _structure(total: str, answers: PostgresAnswers, about: Mapping[str, str]) -> Said:
    """Against what the dump lists; pgBackRest lists nothing."""
    listing: dict[str, int] = json.loads(about.get("listed") or "{}")
    if "listed" not in about:
        return passed(f"{total}; {about.get('uncounted', 'nothing to compare with')}: see the rows")
    missing: list[str] = []
    for kind, number in sorted(listing.items()):
        here = answers.ask(_COUNT.format(kinds=_KINDS[kind]))
        if not isinstance(here, int) or here < number:
            missing.append(f"{here} of {count(number, kind.removesuffix('s'))}")
    if missing:
        return failed(f"the dump lists more than came back: {listed(missing)}")
    return passed(f"{total}; every table, view and sequence that the dump lists is there")
