"""What a plan says and this version does nothing with.

A plan may say more than a version can do: it is written once, and for years. What is read and not acted on must be
said wherever the plan is shown, or a line in a file would pass for protection. A sentence goes away here when the
software can do what it says.
"""

from collections.abc import Iterator

from backstay.plan import Mode, Plan, PostgresSource, PostgresWay
from backstay.values import count, listed


def unheeded(plan: Plan) -> tuple[str, ...]:
    """Sentences, each beginning with the key that is meant. Kinds of component that cannot be backed up, and scenarios
    without a procedure, are said where components and scenarios are."""
    return (*_components(plan), *_vaults(plan), *_schedules(plan), *_watching(plan), *_world(plan))


def _components(plan: Plan) -> Iterator[str]:
    if before := [name for name, one in plan.components.items() if one.protect.before]:
        yield f"`before` ({listed(before)}): nothing sees a deployment; run `backstay backup` before each"
    managed = [
        name
        for name, one in plan.components.items()
        if isinstance(one.source, PostgresSource) and (one.source.way is PostgresWay.MANAGED or one.source.managed)
    ]
    if managed:
        yield f"`managed` ({listed(managed)}): no provider is asked; PostgreSQL is taken by its files or by a dump only"


def _vaults(plan: Plan) -> Iterator[str]:
    without = [
        name for name, one in plan.vaults.items() if one.lock is not None and not str(one.url).startswith("s3://")
    ]
    if without:
        yield f"`lock` ({listed(without)}): only buckets in S3 are locked; whoever may write there may delete"


def _schedules(plan: Plan) -> Iterator[str]:
    if waiting := [rule for rule in plan.drills if rule.participants or rule.mode is not Mode.DRILL]:
        said = count(len(waiting), "drill")
        yield f"`drills`: {said} with people in it begins when somebody types `backstay drill`, and nobody is told"


def _watching(plan: Plan) -> Iterator[str]:
    if plan.watch is not None:
        yield "`watch`: nobody looks all the time; availability is not measured"
    if plan.alive is not None:
        yield "`alive`: nobody outside is told that Backstay still runs"


def _world(plan: Plan) -> Iterator[str]:
    if plan.audiences:
        yield f"`communication` ({listed(plan.audiences)}): no messages are sent; people have to send them"
    if plan.dns is not None:
        yield "`dns`: no record is changed; people have to change it"
    if clusters := [name for name, site in plan.sites.items() if site.cluster is not None]:
        yield f"`cluster` ({listed(clusters)}): nothing is done in a cluster; people have to do it"
