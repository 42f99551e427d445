"""The last known good among many points: exact, in few restores, taken up after a kill, honest about what it saw."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from backstay.adapters.sqlite import SqliteKeeper
from backstay.app.choosing import Sought, Wanted, seek
from backstay.cli.choosing import word
from backstay.engine.routine import component_stream, open_routines
from backstay.errors import NoLastGood, NotSupported, Usage
from backstay.facts import AnswerGiven, SearchBegan, SearchEnded, Verdict
from backstay.ports import Progress, unwatched
from backstay.values import ComponentName
from backstay.verify.bisect import Found, NeverRight, StillRight, most
from fix_estate import program
from fix_registry import Registry, make_registry
from fix_vaults import screen, typed

ASKED = "SELECT count(*) FROM tenants WHERE name = 'one'"
WANTED = Wanted("registry", ASKED, "= 1")
REGISTRY = component_stream(ComponentName("registry"))


def many(registry: Registry, points: int, broken_from: int) -> list[str]:
    """So many points; from the one of that number on the first tenant is another. Gives their ids."""
    ids = list[str]()
    for number in range(points):
        if number == broken_from:
            registry.write("UPDATE tenants SET name = 'overwritten' WHERE id = 1")
        registry.write(f"INSERT INTO tenants (name) VALUES ('tenant {number}')")
        ids.append(registry.take().id)
    return ids


def restored(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Filled with each point that is restored into a sandbox."""
    seen, sandbox = list[str](), SqliteKeeper.sandbox

    def counted(self: SqliteKeeper, point: object, *rest: object, **more: object) -> object:
        seen.append(point.point.id)  # type: ignore[attr-defined]
        return sandbox(self, point, *rest, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(SqliteKeeper, "sandbox", counted)
    return seen


def test_the_bisect_over_thirty_points_with_one_planted_corruption(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    registry = make_registry(tmp_path)
    ids = many(registry, 30, broken_from=17)
    seen = restored(monkeypatch)
    began = time.monotonic()
    sought = seek(registry.home(), WANTED, screen)
    took = time.monotonic() - began
    assert sought.ended == Found(16, 17)
    assert sought.good is not None
    assert sought.bad is not None
    assert (sought.good.id, sought.bad.id) == (ids[16], ids[17])
    assert len(seen) == sought.restores <= most(30) == 7
    assert not list((tmp_path / ".backstay" / "scratch").iterdir()), "nothing of what was restored is left"
    shown = [f"30 points, the 18th corrupted: {sought.restores} restores in {took:.1f} s; {sought.said[0]}"]
    for point in sought.points:
        if (given := sought.answers.get(point.id)) is not None:
            shown.append(f"  {point.id}  {word(given.verdict):<6}  {given.said}")
    with capsys.disabled():
        sys.stdout.write("\n" + "\n".join(shown) + "\n")


def test_the_journal_tells_the_search_and_no_rows(tmp_path: Path) -> None:
    registry = make_registry(tmp_path)
    many(registry, 4, broken_from=2)
    seek(registry.home(), WANTED, screen)
    facts = [one.fact for one in registry.home().journal.read(REGISTRY)]
    assert [type(fact) for fact in facts if isinstance(fact, SearchBegan | SearchEnded)] == [SearchBegan, SearchEnded]
    answers = [fact for fact in facts if isinstance(fact, AnswerGiven)]
    assert {answer.verdict for answer in answers} == {Verdict.PASSED, Verdict.FAILED}
    assert "overwritten" not in repr(facts)
    said = typed(registry, "journal", "show")
    assert "The last known good is looked for: SELECT count(*) FROM tenants" in said.stdout
    assert "The search has ended: the last known good is" in said.stdout


def test_it_is_taken_up_where_it_was_killed_and_asks_nothing_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """kill -9 at each of the questions, while it is being asked."""
    registry = make_registry(tmp_path)
    ids = many(registry, 9, broken_from=5)
    seen, kills = restored(monkeypatch), 0

    class Crash(BaseException):
        pass

    @contextmanager
    def dying(title: str) -> Generator[Progress]:
        nonlocal budget
        if budget == 0:
            raise Crash
        budget -= 1
        yield unwatched

    while True:
        budget = 1
        try:
            sought = seek(registry.home(), WANTED, dying)
            break
        except Crash:
            kills += 1
    assert kills >= 4
    assert sought.known_before == kills
    assert (sought.good and sought.good.id, sought.bad and sought.bad.id) == (ids[4], ids[5])
    assert len(seen) == len(set(seen)) <= most(9)
    facts = [one.fact for one in registry.home().journal.read(REGISTRY)]
    assert sum(isinstance(fact, SearchBegan) for fact in facts) == 1
    again = seek(registry.home(), WANTED, screen)
    assert again.known_before == 0, "one that has ended begins anew"
    assert again.good == sought.good


def test_a_process_that_was_killed_while_it_asked_leaves_nothing_behind(tmp_path: Path) -> None:
    registry = make_registry(tmp_path)
    ids = many(registry, 3, broken_from=2)
    slow = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 400000000) SELECT count(*) FROM n"
    argv = [*program(), "choose", "registry", "--when", slow, "--expect", "= 1"]
    with subprocess.Popen(argv, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        scratch = tmp_path / ".backstay" / "scratch"
        deadline = time.monotonic() + 60
        while not list(scratch.glob("prove-*/database.sqlite")):
            assert time.monotonic() < deadline
            assert process.poll() is None
        os.kill(process.pid, signal.SIGKILL)
    assert [one.what for one in open_routines(registry.home().journal.read(REGISTRY))] == ["question"]
    sought = seek(registry.home(), WANTED, screen)
    assert sought.good is not None
    assert sought.good.id == ids[1]
    assert not list(scratch.iterdir()), "what the killed one had restored is gone"
    assert not open_routines(registry.home().journal.read(REGISTRY))
    assert "failed" not in typed(registry, "status").stdout, "a question that was interrupted is no failed backup"


# ── what it says ─────────────────────────────────────────────────────────────────────────────────


def sought(registry: Registry, question: str = ASKED, expect: str = "= 1") -> Sought:
    return seek(registry.home(), Wanted("registry", question, expect), screen)


def test_what_was_never_right_and_what_still_is_are_said(tmp_path: Path) -> None:
    registry = make_registry(tmp_path)
    ids = many(registry, 4, broken_from=9)
    still = sought(registry)
    assert isinstance(still.ended, StillRight)
    assert still.restores == 1
    assert still.said == (f"the newest point, {ids[3]} of {_moment(still)}, still answers right",)
    assert still.commands == ()
    never = sought(registry, "SELECT count(*) FROM tenants WHERE name = 'nobody'")
    assert isinstance(never.ended, NeverRight)
    assert never.restores == 2
    misspelled = sought(registry, "SELECT count(*) FROM tenant")
    assert isinstance(misspelled.ended, NeverRight)
    assert "no such table: tenant" in misspelled.answers[misspelled.points[0].id].said
    assert typed(registry, "choose", "registry", "--when", "SELECT 1", "--expect", "= 2").returncode == 89


def _moment(found: Sought) -> str:
    assert found.good is not None
    return f"{found.good.moment:%Y-%m-%d %H:%M:%S UTC}"


def test_a_table_that_is_gone_is_a_wrong_answer(tmp_path: Path) -> None:
    registry = make_registry(tmp_path)
    ids = many(registry, 3, broken_from=9)
    registry.write("DROP TABLE tenants", "CREATE TABLE orders (id)")
    gone = registry.take()
    found = sought(registry)
    assert found.good is not None
    assert found.bad is not None
    assert (found.good.id, found.bad.id) == (ids[2], gone.id)


def test_a_point_that_cannot_be_read_is_stepped_beside_and_said(tmp_path: Path) -> None:
    registry = make_registry(tmp_path)
    ids = many(registry, 3, broken_from=9)
    for number in range(40):  # bytes of its own, which the points beside it do not have
        registry.write(f"INSERT INTO tenants (name) VALUES (hex(randomblob(20000 + {number})))")
    before = set((tmp_path / "local" / "packs").rglob("*"))
    dark = registry.take()
    for pack in set((tmp_path / "local" / "packs").rglob("*")) - before:
        if pack.is_file():
            pack.chmod(0o600)
            whole = pack.read_bytes()
            middle = len(whole) // 2
            pack.write_bytes(whole[: middle - 5000] + bytes(10_000) + whole[middle + 5000 :])
    registry.write(
        "DELETE FROM tenants WHERE length(name) > 30", "UPDATE tenants SET name = 'x' WHERE id = 1", "VACUUM"
    )
    bad = registry.take()
    found = sought(registry)
    assert found.ended == Found(2, 4, (3,))
    assert found.answers[dark.id].verdict is Verdict.NOT_VERIFIED
    assert found.good is not None
    assert found.bad is not None
    assert (found.good.id, found.bad.id) == (ids[2], bad.id)
    assert f"1 point after it could not be asked, or not all of them: {dark.id}" in found.said[1]


def test_an_answer_that_changed_twice_is_said(tmp_path: Path) -> None:
    registry = make_registry(tmp_path)
    many(registry, 2, broken_from=0)
    registry.write("UPDATE tenants SET name = 'one' WHERE id = 1")
    many(registry, 2, broken_from=9)
    registry.write("UPDATE tenants SET name = 'x' WHERE id = 1")
    many(registry, 1, broken_from=9)
    found = sought(registry)
    assert isinstance(found.ended, NeverRight), "wrong at both ends: nothing says where to look"
    assert "between them nobody looked" in found.said[0]
    started = found.points[2].moment.isoformat()
    said = json.loads(
        typed(registry, "choose", "registry", "--when", ASKED, "--expect", "1", "--from", started, "--json").stdout
    )
    assert said["good"]["id"] == found.points[3].id
    assert said["bad"]["id"] == found.points[4].id
    assert said["monotone"] is True
    recover = f"backstay recover lost --point registry={said['good']['id']} --disaster"
    assert any(line.startswith(recover) for line in said["next"])


def test_what_cannot_be_asked_is_refused_before_anything_is_restored(tmp_path: Path) -> None:
    registry = make_registry(tmp_path)
    with pytest.raises(NoLastGood):
        sought(registry)
    registry.take()
    for question, expect in (("DELETE FROM tenants", "= 1"), ("SELECT 1", "roughly 1")):
        with pytest.raises(Usage):
            sought(registry, question, expect)
    with pytest.raises(Usage, match="single value"):
        sought(registry, "SELECT id, name FROM tenants")
    (tmp_path / "papers").mkdir()
    plan = (tmp_path / "backstay.yaml").read_text()
    (tmp_path / "backstay.yaml").write_text(plan.replace("components:", "components:\n  papers: {files: ./papers}"))
    with pytest.raises(NotSupported):
        seek(registry.home(), Wanted("papers", "SELECT 1", "= 1"), screen)
