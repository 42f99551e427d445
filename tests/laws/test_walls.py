"""No spelling of a place of production passes for a place of the sandbox: what a drill finds there, it erases."""

from pathlib import Path

import pytest

from backstay.app.home import Asked, Home
from backstay.app.walls import refuse_shared_places, refuse_swallowed
from backstay.errors import NotAuthorised, SourceUnsuitable
from backstay.values import ComponentName

PLAN = """
backstay: 1
system: {name: shop, owner: us}
objectives: {rto: 1h, rpo: 24h}
sites:
  primary: {processes: {api: {start: [api], pid_file: run/api.pid}}}
  sandbox: {processes: {api: {start: [api], pid_file: PIDFILE}}}
vaults: {local: {url: VAULT, keep: 30d}}
components:
  database:
    postgres:
      url: {primary: "postgresql://u@127.0.0.1:5432/shop", sandbox: "URL"}
      way: WAY
      data: {primary: pg/data, sandbox: DATA}
    protect: {full: "02:00"}
    prove: {ask: [{sql: "SELECT 1", expect: "= 1", as: one}]}
  settings:
    sqlite: {path: {primary: settings/app.db, sandbox: SQLITE}}
    protect: {full: "02:00"}
    prove: {ask: [{sql: "SELECT 1", expect: "= 1", as: one}]}
"""

GOOD = {"URL": "postgresql://u@127.0.0.1:5433/shop", "WAY": "local", "DATA": "room/pg", "SQLITE": "room/app.db"} | {
    "PIDFILE": "room/api.pid",
    "VAULT": "./vault",
}


def home(tmp_path: Path, **values: str) -> Home:
    (tmp_path / "pg" / "data").mkdir(parents=True)
    (tmp_path / "settings").mkdir()
    (tmp_path / "settings" / "app.db").touch()
    (tmp_path / "alias").symlink_to("pg")
    (tmp_path / "alias.db").symlink_to("settings/app.db")
    text = PLAN
    for name, value in (GOOD | values).items():
        text = text.replace(name, value)
    (tmp_path / "backstay.yaml").write_text(text)
    return Home(Asked(), tmp_path)


def test_a_room_of_its_own_is_let_through(tmp_path: Path) -> None:
    refuse_shared_places(home(tmp_path))


@pytest.mark.parametrize(
    "values",
    [
        {"DATA": "pg/data"},
        {"DATA": "alias/data"},
        {"DATA": "./room/../pg/data"},
        {"DATA": "pg"},
        {"DATA": "pg/data/sandbox"},
        {"DATA": "settings"},
        {"SQLITE": "alias.db"},
        {"SQLITE": "pg/data/app.db"},
        {"DATA": "vault/.."},
        {"DATA": "vault"},
        {"PIDFILE": "./room/../run/api.pid"},
        {"URL": "postgresql://u@127.0.0.1:5432/shop"},
        {"URL": "postgresql://u@localhost:5432/shop"},
        {"URL": "postgresql://u@[::1]:5432/other"},
        {"URL": "postgresql:///shop?host=/run/postgresql"},
        {"URL": "postgresql://u@127.0.0.2/shop"},
        {"URL": "postgresql://u@localhost/shop", "WAY": "logical"},
    ],
    ids=lambda values: " ".join(values.values()),
)
def test_a_place_of_production_is_refused_however_it_is_spelled(tmp_path: Path, values: dict[str, str]) -> None:
    with pytest.raises(NotAuthorised, match="a drill would touch production"):
        refuse_shared_places(home(tmp_path, **values))


def test_a_logical_drill_may_use_another_database_of_the_same_server(tmp_path: Path) -> None:
    refuse_shared_places(home(tmp_path, URL="postgresql://u@localhost:5432/rehearsal", WAY="logical"))


@pytest.mark.parametrize("vault", ["pg/data/vault", "alias/data/vault", "pg/data"])
def test_a_vault_within_what_it_protects_is_refused(tmp_path: Path, vault: str) -> None:
    here = home(tmp_path, VAULT=vault)
    with pytest.raises(SourceUnsuitable, match="the vault local lies in database"):
        refuse_swallowed(here, here.plan.component(ComponentName("database")))
    refuse_swallowed(here, here.plan.component(ComponentName("settings")))
