"""What an operator may do wrong, and what may be wrong around them: each gets its code, what is known, what to try.

Nothing is lost by any of it: what stood in the vault before stands there afterwards, and once the cause is gone the
same command works. (No secret and no traceback is ever printed: `fix_estate` looks at every answer.)
"""

import hashlib
import re
import shutil
import subprocess
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from backstay import vault
from fix_estate import DATABASE, PERSON, RECOVER, SCENARIO, Done, Estate, Lend, program

ROOT = Path(__file__).resolve().parents[2]

# ── judging ──────────────────────────────────────────────────────────────────────────────────────


def refused(done: Done, code: int, *words: str) -> None:
    """The right code, and all three parts; what must stand in it."""
    assert done.code == code, done.said
    assert f"E{code:02d}  " in done.said, done.said
    assert "\n  known: " in done.said, done.said
    assert "\n  try:   " in done.said, done.said
    for word in words:
        assert word in done.said, done.said


def contents(folder: Path) -> Mapping[str, str]:
    """Every file below it, and what is in it."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@contextmanager
def nothing_lost(estate: Estate) -> Generator[None]:
    """Whatever was in the vault is in it afterwards, unchanged. (The journal may have sealed a spine.)"""
    before = contents(estate.vault)
    yield
    after = contents(estate.vault)
    assert {name: after.get(name) for name in before} == before


def points(estate: Estate, component: str = DATABASE) -> list[dict[str, Any]]:
    return estate.backstay("points", component, "--json").good().json["points"]


# ── the vault ────────────────────────────────────────────────────────────────────────────────────


def test_a_wrong_key_opens_nothing_and_harms_nothing(shelf: Estate) -> None:
    right = shelf.key.read_bytes()
    shelf.key.unlink()
    vault.new_key(shelf.key)
    with nothing_lost(shelf):
        for words in (["points"], ["restore", DATABASE, "--to", "x"], ["backup", "settings"], ["status"]):
            refused(shelf.backstay(*words), 23)
    assert not (shelf.folder / "x").exists()
    shelf.key.write_bytes(right)
    assert len(points(shelf)) == 1


def test_no_key_at_all_says_where_one_was_looked_for(shelf: Estate) -> None:
    shelf.key.rename(shelf.folder / "elsewhere")
    refused(shelf.backstay("points"), 23, str(shelf.key), "--key")
    shelf.backstay("points", "--key", "elsewhere").good()


def test_a_vault_of_a_newer_version_is_left_alone(shelf: Estate) -> None:
    header = shelf.vault / "vault"
    text = header.read_bytes().rpartition(b"sha256 ")[0]
    newer = re.sub(rb"format (\d+)", lambda m: b"format %d" % (int(m[1]) + 1), text, count=1)
    header.write_bytes(newer + b"sha256 " + hashlib.sha256(newer).hexdigest().encode() + b"\n")
    with nothing_lost(shelf):
        for words in (["points"], ["restore", DATABASE, "--to", "x"], ["backup", "settings"]):
            refused(shelf.backstay(*words), 22, "format")


def test_a_folder_that_is_no_vault_is_not_made_one(shelf: Estate) -> None:
    shelf.vault.rename(shelf.folder / "unmounted")
    shelf.vault.mkdir()
    refused(shelf.backstay("backup", "settings"), 20, str(shelf.vault))
    assert list(shelf.vault.iterdir()) == []


def flipped(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0x10
    path.write_bytes(data)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


DAMAGES: dict[str, tuple[Callable[[Path], None], int]] = {
    "one flipped bit": (flipped, 24),
    "a truncated pack": (cut, 24),
    "a missing pack": (Path.unlink, 25),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_pack_is_named_and_its_point_is_not_chosen_any_more(shelf: Estate, damage: str) -> None:
    do, code = DAMAGES[damage]
    pack = max((shelf.vault / "packs" / DATABASE).iterdir(), key=lambda path: path.stat().st_size)
    kept = pack.read_bytes()
    do(pack)
    with nothing_lost(shelf):
        refused(shelf.backstay("restore", DATABASE, "--to", "laid"), code, pack.name)
        assert not (shelf.folder / "laid" / "data" / "global" / "pg_control").exists(), "half a cluster never starts"
        shelf.backstay("restore", "settings", "--to", "other").good()
        refuted = shelf.backstay("verify", DATABASE)
        assert refuted.code == 34, refuted.said
        refused(shelf.backstay(*RECOVER), 32, "refuted")
    assert [point["proof"] for point in points(shelf)] == ["refuted"]
    pack.write_bytes(kept)
    shelf.backstay("verify", DATABASE).good()
    assert [point["proof"] for point in points(shelf)] == ["proven"]


def test_a_point_that_was_damaged_after_its_proof_stops_the_recovery_and_an_older_one_takes_its_place(
    protected: Estate,
) -> None:
    """The worst hour: the application is stopped, the old state is aside, and the point does not restore."""
    older = points(protected)[0]["id"]
    packs = set((protected.vault / "packs" / DATABASE).iterdir())
    protected.start()
    before = protected.rows()
    protected.backstay("backup", DATABASE).good()
    protected.backstay("verify", DATABASE).good()
    for pack in set((protected.vault / "packs" / DATABASE).iterdir()) - packs:
        flipped(pack)
    protected.wreck()

    failed = protected.backstay(*RECOVER)
    assert failed.code == 60, failed.said
    assert "E24" in failed.err
    status = protected.backstay("status")
    assert status.code == 65
    first, *ways = status.out.splitlines()[:4]
    assert "failed" in first
    assert "E24" in first
    assert "still stopped" in ways[0]
    assert "backstay run retry" in ways[1]
    assert "--point database=ID" in ways[2]
    assert len(list(protected.data.parent.glob("data.damaged-*"))) == 1

    assert protected.backstay("verify", DATABASE).code == 34
    protected.backstay(*RECOVER).good()
    told = protected.backstay("run", "show", "--json").json
    assert older in [step["values"].get("point") for step in told["steps"]]
    assert protected.rows() == before
    assert protected.health() == 200, "also the second run knows that the application has to be started"
    assert "failed" not in protected.backstay("status").out.splitlines()[0]


# ── the point ────────────────────────────────────────────────────────────────────────────────────


def test_a_point_with_too_few_rows_is_refuted_and_the_one_before_it_is_chosen(protected: Estate) -> None:
    good = points(protected)[0]["id"]
    protected.start_database()
    with psycopg.connect(protected.dsn, autocommit=True) as connection:
        connection.execute("TRUNCATE tenants CASCADE")
    protected.backstay("backup", DATABASE).good()
    bad = points(protected)[-1]["id"]
    refuted = protected.backstay("verify", DATABASE)
    assert refuted.code == 34, refuted.said
    assert "tenants: 0; expected >= 1" in refuted.said
    assert {point["id"]: point["proof"] for point in points(protected)} == {good: "proven", bad: "refuted"}
    told = protected.backstay(*RECOVER, "--mode", "dry").good()
    assert f"from {good}" in told.said, told.said
    assert f"{bad} refuted" in told.said, told.said


def test_without_a_proven_point_nothing_is_stopped(shelf: Estate) -> None:
    shelf.edit_plan('expect: ">= 1", as: tenants', 'expect: ">= 1000", as: tenants')
    assert shelf.backstay("verify", DATABASE).code == 34
    refused(shelf.backstay(*RECOVER), 32, "refuted", "tenants")
    assert shelf.backstay("status", "--json").json["open_runs"] == []


def test_without_any_point_the_operator_is_told_to_take_one(fresh: Estate) -> None:
    fresh.backstay("init").good()
    refused(fresh.backstay(*RECOVER), 32, "backstay backup")
    refused(fresh.backstay("restore", DATABASE, "--to", "x"), 33, "backstay backup")


def test_a_target_that_is_not_empty_is_left_alone(shelf: Estate) -> None:
    there = shelf.folder / "there"
    there.mkdir()
    (there / "thesis.txt").write_text("the only copy")
    refused(shelf.backstay("restore", DATABASE, "--to", "there"), 30, "thesis.txt")
    assert contents(there) == {"thesis.txt": hashlib.sha256(b"the only copy").hexdigest()}


def test_a_running_server_is_never_restored_over(protected: Estate) -> None:
    protected.start_database()
    before = protected.rows()
    refused(protected.backstay("restore", DATABASE, "--to", "pg/data"), 31, "runs on it")
    protected.edit_plan(
        "  total-loss:\n",
        "  hasty:\n    title: A hasty restore\n    probability: low\n    impact: high\n"
        "    procedure:\n      - phase: Restore\n        steps:\n"
        f"          - restore: {{component: {DATABASE}, beside: true}}\n"
        "  total-loss:\n",
    )
    done = protected.backstay("recover", "hasty", "--by", PERSON, "--reason", "no time", "--confirm", "hasty")
    assert done.code == 60, done.said
    assert "E31" in done.said
    assert "runs on it" in done.said
    assert protected.rows() == before


# ── the database ─────────────────────────────────────────────────────────────────────────────────


def test_a_database_that_is_down_is_not_backed_up_and_its_points_stay(protected: Estate) -> None:
    with nothing_lost(protected):
        refused(protected.backstay("backup", DATABASE), 40, f"port {protected.ports['28432']}")
    assert len(points(protected)) == 1
    status = protected.backstay("status")
    assert "the last attempt failed" in status.said, status.said
    protected.start_database()
    protected.backstay("backup", DATABASE).good()


def test_a_wrong_password_is_said_and_not_shown(protected: Estate) -> None:
    protected.start_database()
    url = protected.folder / "secrets" / "database-url"
    right = url.read_text()
    url.write_text(right.replace(protected.secrets["postgres-password"], "not-the-password-4711"))
    with nothing_lost(protected):
        done = protected.backstay("backup", DATABASE)
    refused(done, 41)
    assert "4711" not in done.said
    url.write_text(right)
    protected.backstay("backup", DATABASE).good()


# ── disks that are full ──────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class SmallDisk:
    """A disk of our own (tmpfs), in a mount namespace that ends with us: nobody else sees it, nothing stays."""

    at: Path
    within: tuple[str, ...]
    """What is put before a command that is to see it."""

    def make_room(self) -> None:
        self.run("mount", "-o", "remount,size=400M,nr_inodes=100k", str(self.at))

    def run(self, *argv: str) -> str:
        return subprocess.run([*self.within, *argv], check=True, capture_output=True, text=True).stdout


@pytest.fixture
def small_disk() -> Iterator[Callable[[Path, str], SmallDisk]]:
    """`small_disk(folder, "size=20M")`: a disk of that size in the place of this folder, with what is in it."""
    with ExitStack() as ends:

        def make(at: Path, size: str) -> SmallDisk:
            words = ["unshare", "--mount", "--propagation", "private", "sh", "-c"]
            script = f"cp -a {at} {at}.under && mount -t tmpfs -o {size} none {at} && cp -a {at}.under/. {at}"
            keeper = subprocess.Popen(
                [*words, f"{script} && echo ready && exec cat"],  # until we close its input, or are gone
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            )  # fmt: skip
            ends.callback(_end, keeper)
            assert keeper.stdout is not None
            if keeper.stdout.readline() != "ready\n":
                _, said = keeper.communicate()
                pytest.skip(f"no disk of our own can be mounted here: {said.strip()}")
            within = ("nsenter", "--target", str(keeper.pid), "--mount", f"--wd={at.parent}", "--")
            return SmallDisk(at, within)

        yield make


def _end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate()


def test_a_backup_on_a_full_disk_leaves_no_point_and_works_when_there_is_room(
    protected: Estate, small_disk: Callable[[Path, str], SmallDisk]
) -> None:
    disk = small_disk(protected.vault, "size=7M")
    protected.before = disk.within
    protected.start_database()
    with psycopg.connect(protected.dsn, autocommit=True) as connection:
        connection.execute("CREATE TABLE noise AS SELECT gen_random_uuid() FROM generate_series(1, 200000)")
    before = points(protected)
    listed = disk.run("find", str(disk.at), "-path", "*/packs/*", "-type", "f").split()
    refused(protected.backstay("backup", DATABASE), 26, "vault")
    assert points(protected) == before, "there is no half point"
    assert set(listed) <= set(disk.run("find", str(disk.at), "-path", "*/packs/*", "-type", "f").split())
    protected.backstay("verify", DATABASE).good()
    disk.make_room()
    protected.backstay("backup", DATABASE).good()
    protected.backstay("verify", DATABASE).good()
    assert [point["proof"] for point in points(protected)] == ["proven", "proven"]


@pytest.mark.parametrize("size", ["size=20M", "size=200M,nr_inodes=600"], ids=["seen beforehand", "half way"])
def test_a_restore_on_a_full_disk_leaves_no_cluster_and_works_when_there_is_room(
    shelf: Estate, small_disk: Callable[[Path, str], SmallDisk], size: str
) -> None:
    (shelf.folder / "disk").mkdir()
    disk = small_disk(shelf.folder / "disk", size)
    shelf.before = disk.within
    words = ("restore", DATABASE, "--to", "disk/laid")
    refused(shelf.backstay(*words), 26, "disk")
    assert "pg_control\n" not in disk.run("find", str(disk.at))
    disk.make_room()
    disk.run("rm", "-rf", str(disk.at / "laid"))
    shelf.backstay(*words).good()


def test_a_recovery_on_a_full_disk_keeps_the_damaged_state_and_goes_on_when_there_is_room(
    struck_original: Estate, lend: Lend, small_disk: Callable[[Path, str], SmallDisk]
) -> None:
    estate = lend(struck_original)
    disk = small_disk(estate.folder / "pg", "size=110M")
    estate.before = disk.within
    estate.start_database()
    estate.start_api(healthy=False)
    failed = estate.backstay(*RECOVER)
    assert failed.code == 60, failed.said
    assert "E26" in failed.said
    assert "run retry" in failed.said
    left = disk.run("find", str(disk.at), "-maxdepth", "1", "-name", "data*").split()
    assert [name for name in left if ".damaged-" in name], "the damaged state is kept"
    assert not [name for name in left if ".beside-" in name], "what could not be restored gives its room back"

    disk.make_room()
    told = estate.backstay("run", "show", "--json").good().json
    step = next(step["step"] for step in told["steps"] if step["state"] == "failed")
    estate.backstay("run", "retry", told["run"], step, "--by", PERSON, "--reason", "made room on the disk").good()
    estate.backstay("resume").good()
    assert estate.backstay("run", "show", "--json").json["result"] == "recovered"
    assert estate.health() == 200


# ── clocks ───────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def at_time() -> Callable[[str], list[str]]:
    """What is put before a command that is to live at another time: `-1h` for an hour ago, `2026-11-23 20:44:37` for a
    clock that stands there. Spans of time pass as ever (the monotonic clock is left alone)."""
    if shutil.which("faketime") is None:
        pytest.skip("faketime is not installed here: apt-get install faketime")
    return lambda when: ["env", "FAKETIME_DONT_FAKE_MONOTONIC=1", "TZ=UTC", "faketime", "-f", when]


def test_a_clock_that_was_set_back_stops_backups_and_not_a_recovery(
    protected: Estate, at_time: Callable[[str], list[str]]
) -> None:
    protected.start()
    before = protected.rows()
    protected.before = at_time("-1h")
    with nothing_lost(protected):
        refused(protected.backstay("backup", DATABASE), 54, "earlier than the newest fact")
        looked = protected.backstay("smoke", "health")
        refused(looked, 54)
        assert "health is green" in looked.out, "what was seen is said"
        status = protected.backstay("status")
        assert (status.code, "earlier than the newest fact" in status.out) == (65, True), status.said
        assert len(points(protected)) == 1
    # But on the day, nobody waits for a clock: it is said, and gone on.
    recovered = protected.backstay(*RECOVER).good()
    assert "earlier than the newest fact" in recovered.err
    assert protected.rows() == before
    assert protected.health() == 200
    protected.before = ()
    protected.backstay("backup", DATABASE).good()


def test_a_backup_is_stale_when_it_is_24_hours_and_one_second_old_and_not_before(
    shelf: Estate, at_time: Callable[[str], list[str]]
) -> None:
    """The plan promises an RPO of 24 hours."""
    moment = datetime.fromisoformat(points(shelf)[0]["newest"])

    def standing(age: timedelta) -> dict[str, Any]:
        # The clock stands at a whole second: the age is up to one second less.
        shelf.before = at_time(f"{moment + age:%Y-%m-%d %H:%M:%S}")
        told = shelf.backstay("status", "--json")
        return next(one for one in told.json["components"] if one["name"] == DATABASE)

    day, second = timedelta(hours=24), timedelta(seconds=1)
    just_in_time, too_late = standing(day), standing(day + 2 * second)
    assert just_in_time["rpo"]["standing"] == "kept", just_in_time
    assert day - second < timedelta(seconds=just_in_time["age_s"]) <= day
    assert too_late["rpo"]["standing"] == "broken", too_late
    assert day + second < timedelta(seconds=too_late["age_s"]) <= day + 2 * second
    assert re.search(r"24 h 0 min [12] s old; the RPO allows 24 h", too_late["rpo"]["why"]), too_late


# ── what people type ─────────────────────────────────────────────────────────────────────────────

TYPED: dict[str, tuple[Sequence[str], int, str]] = {
    "an unknown component": (["backup", "databse"], 13, "did you mean database?"),
    "an unknown component to list": (["points", "databse"], 13, "did you mean database?"),
    "an unknown component to restore": (["restore", "databse", "--to", "x"], 33, "points of database and settings"),
    "an unknown scenario": (["recover", "databse-loss", "--by", PERSON], 13, "did you mean database-loss?"),
    "an unknown smoke check": (["smoke", "helth"], 13, "health"),
    "an unknown site": (["smoke", "--site", "sandbx"], 13, "did you mean sandbox?"),
    "an unknown point": (["restore", DATABASE, "--to", "x", "--point", "nope"], 33, "backstay points"),
    "an unknown run": (["run", "show", "nope"], 66, "backstay status"),
    "no open run": (["resume"], 66, "backstay recover"),
    "nobody": (["recover", SCENARIO], 2, "--by"),
    "a stranger": (["recover", SCENARIO, "--by", "eve"], 63, "cto"),
    "a person without authority": (["recover", SCENARIO, "--by", "dba-lead"], 63, "--break-glass"),
    "no confirmation": (["recover", SCENARIO, "--by", PERSON], 2, f"--confirm {SCENARIO}"),
    "another confirmation": (["recover", SCENARIO, "--by", PERSON, "--confirm", "yes"], 2, "nothing was done"),
    "a misspelled option": (["backup", "--plam", "x"], 2, "--plan"),
    "a misspelled verb": (["bakcup"], 2, "backup"),
    "a missing option": (["restore", DATABASE], 2, "--to"),
    "a value of the wrong kind": (["verify", "--tier", "most"], 2, "sample"),
    "a moment that is none": (["recover", SCENARIO, "--by", PERSON, "--disaster", "noon"], 2, "2026-11-22T20:44:37Z"),
    "a point that is not named": (["recover", SCENARIO, "--by", PERSON, "--point", "newest"], 2, "--point database="),
    "no such plan": (["status", "--plan", "nowhere.yaml"], 11, "nowhere.yaml"),
    "no such vault": (["points", "--vault", "nowhere", "--key", "backstay.key"], 20, "nowhere"),
}


def test_what_people_mistype_is_named_with_what_was_meant(shelf: Estate) -> None:
    with nothing_lost(shelf):
        for name, (words, code, meant) in TYPED.items():
            done = shelf.backstay(*words)
            refused(done, code)
            assert meant in done.err, f"{name}: {done.said}"
            assert done.out == "", f"{name}: {done.said}"
    assert not (shelf.folder / "x").exists()
    assert shelf.backstay("status", "--json").json["open_runs"] == []


def test_errors_are_json_on_standard_error_when_json_is_asked_for(shelf: Estate) -> None:
    for words in (["backup", "databse"], ["backup", "--plam"], ["status", "--plan", "nowhere"], ["resume"]):
        done = shelf.backstay(*words, "--json")
        told = done.error()
        assert told["code"] == done.code != 0
        assert all(told[part] for part in ("error", "known", "try")), told
        assert done.out == ""


def test_every_verb_answers_with_one_json_value_when_json_is_asked_for(shelf: Estate) -> None:
    lines = "init|plan show|plan check|points|status|journal verify|journal show|document|verify settings|backup --due"
    for line in lines.split("|"):
        done = shelf.backstay(*line.split(), "--json")
        assert done.json, done.said
        assert done.err == "", done.said


def test_a_plan_with_mistakes_names_each_with_its_place(shelf: Estate) -> None:
    shelf.edit_plan("components:", "componnents:")
    shelf.edit_plan("rto: 1h, rpo", "rto: 1 fortnight, rpo")
    for words in (["plan", "check"], ["backup"], ["status"]):
        refused(shelf.backstay(*words), 10, "did you mean `components`?", "backstay.yaml:", "fortnight")


def test_a_plan_that_cannot_be_read_says_why(shelf: Estate) -> None:
    shelf.plan.write_bytes(b"\xff\xfe\x00backstay: 1")
    refused(shelf.backstay("status"), 10, "backstay.yaml")
    shelf.plan.write_text("backstay: [1\n")
    refused(shelf.backstay("status"), 10, "backstay.yaml:")
    shelf.plan.unlink()
    refused(shelf.backstay("status"), 11, "backstay init")
    shelf.plan.mkdir()
    assert shelf.backstay("status").code in (10, 11)


def test_a_secret_that_is_missing_is_named_and_only_where_it_is_needed(shelf: Estate) -> None:
    (shelf.folder / "secrets" / "database-url").unlink()
    shelf.backstay("plan", "check").good()
    assert len(points(shelf)) == 1
    refused(shelf.backstay("backup", DATABASE), 12, "secrets/database-url")


def test_somebody_who_stops_reading_is_no_error(shelf: Estate) -> None:
    for words in (["points"], ["status"], ["journal", "show"], ["plan", "schema"], ["plan", "show"], ["--help"]):
        line = f"{program()[0]} {' '.join(words)} | head -c 1; echo ${{PIPESTATUS[0]}}"
        done = subprocess.run(
            ["bash", "-c", line], cwd=shelf.folder, env=shelf.environment, capture_output=True, text=True
        )
        assert done.stderr == "", f"{words}: {done.stderr}"
        assert done.stdout[1:].strip() in ("0", "65"), f"{words}: {done.stdout}"


def test_every_help_page_has_an_example() -> None:
    """Read from the reference, which another test compares with the program."""
    pages = re.split(r"^## ", (ROOT / "docs" / "reference" / "commands.md").read_text(), flags=re.MULTILINE)[1:]
    assert len(pages) > 20
    assert [page.partition("\n")[0] for page in pages if "Example" not in page] == []
