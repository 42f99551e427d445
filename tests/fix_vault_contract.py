"""The contract of a Vault, its writers and readers. Subclass `VaultContract` with a `vault` fixture."""

import dataclasses
import io
import threading
from datetime import timedelta
from pathlib import Path
from typing import BinaryIO

import pytest

from backstay.errors import NoSuchPoint, PathEscapes, TargetNotEmpty, Usage
from backstay.facts import CheckResult, Hold, Proof, Rung, Verdict
from backstay.ports import Cutter, Entry, Kind, Stored, Vanished, Vault
from backstay.values import ComponentName, Digest, PointId, VaultName
from fix_vault import (
    DB,
    MODIFIED,
    NOW,
    PLAN,
    SMALL,
    File,
    Folder,
    Link,
    back_up,
    entries,
    entry,
    expected,
    held,
    laid_down,
    later,
    noise,
    sealing,
)


class VaultContract:
    """Every Vault passes these. `vault` is empty."""

    @pytest.fixture
    def vault(self, tmp_path: Path) -> Vault:
        raise NotImplementedError

    # ── points ──

    def test_what_was_sealed_is_listed_and_gives_back_what_was_put_in(self, vault: Vault) -> None:
        point = back_up(vault, SMALL)
        assert vault.points() == [point]
        assert vault.points(DB) == [point]
        assert vault.points(ComponentName("other")) == []
        assert held(vault.open(point.id)) == expected(SMALL)

    def test_a_point_says_what_it_is(self, vault: Vault) -> None:
        point = back_up(vault, SMALL)
        assert (point.component, point.parent, point.way, point.plan) == (DB, None, "copy", PLAN)
        assert point.files == 5
        assert point.size_bytes == sum(len(thing.data) for thing in SMALL.values() if isinstance(thing, File))
        assert 0 < point.stored_bytes < point.size_bytes + 8192
        assert point.about == {"server": "none"}
        assert vault.open(point.id).point == point

    def test_what_is_not_sealed_is_never_listed(self, vault: Vault) -> None:
        with vault.begin(DB, plan=PLAN, now=NOW) as writer:
            writer.add(entries(SMALL))
            assert vault.points() == []
        assert vault.points() == []
        with pytest.raises(NoSuchPoint):
            vault.open(writer.id)
        assert held(vault.open(back_up(vault, SMALL, now=later(1)).id)) == expected(SMALL)

    def test_reservations_say_whether_they_became_points(self, vault: Vault) -> None:
        point = back_up(vault, SMALL)
        with vault.begin(DB, plan=PLAN, now=later(1)) as writer:
            assert dict(vault.reserved(DB)) == {point.id: True, writer.id: False}
        assert dict(vault.reserved(DB)) == {point.id: True}, "who gives up says so: nobody need wait for him"
        assert dict(vault.reserved(ComponentName("other"))) == {}

    def test_points_are_listed_oldest_first_and_know_the_one_before(self, vault: Vault) -> None:
        points = [back_up(vault, SMALL, now=later(minute)) for minute in range(3)]
        assert vault.points() == points
        assert [point.parent for point in points] == [None, points[0].id, points[1].id]

    def test_two_points_of_one_second_are_two_points(self, vault: Vault) -> None:
        points = [back_up(vault, SMALL, now=NOW + timedelta(milliseconds=n)) for n in range(4)]
        assert vault.points() == points

    def test_components_are_kept_apart(self, vault: Vault) -> None:
        one = back_up(vault, SMALL)
        two = back_up(vault, {"other": File(b"x")}, component=ComponentName("settings-db"))
        assert two.parent is None
        assert vault.points(DB) == [one]
        assert vault.points(ComponentName("settings-db")) == [two]
        assert held(vault.open(two.id)) == {"other": File(b"x")}

    def test_an_empty_point_is_a_point(self, vault: Vault) -> None:
        point = back_up(vault, {})
        assert (point.files, point.size_bytes) == (0, 0)
        assert list(vault.open(point.id).entries()) == []

    @pytest.mark.parametrize("id", ["20261122T204437Z-00000000", "nothing", "", "../vault"])
    def test_a_point_that_is_not_there_is_not_found(self, vault: Vault, id: str) -> None:
        back_up(vault, SMALL)
        with pytest.raises(NoSuchPoint):
            vault.open(PointId(id))

    # ── writing ──

    def test_a_mark_that_did_not_change_spares_the_reading(self, vault: Vault) -> None:
        back_up(vault, {"a": File(b"old", mark=b"1"), "big": File(noise(5 << 20), mark=b"1")})

        def never() -> BinaryIO:
            raise AssertionError("it should not be read")

        with vault.begin(DB, plan=PLAN, now=later(1)) as writer:
            for path in ("a", "big"):
                writer.add([Entry(path, Kind.FILE, 0o640, MODIFIED, 3, never, mark=b"1")])
            point = writer.seal(sealing())
        assert held(vault.open(point.id)) == {"a": File(b"old"), "big": File(noise(5 << 20))}
        assert point.size_bytes == 3 + (5 << 20)

    def test_a_mark_that_changed_or_is_empty_spares_nothing(self, vault: Vault) -> None:
        back_up(vault, {"a": File(b"old", mark=b"1"), "b": File(b"old"), "c": File(b"old", mark=b"1")})
        point = back_up(vault, {"a": File(b"new", mark=b"2"), "b": File(b"new"), "c": File(b"new")}, now=later(1))
        assert held(vault.open(point.id)) == {name: File(b"new") for name in "abc"}

    def test_what_did_not_change_is_not_stored_again(self, vault: Vault) -> None:
        first = back_up(vault, SMALL)
        second = back_up(vault, SMALL, now=later(1))
        assert second.stored_bytes < 2000 < first.stored_bytes
        assert held(vault.open(second.id)) == expected(SMALL)

    def test_a_file_that_vanished_is_left_out(self, vault: Vault) -> None:
        def gone() -> BinaryIO:
            raise Vanished

        class Going(io.BytesIO):
            def readinto(self, buffer: object, /) -> int:
                raise Vanished

        class GoingLate(io.BytesIO):
            def readinto(self, buffer: object, /) -> int:
                if self.tell() > 6 << 20:
                    raise Vanished
                return super().readinto(buffer)  # type: ignore[arg-type]

        with vault.begin(DB, plan=PLAN, now=NOW) as writer:
            writer.add([
                Entry("gone", Kind.FILE, 0o600, MODIFIED, 3, gone),
                Entry("going", Kind.FILE, 0o600, MODIFIED, 3, lambda: Going(b"abc")),
                Entry("late", Kind.FILE, 0o600, MODIFIED, 3, lambda: GoingLate(bytes(9 << 20)), Cutter.FIXED_64K),
                entry("stays", File(b"x")),
            ])  # fmt: skip
            point = writer.seal(sealing())
        assert held(vault.open(point.id)) == {"stays": File(b"x")}
        assert point.files == 1

    def test_what_a_file_gives_is_what_it_holds_whatever_was_promised(self, vault: Vault) -> None:
        def longer() -> BinaryIO:
            return io.BytesIO(b"longer than it was")

        with vault.begin(DB, plan=PLAN, now=NOW) as writer:
            writer.add([Entry("a", Kind.FILE, 0o600, MODIFIED, 3, longer)])
            point = writer.seal(sealing())
        assert held(vault.open(point.id)) == {"a": File(b"longer than it was", 0o600)}

    def test_an_error_of_reading_stops_everything_and_makes_no_point(self, vault: Vault) -> None:
        def broken() -> BinaryIO:
            raise PermissionError(13, "Permission denied")

        many = {f"f{n}": File(noise(100_000, n)) for n in range(20)}
        with pytest.raises(PermissionError), vault.begin(DB, plan=PLAN, now=NOW) as writer:
            writer.add([*entries(many), Entry("x", Kind.FILE, 0o600, MODIFIED, 3, broken), *entries(SMALL)])
            writer.seal(sealing())
        assert vault.points() == []

    def test_entries_may_come_in_several_rounds_and_from_a_generator(self, vault: Vault) -> None:
        with vault.begin(DB, plan=PLAN, now=NOW) as writer:
            for path, thing in reversed(list(SMALL.items())):
                writer.add(each for each in [entry(path, thing)])
            point = writer.seal(sealing())
        assert held(vault.open(point.id)) == expected(SMALL)

    def test_a_path_comes_only_once(self, vault: Vault) -> None:
        with pytest.raises(Usage, match="twice"), vault.begin(DB, plan=PLAN, now=NOW) as writer:
            writer.add(entries({"a": File(b"1")}))
            writer.add(entries({"a": File(b"2")}))
            writer.seal(sealing())
        assert vault.points() == []

    @pytest.mark.parametrize(
        "path", ["", "/a", "a/", "a//b", ".", "..", "../a", "a/../b", "a/.", "a\0b", "a/" * 3000 + "b"]
    )
    def test_a_path_that_leads_out_is_refused(self, vault: Vault, path: str) -> None:
        with pytest.raises(PathEscapes), vault.begin(DB, plan=PLAN, now=NOW) as writer:
            writer.add([entry(path, File(b"x"))])

    @pytest.mark.parametrize("kind", [File(b"x"), Link("/etc")])
    def test_nothing_lies_below_a_file_or_a_link(self, vault: Vault, kind: File | Link) -> None:
        with pytest.raises(PathEscapes, match="no folder"), vault.begin(DB, plan=PLAN, now=NOW) as writer:
            writer.add(entries({"a": kind, "a/b/c": File(b"evil")}))
            writer.seal(sealing())

    def test_progress_counts_every_byte_once(self, vault: Vault) -> None:
        seen: list[tuple[int, int | None]] = []
        lock = threading.Lock()

        def watch(done_bytes: int, total_bytes: int | None, what: str) -> None:
            with lock:
                seen.append((done_bytes, total_bytes))

        things = {"a": File(noise(9 << 20)), "b": File(b"xyz"), "c": File(noise(9 << 20), cutter=Cutter.FIXED_64K)}
        total = (18 << 20) + 3
        with vault.begin(DB, plan=PLAN, now=NOW) as writer:
            writer.add(entries(things), watch)
            point = writer.seal(sealing())
        assert max(seen) == (total, total)
        seen.clear()
        reader = vault.open(point.id)
        assert sum(len(part) for part in reader.read("a")) == 9 << 20

    # ── reading ──

    def test_one_entry_can_be_asked_for(self, vault: Vault) -> None:
        reader = vault.open(back_up(vault, SMALL).id)
        assert reader.entry("PG_VERSION") == Stored("PG_VERSION", Kind.FILE, 0o640, MODIFIED, 3)
        assert reader.entry("current") == Stored("current", Kind.LINK, 0o777, MODIFIED, 0, "base/1")
        assert reader.entry("pg_wal") == Stored("pg_wal", Kind.FOLDER, 0o700, MODIFIED, 0)
        assert reader.entry("base/1/none") is None
        assert reader.entry("PG_VERSION/below") is None

    def test_entries_come_folders_first_in_the_order_of_paths(self, vault: Vault) -> None:
        reader = vault.open(back_up(vault, {"a-b": File(), "a/z": File(), "a/b/c": File(), "b": Folder()}).id)
        assert [stored.path for stored in reader.entries()] == ["a", "a/b", "a/b/c", "a/z", "a-b", "b"]
        assert [stored.path for stored in reader.entries("a")] == ["a", "a/b", "a/b/c", "a/z"]
        assert [stored.path for stored in reader.entries("a/z")] == ["a/z"]
        with pytest.raises(NoSuchPoint):
            list(reader.entries("none"))

    @pytest.mark.parametrize("cutter", Cutter)
    def test_any_part_of_a_file_can_be_read(self, vault: Vault, cutter: Cutter) -> None:
        data = noise(1 << 20) + bytes(1 << 20) + noise(7 << 20, 2)
        reader = vault.open(back_up(vault, {"a": File(data, cutter=cutter)}).id)
        for start in (0, 1, 65_535, 65_536, 8191, 5 << 20, (9 << 20) - 1, 9 << 20, 10 << 20):
            for length in (None, 0, 1, 65_536, 4 << 20):
                end = None if length is None else start + length
                assert b"".join(reader.read("a", start, length)) == data[start:end], (start, length)

    def test_reading_what_is_no_file_says_so(self, vault: Vault) -> None:
        reader = vault.open(back_up(vault, SMALL).id)
        for path in ("base", "none", "current"):
            with pytest.raises(NoSuchPoint):
                list(reader.read(path))

    # ── extracting ──

    def test_a_point_is_laid_down_as_it_was(self, vault: Vault, tmp_path: Path) -> None:
        things = {**SMALL, "large": File(noise(9 << 20), 0o444), "odd \udcff näme": File(b"x"), "loop": Link("../..")}
        vault.open(back_up(vault, things).id).extract(tmp_path / "new" / "place")
        assert laid_down(tmp_path / "new" / "place") == expected(things)
        assert (tmp_path / "new" / "place" / "large").stat().st_mtime_ns == 1767323045678901000
        assert (tmp_path / "new" / "place" / "pg_wal").stat().st_mtime_ns == 1767323045678901000
        assert (tmp_path / "new" / "place").stat().st_mode & 0o777 == 0o700

    def test_a_part_is_laid_down_under_its_own_path(self, vault: Vault, tmp_path: Path) -> None:
        vault.open(back_up(vault, SMALL).id).extract(tmp_path / "to", under="base/1")
        assert sorted(laid_down(tmp_path / "to")) == ["base", "base/1", "base/1/1249", "base/1/1259"]

    def test_entries_can_be_sent_elsewhere_or_nowhere(self, vault: Vault, tmp_path: Path) -> None:
        def place(stored: Stored) -> Path | None:
            if stored.path.startswith("dump"):
                return None
            if stored.path.startswith("base/1/"):
                return tmp_path / "elsewhere" / stored.path.rpartition("/")[2]
            return tmp_path / "to" / stored.path

        vault.open(back_up(vault, SMALL).id).extract(tmp_path / "to", place=place)
        assert sorted(laid_down(tmp_path / "elsewhere")) == ["1249", "1259"]
        assert sorted(laid_down(tmp_path / "to")) == ["PG_VERSION", "base", "base/1", "current", "empty", "pg_wal"]

    @pytest.mark.parametrize("there", ["PG_VERSION", "empty", "base/1/1259", "current", "pg_wal"])
    def test_nothing_is_overwritten(self, vault: Vault, tmp_path: Path, there: str) -> None:
        reader = vault.open(back_up(vault, SMALL).id)
        (tmp_path / there).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / there).write_bytes(b"precious")
        with pytest.raises(TargetNotEmpty, match=there.rpartition("/")[2]):
            reader.extract(tmp_path)
        assert (tmp_path / there).read_bytes() == b"precious"

    def test_a_link_that_lies_in_wait_leads_nothing_astray(self, vault: Vault, tmp_path: Path) -> None:
        (tmp_path / "to").mkdir()
        (tmp_path / "outside").mkdir()
        (tmp_path / "to" / "base").symlink_to(tmp_path / "outside")
        with pytest.raises(TargetNotEmpty):
            vault.open(back_up(vault, SMALL).id).extract(tmp_path / "to")
        assert list((tmp_path / "outside").iterdir()) == []

    def test_a_link_that_an_earlier_restore_laid_down_leads_nothing_astray(self, vault: Vault, tmp_path: Path) -> None:
        (tmp_path / "outside").mkdir()
        one = back_up(vault, {"base": Link("../outside")})
        two = back_up(vault, {"base/1/file": File(b"evil")}, now=later(1))
        vault.open(one.id).extract(tmp_path / "to")
        for under in ("", "base", "base/1", "base/1/file"):
            with pytest.raises(TargetNotEmpty):
                vault.open(two.id).extract(tmp_path / "to", under=under)
        assert list((tmp_path / "outside").iterdir()) == []

    def test_a_file_in_the_place_of_a_link_stays_what_it_is(self, vault: Vault, tmp_path: Path) -> None:
        (tmp_path / "to").mkdir()
        (tmp_path / "precious").write_bytes(b"safe")
        (tmp_path / "to" / "PG_VERSION").symlink_to(tmp_path / "precious")
        with pytest.raises(TargetNotEmpty):
            vault.open(back_up(vault, SMALL).id).extract(tmp_path / "to")
        assert (tmp_path / "precious").read_bytes() == b"safe"

    # ── beside the points ──

    def test_proofs_lie_beside_their_point(self, vault: Vault) -> None:
        point, other = back_up(vault, SMALL), back_up(vault, SMALL, now=later(1))
        check = CheckResult("R01", Rung.RESTORE, "restore", Verdict.PASSED, "exit code 0", timedelta(seconds=2))
        proof = Proof(
            point.id, DB, VaultName("local"), "full", later(3), later(4), timedelta(seconds=2), (check,),
            {"public.tenants": 3}, NOW, PLAN,
        )  # fmt: skip
        second = dataclasses.replace(proof, point=other.id, began=later(5))
        vault.keep_proof(second)
        vault.keep_proof(proof)
        vault.keep_proof(proof)
        assert vault.proofs() == [proof, second]
        assert vault.proofs(other.id) == [second]

    def test_holds_are_kept_in_order(self, vault: Vault) -> None:
        point = back_up(vault, SMALL)
        one = Hold("h1", point.id, DB, "keep", "incident 7", "cto", NOW, later(60))
        two = Hold("h1", point.id, DB, "released", "over", "cto", later(9))
        vault.keep_hold(two)
        vault.keep_hold(one)
        assert vault.holds() == [one, two]

    def test_a_note_is_kept_once_and_for_all(self, vault: Vault) -> None:
        assert vault.note("plan/sha256:00") is None
        assert vault.keep_note("plan/sha256:00", b"first")
        assert not vault.keep_note("plan/sha256:00", b"second")
        assert vault.note("plan/sha256:00") == b"first"

    def test_notes_are_found_by_the_beginning_of_their_name(self, vault: Vault) -> None:
        names = ["spine/000001/7", "spine/000001/8", "spine/000002/1", "plan/sha256:ab", "Odd_name/ü"]
        for name in names:
            assert vault.keep_note(name, name.encode())
        assert vault.notes("spine/000001/") == ["spine/000001/7", "spine/000001/8"]
        assert vault.notes("") == sorted(names)
        assert [vault.note(name) for name in names] == [name.encode() for name in names]

    def test_a_large_note_comes_back(self, vault: Vault) -> None:
        assert vault.keep_note("large", noise(3 << 20))
        assert vault.note("large") == noise(3 << 20)

    @pytest.mark.parametrize("name", ["", "/a", "a//b", "../points/x", "a/.."])
    def test_a_strange_name_of_a_note_is_refused(self, vault: Vault, name: str) -> None:
        with pytest.raises(ValueError, match="note"):
            vault.keep_note(name, b"x")

    def test_a_plan_is_remembered_with_the_point(self, vault: Vault) -> None:
        with vault.begin(DB, plan=Digest("sha256:" + "1" * 64), now=NOW) as writer:
            assert writer.seal(sealing()).plan == "sha256:" + "1" * 64
