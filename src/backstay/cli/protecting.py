"""Chapter two: taking points, looking at them, proving them, laying one down."""

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import App, Parameter

from backstay.cli import extracting
from backstay.cli.extracting import WHOLE, HowWords
from backstay.cli.options import HERE, NEWEST, Common, VaultAddress, Which

if TYPE_CHECKING:
    from datetime import timedelta

    from backstay.app.home import Home
    from backstay.app.protecting import Came, Tier
    from backstay.app.protecting import Which as Asked
    from backstay.app.telling import PointRow
    from backstay.cli.printing import Page
    from backstay.facts import Point, Proof
    from backstay.plan import Target
    from backstay.ports import Progress
    from backstay.values import VaultName


def register(app: App) -> None:
    for verb in (backup, points, verify, restore):
        app.command(verb)


def backup(
    *components: str,
    due: Annotated[bool, Parameter(negative="")] = False,
    incremental: Annotated[bool, Parameter(negative="")] = False,
    copy: Annotated[bool, Parameter(name="--copy", negative="--no-copy")] = True,
    common: Common = HERE,
) -> None:
    """Take a recovery point of every component, or of those that are named, into the first of its vaults that answers;
    then copy into its other vaults what they lack.

    Exits with 74 when every point was taken, and a vault does not have what it should have.

    Example: `backstay backup database`

    Parameters
    ----------
    components
        Names of components of the plan. Default: all of them.
    due
        Only what is due by its schedule; for cron. What a vault lacks is copied in any case.
    incremental
        Only what changed since the point before, where the source can tell; else, and without it, everything is read.
    copy
        Copy into the other vaults. Without it, `backstay vault copy` does so later.
    """
    from backstay.app import copying, protecting
    from backstay.cli.copies import say_copies, say_log, told, told_log
    from backstay.cli.printing import Failed, Page
    from backstay.errors import NotCopied, Usage

    if due and incremental:
        raise Usage("--due and --incremental exclude each other", detail="by its schedule, each knows what is due")
    page = Page(common)
    home = page.home()
    read = protecting.Read.DUE if due else protecting.Read.CHANGES if incremental else protecting.Read.EVERYTHING
    came = protecting.backup(home, components, lambda title: work_screen(page, home.clock.elapsed, title), read)
    for one in came:
        _say_backup(page, one)
    if not came:
        page.say("nothing is due")
    moved: list[copying.Moved] = []
    log: list[copying.LogMoved] = []
    if copy:
        chosen = protecting.chosen(home, components)
        moved = copying.copy(home, chosen, copying.Wanted(), lambda title: work_screen(page, home.clock.elapsed, title))
        log = copying.copy_log(home, chosen, copying.Wanted())
        home.seal()
    say_copies(page, moved)
    say_log(page, log)
    copies, logs = [told(one) for one in moved], [told_log(one) for one in log]
    page.done({"backups": [_told(one) for one in came], "copies": copies, "log": logs})
    _fail_if_any(came)
    if any(one.error for one in (*moved, *log)) or any(one.passed_over for one in came):
        raise Failed(NotCopied.code)


def points(
    *components: str,
    vault: VaultAddress = None,
    from_: Annotated[tuple[str, ...], Parameter(name="--from", consume_multiple=True, negative="")] = (),
    common: Common = HERE,
) -> None:
    """List the recovery points, newest last. With --vault and --key, no plan is needed.

    Example: `backstay points --vault ./vault --key ./backstay.key`

    Parameters
    ----------
    components
        Only points of these components.
    vault
        A vault by its address, without a plan: a folder, s3://…, gs://… or az://….
    from_
        What another program holds, as `backstay verify --from` has it.
    """
    from backstay.app import telling
    from backstay.cli.printing import Failed, Page

    page = Page(common, vault)
    home = page.home()
    rows = telling.points(home, components) if not from_ else _held_points(home, components, from_)
    say_points(page, home, rows)
    troubles = home.troubles()
    for trouble in troubles:
        page.say(f"✘ {trouble.said}", "bold red")
    if not rows and not troubles:
        page.say("there are no recovery points yet; take some with `backstay backup`")
    for row in rows:
        for hold in row.marks:
            page.say(f"! {row.point.id} is {hold.kind}, by {hold.by}: {hold.reason}", "bold yellow")
    listed = [
        {"vaults": _plain(r.vaults), "proof": r.proof, "why": r.why, "marks": [_plain(m) for m in r.marks]}
        | _plain(r.point)
        for r in rows
    ]
    page.done({"points": listed, "troubles": [trouble.said for trouble in troubles]})
    if troubles:
        raise Failed(troubles[0].code)


