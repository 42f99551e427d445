"""A plan with one SQLite database and one vault, in a folder of its own: points are cheap there, and can be many."""

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from backstay.app import protecting
from backstay.facts import Point, PointTaken
from fix_vaults import Shop, screen

PLAN = """\
backstay: 1
system: {name: registry, title: Registry}
objectives: {rto: 1h, rpo: 24h}
sites:
  primary: {}
vaults:
  local: {url: ./local, keep: 30d}
components:
  registry:
    sqlite: ./registry.db
    protect: {full: "02:00"}
    prove: {ask: [{sql: "SELECT count(*) FROM tenants", expect: ">= 0", as: tenants}]%s}
people:
  me: {name: Me, email: me@example.com}
declaration: {authority: {alone: [me]}}
scenarios:
  lost:
    title: The registry is lost
    probability: low
    impact: high
    procedure:
      - phase: Back
        steps: [preserve: {component: registry}, restore: {component: registry}, ask: registry]
"""


@dataclass(frozen=True, slots=True)
class Registry(Shop):
    """A Shop whose component is a database."""

    def write_plan(self, vaults: object = None, prove: str = "") -> None:
        (self.folder / "backstay.yaml").write_text(PLAN % prove)

    @property
    def database(self) -> Path:
        return self.folder / "registry.db"

    def write(self, *statements: str) -> None:
        with closing(sqlite3.connect(self.database, isolation_level=None)) as db:
            for statement in statements:
                db.execute(statement)

    def take(self) -> Point:
        (came,) = protecting.backup(self.home(), (), screen)
        assert isinstance(came.result, PointTaken), came.result
        return came.result.point


def make_registry(folder: Path, prove: str = "") -> Registry:
    """With one tenant, and initialised."""
    registry = Registry(folder)
    folder.mkdir(parents=True, exist_ok=True)
    registry.write_plan(prove=prove)
    registry.write("CREATE TABLE tenants (id INTEGER PRIMARY KEY, name TEXT)", "INSERT INTO tenants VALUES (1, 'one')")
    registry.init()
    return registry
