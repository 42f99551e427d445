"""A point that lost rows, or a canary: sound, marked, passed over, named by a person, taken back by one."""

import json
import signal
import subprocess
import sys
from pathlib import Path

from backstay.app import marking, protecting
from backstay.errors import Usage
from backstay.facts import Hold, HoldPlaced, NotVerified, Proof, Proven
from backstay.history import active_holds
from backstay.values import ComponentName, PointId
from backstay.verify import Chosen, candidates, choose, content
from fix_registry import Registry, make_registry
from fix_vaults import screen, typed

REGISTRY = ComponentName("registry")
CANARIES = """,
            canary: [{sql: "SELECT count(*) FROM tenants WHERE id = 1", expect: "= 1", as: seed},
                     {sql: "SELECT max(id) FROM tenants", as: newest}]"""


def prove(registry: Registry, point: PointId | None = None) -> Proof:
    (came,) = protecting.prove(registry.home(), (), screen, point=point)
    assert isinstance(came.result, Proof), came.result
    return came.result


def marks(registry: Registry) -> dict[PointId, str]:
    holds = active_holds(registry.home().history(REGISTRY).holds)
    return {hold.point: hold.reason for hold in holds if hold.kind == "suspicious"}


def chosen(registry: Registry, origin: str = "proven") -> Chosen:
    home = registry.home()
    found = choose(origin, candidates(home.history(REGISTRY), REGISTRY), home.clock.now())
    assert isinstance(found, Chosen), found
    return found


def fill(registry: Registry, rows: int) -> None:
    registry.write(
        f"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT {rows}) "
        "INSERT INTO tenants (name) SELECT 'tenant ' || i FROM n"
    )


def test_rows_lost_between_proofs_mark_the_point_and_it_is_passed_over(tmp_path: Path) -> None:
    registry = make_registry(tmp_path)
    fill(registry, 400)
    good = registry.take()
    assert isinstance(prove(registry).result(), Proven)
    registry.write("DELETE FROM tenants WHERE id > 300")
    less = registry.take()
    said = typed(registry, "verify")
    assert said.returncode == 35
    assert f"! {less.id} is marked suspicious, and is not chosen by itself: tenants has 300 of 401 rows" in said.stdout
    assert marks(registry).keys() == {less.id}
    found = chosen(registry)
    assert found.point.id == good.id
    assert found.passed_over[0].why.startswith("marked suspicious by backstay verify: tenants has 300 of 401 rows")
    assert chosen(registry, "newest").point.id == good.id
    named = chosen(registry, less.id)
    assert named.point.id == less.id
    assert "named by a person" in named.because
    assert "marked suspicious" in named.because
    shown = typed(registry, "points")
    assert "not verified, suspicious" in shown.stdout
    assert f"! {less.id} is suspicious, by backstay verify: tenants has" in shown.stdout
    assert "pass over the newest point" in typed(registry, "status").stdout
    listed = json.loads(typed(registry, "points", "--json").stdout)["points"]
    assert [[mark["kind"] for mark in point["marks"]] for point in listed] == [[], ["suspicious"]]


def test_what_is_suspicious_is_no_measure_for_the_next(tmp_path: Path) -> None:
    """Else the rows would be gone for one night, and the point of the next night be chosen by itself."""
    registry = make_registry(tmp_path)
    fill(registry, 400)
    good = registry.take()
    prove(registry)
    registry.write("DELETE FROM tenants WHERE id > 300")
    less = registry.take()
    prove(registry)
    registry.write("INSERT INTO tenants (name) VALUES ('one more')")
    next_night = registry.take()
    prove(registry)
    assert marks(registry).keys() == {less.id, next_night.id}
    assert chosen(registry).point.id == good.id
    # A person says that it was right: that is the measure from now on.
    for point in (less, next_night):
        assert typed(registry, "release", point.id, "--by", "me", "--reason", "the trial ended").returncode == 0
    third = registry.take()
    prove(registry)
    assert marks(registry) == {}
    assert chosen(registry).point.id == third.id


def test_a_person_takes_the_mark_back_with_a_name_and_a_reason(tmp_path: Path) -> None:
    registry = make_registry(tmp_path)
    fill(registry, 400)
    registry.take()
    prove(registry)
    registry.write("DELETE FROM tenants WHERE id > 300")
    less = registry.take()
    prove(registry)
    bare = typed(registry, "release", less.id, "--by", "me")
    assert bare.returncode == Usage.code
    assert "people will ask" in bare.stderr
    assert typed(registry, "release", less.id, "--by", "me", "--reason", "the trial ended").returncode == 0
    assert marks(registry) == {}
    assert isinstance(prove(registry).result(), Proven), "compared with its own proof now"
    assert chosen(registry).point.id == less.id
    facts = [one.fact for one in registry.home().journal.everything()]
    released = [fact.hold for fact in facts if isinstance(fact, HoldPlaced) and fact.hold.kind == "released"]
    assert [(hold.by, hold.reason) for hold in released] == [("me", "the trial ended")]


def test_a_canary_that_is_gone_or_goes_down(tmp_path: Path) -> None:
    registry = make_registry(tmp_path, CANARIES)
    fill(registry, 5)
    registry.take()
    first = prove(registry)
    assert isinstance(first.result(), Proven)
    assert first.canaries == {"newest": 6}
    assert typed(registry, "plan", "check").returncode == 0
    registry.write("DELETE FROM tenants WHERE id IN (1, 6)")
    gone = registry.take()
    proof = prove(registry)
    assert isinstance(content(proof), NotVerified)
    assert marks(registry) == {
        gone.id: "the canary seed: 0; expected = 1 and the canary newest: 5, and it was 6: it must never go down"
    }
    assert chosen(registry).point.id == first.point
    prove(registry)
    assert len(marks(registry)) == 1


KILLED = """
import os, signal
from backstay.cli import main
from backstay.vault import Repository
Repository.keep_proof = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
main(["verify"])
"""


def test_a_mark_comes_before_the_proof_and_only_once(tmp_path: Path) -> None:
    """Whoever dies between the two has hidden nothing; and what a person took back is not placed again."""
    registry = make_registry(tmp_path, CANARIES)
    registry.write("DELETE FROM tenants WHERE id = 1")
    point = registry.take()
    ended = subprocess.run([sys.executable, "-c", KILLED], cwd=tmp_path, capture_output=True, timeout=60, check=False)
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    assert marks(registry).keys() == {point.id}
    assert registry.home().history(REGISTRY).proofs == ()
    prove(registry)
    holds: list[Hold] = [hold for hold in registry.home().history(REGISTRY).holds if hold.point == point.id]
    assert len({hold.id for hold in holds}) == 1, "done twice it is done once"
    assert typed(registry, "release", point.id, "--by", "me", "--reason", "a test").returncode == 0
    marking.mark(registry.home(), point, holds[0].reason)
    assert marks(registry) == {}