def _held_points(home: "Home", components: "tuple[str, ...]", words: "tuple[str, ...]") -> "list[PointRow]":
    from backstay.app import existing, telling

    return telling.held_points(existing.points(home, next(iter(components), None), existing.Source(words)))


_WIDE = 100
"""How many columns of a screen every column of the points needs; on a narrower one, age and size would break them."""


def say_points(page: "Page", home: "Home", rows: "Sequence[PointRow]") -> None:
    from backstay.cli.printing import local
    from backstay.values import say_size

    now = home.clock.now()
    several = len(home.vaults) > 1
    # What was stored for it is of one vault: where there are several, their names need the room.
    sides = {"age": "right", "size": "right", "stored": "right"}
    if page.out.width < _WIDE:
        more = ["proof", "vaults"] if several else ["size", "proof"]
    else:
        more = ["age", "size", *(["proof", "vaults"] if several else ["stored", "proof"])]
    shown = ["point", "component", "data until", *more]
    cells = (
        {"point": r.point.id, "component": r.point.component, "data until": local(r.point.moment),
         "age": _age(now - r.point.moment), "size": say_size(r.point.size_bytes),
         "proof": ", ".join([r.proof, *dict.fromkeys(hold.kind for hold in r.marks)]),
         "vaults": _holders(r.vaults), "stored": say_size(r.point.stored_bytes)}
        for r in rows
    )  # fmt: skip
    columns = {name: sides.get(name, "left") for name in shown}
    page.table("Recovery points", columns, ([row[name] for name in shown] for row in cells))


def _holders(vaults: "Mapping[VaultName, str]") -> str:
    """`local, off-site (copied)`: in brackets, what is known of a vault's own bytes where the proof was of others."""
    return ", ".join(f"{name} ({word})" if word in ("copied", "refuted") else name for name, word in vaults.items())


@Parameter(name="*")
@dataclass(frozen=True)
class ProofWords:
    """Which proofs, and what is to be left of them."""

    random: Annotated[int | None, Parameter(name="--random")] = None
    """Prove a random point of the last so many days: testing only the newest hides rot."""

    details: Annotated[bool, Parameter(negative="")] = False
    """Spell out every check, also of those that passed."""

    junit: Path | None = None
    """Write the checks into this file, for a CI server: what could not be checked is an error there, never skipped."""

    structure: Path | None = None
    """Write the structure of the one database into this file: commit it, and name it as `prove: {structure: …}`."""

    from_: Annotated[tuple[str, ...], Parameter(name="--from", consume_multiple=True, negative="")] = ()
    """Prove what another program holds: `pgbackrest [STANZA [CONFIGURATION OR REPOSITORY]]` or `pg_dump [PATH]`, after
    the component. What is not said is the plan's `existing`."""


PLAIN = ProofWords()


def verify(
    *components: str,
    which: Which = NEWEST,
    tier: Literal["bytes", "sample", "full"] = "full",
    vault: str | None = None,
    words: ProofWords = PLAIN,
    common: Common = HERE,
) -> None:
    """Prove the newest point of every component: restore it into a throw-away place, and ask it the plan's questions.
    It is read from the first vault that has it: a copy is the same bytes, but whether a vault still has them all is
    known only of the one that was read. Name the others with --vault, now and then.

    With --from, a backup that another program holds is restored by that program, and asked the same.

    With --at, --lsn, --xid, --restore-point or --latest: prove that this can be reached, from the newest point that
    leads there, over the log that is kept.

    Exits with 34 when a point is refuted, 35 when something could not be checked.

    Example: `backstay verify database`

    Parameters
    ----------
    components
        Names of components of the plan. Default: all of them.
    tier
        `bytes` reads every byte, `sample` restores and looks at a part, `full` at everything.
    vault
        Read from this vault of the plan: the newest point that it has.
    """
    from backstay.app import protecting
    from backstay.cli.printing import Page

    asked = protecting.Which(which.point, which.target())
    _refuse_odd(words, asked)
    page = Page(common)
    home = page.home()
    held = words.from_ or _is_held(which.point)
    came = (
        [_prove_existing(page, home, components, words.from_, which.point, tier)]
        if held
        else protecting.prove(
            home,
            components,
            lambda title: work_screen(page, home.clock.elapsed, title),
            point=protecting.AtRandom(words.random) if words.random is not None else asked,
            tier=tier,
            vault=vault,
        )
    )
    for one in came:
        _say_proof(page, one, words.details)
    _leave(page, home, came, words)
    page.done({"proofs": [_told(one) for one in came]})
    _fail_if_any(came)


