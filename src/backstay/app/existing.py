"""Points that other programs hold: listed, proved, and given to a run. Nothing of them is kept in a vault."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from backstay import engine
from backstay.app.driving import driver, new_run
from backstay.app.estate import SANDBOX, keeper_of, scratch
from backstay.app.home import Home
from backstay.app.protecting import LONGEST, Came, Screen, Tier
from backstay.engine.routine import Note
from backstay.errors import BackstayError, Cancelled, NotSupported, Usage
from backstay.facts import Point, Proof, ProofGiven, RoutineBegan, RoutineFailed
from backstay.plan import EXISTING, PRIMARY, Component, Existing, PgBackRest, PgDump, PostgresSource
from backstay.ports import Acting, Progress, unwatched
from backstay.values import SiteName, VaultName, listed
from backstay.verbs.routine import Routine, prove_point

if TYPE_CHECKING:
    from backstay.adapters.postgres.existing import ExistingShelf


@dataclass(frozen=True, slots=True)
class Source:
    """What `--from` says: `pgbackrest`, `pgbackrest main`, `pgbackrest main /srv/repo`, `pg_dump /backups/x.dump`."""

    words: tuple[str, ...]

    @property
    def kind(self) -> str:
        """Raises Usage."""
        kind = self.words[0] if self.words else ""
        if kind not in EXISTING or len(self.words) > (3 if kind == "pgbackrest" else 2):
            raise Usage(
                f"--from {' '.join(self.words)} names nothing that can be read",
                hint="write `--from pgbackrest [STANZA [WHERE]]` or `--from pg_dump [PATH]`, after the component",
            )
        return kind


def component_of(home: Home, name: str | None) -> Component:
    """The one that was named, or the plan's only PostgreSQL database. Raises UnknownName, Usage, NotSupported."""
    if name is not None:
        found = home.plan.component(name)
    else:
        databases = [c for c in home.plan.components.values() if isinstance(c.source, PostgresSource)]
        if len(databases) != 1:
            raise Usage(
                "say which component the backup is of",
                detail=f"the plan has {listed(str(c.name) for c in databases) or 'no PostgreSQL database'}",
                hint="name it before --from",
            )
        found = databases[0]
    if not isinstance(found.source, PostgresSource):
        raise NotSupported(f"{found.name} is no PostgreSQL database: only its backups can be read from elsewhere")
    return found


def settings_of(home: Home, component: Component, source: Source) -> Existing:
    """What was typed, else what the plan says. Paths are the plan's where they are not whole. Raises Usage."""
    kind, words = source.kind, source.words[1:]
    planned = component.existing.get(kind)
    if not words:
        if planned is None:
            raise Usage(
                f"the plan names no {kind} for {component.name}",
                hint=f"write `existing: {{{kind}: …}}` into the component, or say it: --from {kind} …",
            )
        return _whole(home.base, planned)
    if kind == "pg_dump":
        roles = planned.roles if isinstance(planned, PgDump) else None
        return _whole(home.base, PgDump(str(Path.cwd() / words[0]), roles))
    superuser = planned.superuser if isinstance(planned, PgBackRest) else "postgres"
    return PgBackRest(words[0], str(Path.cwd() / words[1]) if len(words) > 1 else None, superuser)


def _whole(base: Path, settings: Existing) -> Existing:
    match settings:
        case PgBackRest(where=where):
            return replace(settings, where=str(base / where) if where else None)
        case PgDump(where=where, roles=roles):
            return replace(settings, where=str(base / where), roles=str(base / roles) if roles else None)


def shelf(
    home: Home, component: Component, settings: Existing, progress: Progress = unwatched, *, latest: bool = False,
    site: SiteName = PRIMARY,
) -> "ExistingShelf":  # fmt: skip
    from backstay.adapters.postgres.existing import ExistingShelf, Wanted

    wanted = Wanted(component.name, _database(home, component, site), scratch(home), latest)
    return ExistingShelf(settings, wanted, home.history(component.name).held, progress)


def planned_shelf(home: Home, component: Component, kind: str, *, site: SiteName) -> "ExistingShelf":
    """For a step: with all the log that is there. Raises Usage where the plan names none."""
    settings = settings_of(home, component, Source((kind,)))
    return shelf(home, component, settings, latest=True, site=PRIMARY if site == SANDBOX else site)


def _database(home: Home, component: Component, site: SiteName) -> str:
    from backstay.adapters.postgres.session import defaults, parse

    assert isinstance(component.source, PostgresSource)
    template = component.source.url.on(site)
    if template is None:
        return "postgres"
    words = defaults() | parse(template.render(home.secrets.value))
    return words.get("dbname") or words.get("user") or "postgres"


# ── listing and proving ──────────────────────────────────────────────────────────────────────────


def points(home: Home, name: str | None, source: Source) -> tuple[Sequence[Point], Sequence[Proof], str]:
    """Oldest first, with the proofs that the journal has of them, and who holds them."""
    component = component_of(home, name)
    found = shelf(home, component, settings_of(home, component, source))
    return found.points(), found.proofs(), found.name


def prove(home: Home, name: str | None, source: Source, screen: Screen, point: str | None, tier: Tier) -> Came:
    """Prove the newest, or the one that was named: by its id, or by what its own program calls it."""
    home.adopt("backstay")
    component = component_of(home, name)
    settings = settings_of(home, component, source)
    with screen(f"proving {component.name} from {source.kind}") as progress:
        found = shelf(home, component, settings, progress)
        try:
            result: Proof | BackstayError = _prove(home, component, found, point, tier, progress)
        except Cancelled:
            raise
        except BackstayError as error:
            result = error
    home.seal()
    return Came(component.name, VaultName(found.name), result)


def _prove(
    home: Home, component: Component, found: "ExistingShelf", named: str | None, tier: Tier, progress: Progress
) -> Proof:
    point = found.named(named) if named is not None else found.points()[-1]
    routine = Routine(
        run=new_run("proof", home.clock.now()),
        component=component,
        objectives=home.plan.objectives_of(component),
        plan=home.plan.digest,
        keeper=keeper_of(home, component, PRIMARY),
        vault=found,
        clock=home.clock,
        progress=progress,
    )
    until = home.journal.now() + LONGEST
    began = RoutineBegan(routine.run, "proof", VaultName(found.name), routine.plan, "", until, point.id)

    def act(acting: Acting, note: Note) -> ProofGiven:
        return ProofGiven(routine.run, prove_point(replace(routine, stop=acting.stop), point.id, scratch(home), tier))

    def look(open_one: RoutineBegan) -> RoutineFailed:
        return RoutineFailed(open_one.run, 1, "it was interrupted; nothing was found out about the point")

    end = engine.routine(driver(home), component.name, began, act, look)
    assert isinstance(end, ProofGiven), "a proof that raises nothing was given"
    return end.proof


def kind_of_point(point: str) -> str | None:
    """`pgbackrest` of `pgbackrest-main-20261128-024205F`; None: a vault's point."""
    return next((kind for kind in EXISTING if point.startswith(f"{kind}-")), None)
