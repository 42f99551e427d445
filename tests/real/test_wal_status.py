"""What `wal status` says of the log in the vaults, and how a gap becomes a known one: typed, with log that we made."""

import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from backstay.adapters.postgres.archiving import Cluster
from backstay.app import archiving
from backstay.facts import GapAcknowledged, Point
from backstay.lsn import say_lsn
from backstay.ports import Sealing
from backstay.values import ComponentName, Digest, LineageId, VaultName
from fix_vaults import Shop, make_shop, typed
from fix_wal import LEAST_SEGMENT, SYSTEM, piece

M = LEAST_SEGMENT
DATABASE = ComponentName("database")
LOCAL, FAR = VaultName("local"), VaultName("off-site")


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    """A plan with a database that never answers: nothing here asks it."""
    made = make_shop(tmp_path)
    plan = tmp_path / "backstay.yaml"
    database = '  database: {postgres: {url: "${env:NOWHERE}"}, protect: {full: "02:00", wal: continuous}}\n'
    plan.write_text(plan.read_text().replace("people:\n", f"{database}people:\n"))
    made.init()
    return made


def take(shop: Shop, stop: int, vault: VaultName = LOCAL, timeline: int = 1) -> Point:
    """A physical point, as far as the log is concerned."""
    now = datetime.now(UTC)
    about = {
        "system": str(SYSTEM), "timeline": str(timeline), "start_lsn": say_lsn(stop - 100), "stop_lsn": say_lsn(stop),
        "wal_segment_bytes": str(M), "server_version_num": "170004",
    }  # fmt: skip
    with shop.home().vault(vault).begin(DATABASE, plan=Digest("sha256:" + "0" * 64), now=now) as writer:
        return writer.seal(Sealing(LineageId(f"pg-{SYSTEM}-{timeline}"), "local", now, now, now, "a test", about))


def keep(shop: Shop, start: int, end: int, vault: VaultName = LOCAL, timeline: int = 1) -> None:
    shop.home().vault(vault).wal.keep(piece(start, end - start, timeline=timeline))


def test_without_log_nothing_alarms(shop: Shop) -> None:
    ended = typed(shop, "wal", "status")
    assert (ended.returncode, ended.stdout) == (
        0,
        "database: the plan says `wal: continuous`, and no log is kept: `backstay serve`, or `backstay wal receive`\n",
    )
    assert typed(shop, "wal", "status", "papers").returncode == 0
    assert typed(shop, "wal", "status", "nobody").returncode == 13


def test_a_gap_is_named_until_somebody_knows_of_it(shop: Shop) -> None:
    point = take(shop, 2 * M + 100)
    keep(shop, 2 * M, 4 * M)
    assert typed(shop, "wal", "status").returncode == 0
    keep(shop, 5 * M, 6 * M)
    ended = typed(shop, "wal", "status")
    assert ended.returncode == 84, ended.stdout
    assert "✘ 1:0/400000-0/500000 is missing (1.0 MB), lost after" in ended.stdout
    assert "can be reached until a point is taken" in ended.stdout
    assert f"the newest point {point.id} leads to 0/400000 on timeline 1" in ended.stdout
    told = json.loads(typed(shop, "wal", "status", "--json").stdout)
    (vault,) = told["components"][0]["vaults"]
    assert vault["alarms"] is True
    assert vault["gaps"][0]["costs"][0]["points"] == [point.id]
    said = typed(shop, "status")
    assert said.returncode == 65
    assert "database: the log from 0/400000 to 0/500000 on timeline 1 is missing in local" in said.stdout

    after = take(shop, 5 * M + 100)
    ended = typed(shop, "wal", "status")
    assert (ended.returncode, f"(the point {after.id}) can be reached" in ended.stdout) == (84, True)

    reason = ("--reason", "the disk was full")
    assert typed(shop, "wal", "acknowledge", "database", "1:0/400000-0/600000", *reason, "--by", "me").returncode == 13
    assert typed(shop, "wal", "acknowledge", "database", "1:0/400000-0/500000", *reason).returncode == 2
    assert typed(shop, "wal", "acknowledge", "database", "1:0/400000-0/500000", *reason, "--by", "you").returncode == 63
    done = typed(shop, "wal", "acknowledge", "database", "1:0/400000-0/500000", *reason, "--by", "me")
    assert done.returncode == 0, done.stderr
    ended = typed(shop, "wal", "status")
    assert ended.returncode == 0
    assert "○ 1:0/400000-0/500000 is missing" in ended.stdout
    assert "known to me: the disk was full" in ended.stdout
    assert "is missing in local" not in typed(shop, "status").stdout
    facts = [recorded.fact for recorded in shop.home().journal.everything()]
    assert [fact.reason for fact in facts if isinstance(fact, GapAcknowledged)] == ["the disk was full"]
    assert typed(shop, "journal", "show", "component/database").returncode == 0

    # Another gap is another matter.
    keep(shop, 8 * M, 9 * M)
    assert typed(shop, "wal", "status").returncode == 84