def _refuse_odd(words: ProofWords, asked: "Asked") -> None:
    from backstay.errors import Usage

    if words.random is not None and asked.point is not None:
        raise Usage("--random and --point exclude each other", detail="nothing was proven")
    if asked.target is not None and (words.random is not None or words.from_ or _is_held(asked.point)):
        raise Usage("a moment is reached from a point of a vault", detail="leave out --random and --from")
    if words.random is not None and words.random < 1:
        raise Usage("--random is a number of days", detail=f"{words.random} was given", hint="like --random 30")


def _leave(page: "Page", home: "Home", came: "Sequence[Came]", words: ProofWords) -> None:
    from backstay.app import evidence

    if words.junit is not None:
        evidence.write_junit(came, words.junit)
        page.note(f"the checks are in {words.junit}")
    if words.structure is not None:
        page.note(evidence.structures(home, came, words.structure))


def _is_held(point: str | None) -> bool:
    from backstay.app.existing import kind_of_point

    return point is not None and kind_of_point(point) is not None


def _prove_existing(
    page: "Page", home: "Home", components: "tuple[str, ...]", words: "tuple[str, ...]", point: str | None, tier: "Tier"
) -> "Came":
    from backstay.app import existing
    from backstay.errors import Usage

    if len(components) > 1:
        raise Usage("--from is about one component", detail=", ".join(components))
    said = words or (existing.kind_of_point(point or "") or "",)
    name, elapsed, source = next(iter(components), None), home.clock.elapsed, existing.Source(said)
    return existing.prove(home, name, source, lambda title: work_screen(page, elapsed, title), point, tier)


def restore(
    component: str,
    *,
    to: Path | None = None,
    which: Which = NEWEST,
    how: HowWords = WHOLE,
    vault: VaultAddress = None,
    common: Common = HERE,
) -> None:
    """Lay a recovery point down in an empty folder. Nothing that runs is touched; no plan is needed.

    With --delta, over an older restore: what is there is compared, and only what differs is written. To bring a system
    back in its place, use `backstay recover`.

    With --table, --database or --where, a part of a PostgreSQL point: it is restored into a sandbox, as far as needed,
    and the part is written to a file, or into a new schema of another server. Nothing that is there is overwritten.

    With --at, --lsn, --xid, --restore-point or --latest, a PostgreSQL server goes on from there over the log that is
    kept, and ends where you said: PostgreSQL of its version has to be installed here.

    Example: `backstay restore database --to /srv/restored --vault ./vault --key ./backstay.key`

    Parameters
    ----------
    component
        The component, as `backstay points` names it.
    to
        An empty folder, or one that does not exist yet; with --delta, any folder that nobody uses. A part of a point
        goes into a file, which must not exist yet.
    vault
        A vault by its address, without a plan: a folder, s3://…, gs://… or az://….
    """
    from backstay.app import protecting, reading
    from backstay.app.laying import Over
    from backstay.cli.printing import Page
    from backstay.errors import Usage
    from backstay.values import count, say_size

    page = Page(common, vault)
    if how.part:
        return extracting.say(page, extracting.take(page, extracting.asked(component, to, which, how), work_screen))
    if to is None:
        raise Usage("nobody said where to", detail="nothing was written", hint="add --to FOLDER")
    if how.remove and not how.delta:
        raise Usage("--remove belongs to --delta", detail="a restore to an empty folder has nothing to remove")
    home = page.home()
    with work_screen(page, home.clock.elapsed, f"restoring {component}") as progress:
        told = Over(how.remove) if how.delta else None
        asked = protecting.Which(which.point, which.target())
        laid = protecting.restore_to(home, component, to, asked, progress, told)
    p = laid.point
    page.say(f"✔ {p.component} as of {_as_of(p, asked.target)} is in {to}")
    page.say(f"  {count(p.files, 'file')}, {say_size(p.size_bytes)}, from point {p.id} in {laid.vault}")
    helped = reading.said(home)
    for line in helped:
        page.say(f"✘ {line}", "bold red")
    for line in laid.next_steps:
        page.say(f"  {line}")
    answer = {"point": _plain(p), "vault": laid.vault, "to": str(to), "next": list(laid.next_steps)}
    return page.done(answer | {"troubles": helped})


def _as_of(point: "Point", target: "Target | None") -> str:
    from backstay.cli.printing import local
    from backstay.plan import say_target

    return f"{local(point.moment)} UTC ({point.newest_source})" if target is None else say_target(target)


def _age(age: "timedelta") -> str:
    """Negative when this machine's clock is behind that of the source, or was set back."""
    from backstay.values import say_span

    return say_span(age) if age.total_seconds() >= 0 else f"in {say_span(-age)}"


# ── saying it ────────────────────────────────────────────────────────────────────────────────────


@contextmanager
def work_screen(page: "Page", elapsed: "object", title: str) -> "Generator[Progress]":
    from collections.abc import Callable
    from typing import cast

    from backstay.cli.screen import WorkScreen

    with WorkScreen(page.err, cast("Callable[[], timedelta]", elapsed), title) as screen:
        yield screen.progress


def _plain(value: object) -> "dict[str, object]":
    from backstay.cli.printing import plain

    return plain(value)


def _told(one: "Came") -> "dict[str, object]":
    from backstay.facts import NotVerified, PointTaken, Proof, Proven, Refuted

    told: dict[str, object] = {"component": one.component, "vault": one.vault}
    match one.result:
        case PointTaken() as taken:
            passed = [{"vault": name, "code": error.code, "error": error.message} for name, error in one.passed_over]
            told |= {"point": _plain(taken.point), "took_s": taken.took.total_seconds(), "said": list(taken.said)}
            return told | {"passed_over": passed}
        case Proof() as proof:
            result = proof.result()
            name = {Proven: "proven", Refuted: "refuted", NotVerified: "not verified"}[type(result)]
            told |= {"result": name, "why": getattr(result, "why", ""), "suspicious": one.marked, "picked": one.picked}
            return told | {"proof": _weighed(proof)}
        case error:
            return told | {"code": error.code, "error": error.message, "known": error.detail, "try": error.hint}


def _weighed(proof: "Proof") -> "dict[str, object]":
    """The proof, each check with what it weighs."""
    from backstay.verify import severity

    weights = [{**_plain(check), "severity": severity(check.code).value} for check in proof.checks]
    return {**_plain(proof), "checks": weights}


def _say_backup(page: "Page", one: "Came") -> None:
    from backstay.cli.printing import local
    from backstay.facts import PointTaken
    from backstay.values import say_size, say_span

    if not isinstance(one.result, PointTaken):
        return _say_error(page, one)
    point, took = one.result.point, one.result.took
    rate = f", {say_size(point.size_bytes / took.total_seconds())}/s" if took.total_seconds() else ""
    page.say(
        f"✔ {one.component}: {point.id} in {one.vault}, {say_size(point.size_bytes)} in {say_span(took)}{rate}, "
        f"{say_size(point.stored_bytes)} stored"
    )
    page.say(f"  data until {local(point.moment)} UTC ({point.newest_source}); not proven yet: backstay verify", "dim")
    for line in one.result.said:
        page.say(f"  {line}", "dim")
    _say_passed_over(page, one)
    return None


def _say_passed_over(page: "Page", one: "Came") -> None:
    for name, error in one.passed_over:
        page.say(f"  ✘ not into {name}: {error.message}", "bold red")


def _say_proof(page: "Page", one: "Came", details: bool) -> None:
    from backstay.cli.proofs import say_proof
    from backstay.facts import Proof

    if isinstance(one.result, Proof):
        say_proof(page, one.result, details)
        if one.picked:
            page.say(f"  {one.picked}", "dim")
        if one.marked:
            id = one.result.point
            page.say(f"! {id} is marked suspicious, and is not chosen by itself: {one.marked}", "bold red")
            page.say(f'  if that is right: backstay release {id} --by PERSON --reason "…"; then verify it again')
    else:
        _say_error(page, one)


def _say_error(page: "Page", one: "Came") -> None:
    where = f" into {one.vault}" if one.vault else ""
    page.say(f"✘ {one.component}{where}: {one.result}", "bold red")
    _say_passed_over(page, one)


def _fail_if_any(came: "Sequence[Came]") -> None:
    """Everything was said already: the exit code is the first failure's, or the worst proof's."""
    from backstay.cli.printing import Failed
    from backstay.errors import PointNotVerified, PointRefuted
    from backstay.facts import NotVerified, Proof, Refuted

    codes = [one.error.code for one in came if one.error is not None]
    results = [one.result.result() for one in came if isinstance(one.result, Proof)]
    codes += [PointRefuted.code for result in results if isinstance(result, Refuted)]
    codes += [PointNotVerified.code for result in results if isinstance(result, NotVerified)]
    if codes:
        raise Failed(codes[0])