def test_what_another_vault_has_is_said(shop: Shop) -> None:
    take(shop, 2 * M + 100)
    keep(shop, 2 * M, 3 * M)
    keep(shop, 4 * M, 5 * M)
    keep(shop, 3 * M, 4 * M, FAR)
    assert "off-site has it: `backstay vault copy`" in typed(shop, "wal", "status").stdout


def test_log_that_does_not_join_the_newest_point_alarms(shop: Shop) -> None:
    take(shop, 2 * M + 100)
    keep(shop, 3 * M, 4 * M)
    ended = typed(shop, "wal", "status")
    assert (ended.returncode, "the newest point and the log do not join" in ended.stdout) == (84, True)
    take(shop, 3 * M + 100)
    assert typed(shop, "wal", "status").returncode == 0


def test_timelines_are_shown_as_a_tree(shop: Shop) -> None:
    take(shop, 2 * M + 100)
    keep(shop, 2 * M, 4 * M)
    keep(shop, 3 * M, 5 * M, timeline=2)
    ended = typed(shop, "wal", "status")
    assert (ended.returncode, "the history of timeline 2 is missing" in ended.stdout) == (84, True)
    shelf = shop.home().vault(LOCAL).wal
    shelf.keep_history(SYSTEM, 2, b"1\t0/380000\tno recovery target specified\n")
    shelf.keep_history(SYSTEM, 3, b'1\t0/380000\tx\n2\t0/480000\tat restore point "release"\n')
    ended = typed(shop, "wal", "status")
    assert ended.returncode == 0, ended.stdout
    lines = [line.rstrip() for line in ended.stdout.splitlines() if "timeline" in line]
    assert lines[0].startswith("  timeline 1: 0/200000 to 0/400000, ")
    assert lines[1].startswith("    timeline 2: 0/300000 to 0/500000, ")
    assert lines[1].endswith("left timeline 1 at 0/380000 (no recovery target specified)")
    assert lines[2] == '      timeline 3: no log, left timeline 2 at 0/480000 (at restore point "release")'
    # As PostgreSQL means `latest`: the newest timeline, which has no log of its own yet.
    assert "leads to 0/480000 on timeline 3" in lines[3]


def test_a_vault_that_is_away_is_not_called_sound(shop: Shop) -> None:
    take(shop, 2 * M + 100)
    keep(shop, 2 * M, 4 * M)
    os.rename(shop.folder / "off-site", shop.folder / "gone")  # noqa: PTH104 - a whole folder
    ended = typed(shop, "wal", "status")
    assert (ended.returncode, "? database in off-site" in ended.stdout) == (20, True)


def test_the_age_of_the_newest_log_is_held_against_the_rpo(shop: Shop) -> None:
    take(shop, 2 * M + 100)
    keep(shop, 2 * M, 4 * M)  # its last byte was sent in the past, as the twin has it
    assert "and the RPO allows" in typed(shop, "wal", "status").stdout
    assert datetime.now(UTC) - datetime(2026, 11, 22, tzinfo=UTC) > timedelta(days=1)


def test_a_damaged_history_is_named_and_everything_else_goes_on(shop: Shop) -> None:
    take(shop, 2 * M + 100)
    keep(shop, 2 * M, 3 * M)
    shop.home().vault(LOCAL).wal.keep_history(SYSTEM, 2, b"1\t0/300000\tno recovery target specified\n")
    (file,) = shop.folder.rglob("history")
    content = file.read_bytes()
    file.chmod(0o600)
    file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    ended = typed(shop, "wal", "status")
    assert (ended.returncode, "00000002/history" in ended.stdout + ended.stderr) == (24, True)
    ended = typed(shop, "status")
    assert (ended.returncode, "what local has of the log is not known" in ended.stdout) == (65, True)
    assert typed(shop, "retain", "--dry-run").returncode == 0


def test_a_partial_segment_goes_where_its_history_is(shop: Shop, tmp_path: Path) -> None:
    """It was archived while the first vault was away: the server must not wait until somebody copies it."""
    home = shop.home()
    home.vault(FAR).wal.keep_history(SYSTEM, 2, b"1\t0/280000\tno recovery target specified\n")
    file = tmp_path / "segment"
    file.write_bytes(piece(2 * M, M).data)
    shelves = archiving.Shelves(home, home.plan.component("database"), Cluster(SYSTEM, M, 16))
    with file.open("rb") as opened:
        shelves.keep("000000010000000000000002.partial", opened.fileno())
    assert shelves.took == FAR
    assert [(one.start, one.end) for one in home.vault(FAR).wal.stretches(SYSTEM)] == [(2 * M, 0x280000)]
