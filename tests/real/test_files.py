"""A folder of files on a real disk: what a mark may be trusted with, what cannot be read, whose the files are."""

import errno
import os
import shutil
import socket
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from backstay.adapters.clock import SystemClock
from backstay.adapters.files import FilesKeeper
from backstay.adapters.files.swapping import Beside, said
from backstay.adapters.files.walking import QUIET, Survey, entries, survey, trusted
from backstay.adapters.memory.clock import MemoryClock
from backstay.adapters.memory.store import MemoryStore
from backstay.adapters.memory.vault import MemoryVault
from backstay.errors import AccessDenied, BackstayError, DiskFull, SourceDown, SourceUnsuitable, StepFailed
from backstay.facts import Point, Proven, Verdict
from backstay.plan import Component, FilesSource, Objectives, PerSite
from backstay.ports import Entry, PointWriter, Progress, Taken, Vanished, unwatched
from backstay.values import RunId, utc
from backstay.verbs import Routine, prove_point, take_point
from fix_memory import RUN, acting
from fix_story import DATABASE, PLAN
from fix_vault import new_vault


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "srv" / "data"
    made.mkdir(parents=True)
    (made / "a").write_bytes(b"a")
    return made


class Later(MemoryClock):
    """The time is QUIET and an hour after the files of the test were written."""

    def __init__(self, path: Path) -> None:
        from datetime import UTC, datetime

        super().__init__(datetime.fromtimestamp(path.stat().st_ctime, UTC) + QUIET + timedelta(hours=1))


def take(folder: Path, vault: MemoryVault, **more: Any) -> tuple[Point, Taken]:
    clock = Later(folder)
    with vault.begin(DATABASE, plan=PLAN, now=clock.now()) as writer:
        taken = FilesKeeper(folder, clock, **more).take(writer)
        return writer.seal(taken.sealing), taken


class Noting:
    """A PointWriter that notes which files are opened."""

    def __init__(self, within: PointWriter) -> None:
        self.id, self.within, self.opened = within.id, within, set[str]()
        self.seal = within.seal
        self.before = within.before

    def __enter__(self) -> "Noting":
        return self

    def __exit__(self, *exc: object) -> None:
        pass

    def add(self, entries: Iterable[Entry], progress: Progress = unwatched) -> None:
        self.within.add((self._noted(entry) for entry in entries), progress)

    def _noted(self, entry: Entry) -> Entry:
        if (within := entry.open) is None:
            return entry

        def opening() -> BinaryIO:
            self.opened.add(entry.path)
            return within()

        return replace(entry, open=opening)


def opened(folder: Path, vault: MemoryVault, **more: Any) -> tuple[Point, set[str]]:
    """A point, and which files were opened for it."""
    clock = Later(folder)
    with vault.begin(DATABASE, plan=PLAN, now=clock.now()) as writer:
        noting = Noting(writer)
        return writer.seal(FilesKeeper(folder, clock, **more).take(noting).sealing), noting.opened


def listed(folder: Path, since: Any = None) -> dict[str, Entry]:
    return {entry.path: entry for entry in entries(folder, Survey(), since)}


# ── change marks ─────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def marks(folder: Path) -> Callable[[], bytes]:
    """The mark of `a`, at a time when it has been quiet long enough."""
    if why := trusted(folder):
        pytest.skip(f"no marks are given here: {why}")

    def mark() -> bytes:
        return listed(folder, Later(folder).now() - QUIET)["a"].mark

    return mark


def test_an_untouched_file_keeps_its_mark(marks: Callable[[], bytes]) -> None:
    assert marks() == marks()
    assert 0 < len(marks()) <= 64


def changes(folder: Path) -> dict[str, Callable[[], object]]:
    file = folder / "a"
    before = file.stat()

    def same_size_and_mtime() -> None:
        file.write_bytes(b"b")
        os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))

    def replaced_by_rename() -> None:
        other = folder / "other"
        other.write_bytes(b"b")
        os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
        other.rename(file)

    return {
        "content": lambda: file.write_bytes(b"bb"),
        "content, with size and mtime put back": same_size_and_mtime,
        "another file under the same name": replaced_by_rename,
        "mode": lambda: file.chmod(0o600),
    }


@pytest.mark.parametrize(
    "change", ["content", "content, with size and mtime put back", "another file under the same name", "mode"]
)
def test_whatever_changes_a_file_changes_its_mark(folder: Path, marks: Callable[[], bytes], change: str) -> None:
    before = marks()
    ticked = (folder / "a").stat().st_ctime_ns
    changes(folder)[change]()
    while (folder / "a").stat().st_ctime_ns == ticked:  # within one tick of the clock of the disk
        changes(folder)[change]()
    assert marks() != before


def test_a_file_that_changed_a_moment_ago_has_no_mark(folder: Path) -> None:
    from datetime import UTC, datetime

    now = datetime.fromtimestamp((folder / "a").stat().st_ctime, UTC) + timedelta(seconds=1)
    assert listed(folder, now - QUIET)["a"].mark == b""


def test_an_unchanged_file_is_not_read_again_and_a_changed_one_is(folder: Path) -> None:
    if why := trusted(folder):
        pytest.skip(f"no marks are given here: {why}")
    (folder / "b").write_bytes(b"b" * 1000)
    vault = MemoryVault()
    assert opened(folder, vault)[1] == {"a", "b"}
    (folder / "a").write_bytes(b"A!")
    second, read = opened(folder, vault)
    assert read == {"a"}
    assert b"".join(vault.open(second.id).read("a")) == b"A!"
    assert b"".join(vault.open(second.id).read("b")) == b"b" * 1000


def test_a_full_point_reads_every_byte_again(folder: Path) -> None:
    vault = MemoryVault()
    take(folder, vault)
    assert opened(folder, vault, trust_marks=False)[1] == {"a"}
    assert take(folder, vault, trust_marks=False)[1].said == ()


MOUNTS = """\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
30 22 0:26 / /run rw - tmpfs tmpfs rw
31 22 0:40 / /srv/shared\\040files rw - nfs4 server:/x rw
garbage
40 22 8:2 / /home rw - xfs /dev/sda2 rw
"""


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("/home/x", ""),
        ("/var/lib", ""),
        ("/run/app", "it is on tmpfs"),
        ("/srv/shared files/a", "it is on nfs4"),
        ("/srv", "/srv/shared files is on nfs4"),
        ("/homestead", ""),
    ],
)
def test_marks_are_given_only_where_ctime_can_be_trusted(tmp_path: Path, path: str, why: str) -> None:
    (tmp_path / "mountinfo").write_text(MOUNTS)
    assert trusted(Path(path), tmp_path / "mountinfo") == why


def test_where_nobody_knows_the_file_system_nothing_is_trusted(tmp_path: Path) -> None:
    assert trusted(Path("/srv"), tmp_path / "none")


# ── what there is ────────────────────────────────────────────────────────────────────────────────


def test_links_are_kept_and_never_followed(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret").write_text("secret")
    (folder / "link").symlink_to(tmp_path / "outside")
    (folder / "loop").symlink_to(".")
    found = listed(folder)
    assert sorted(found) == ["a", "link", "loop"]
    assert found["link"].target == str(tmp_path / "outside")


def test_sockets_and_pipes_are_left_out_and_said(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(folder / "pipe")
    monkeypatch.chdir(folder)  # the path of a socket may not be long
    with socket.socket(socket.AF_UNIX) as plug:
        plug.bind("plug")
        _, taken = take(folder, MemoryVault(), trust_marks=False)
    assert taken.said == ("2 special files (sockets, pipes, devices) left out",)


def test_a_file_that_becomes_a_pipe_or_a_link_after_it_was_listed_has_vanished(folder: Path) -> None:
    for become in (lambda: os.mkfifo(folder / "a"), lambda: (folder / "a").symlink_to("/etc/passwd"), lambda: None):
        (folder / "a").unlink(missing_ok=True)
        (folder / "a").write_bytes(b"a")
        entry = listed(folder)["a"]
        (folder / "a").unlink()
        become()
        assert entry.open is not None
        with pytest.raises(Vanished):
            entry.open()


def test_a_file_that_changes_while_it_is_read_is_named(folder: Path) -> None:
    seen = Survey()
    entry = next(entry for entry in entries(folder, seen, None) if entry.path == "a")
    assert entry.open is not None
    with entry.open() as file:
        file.read(1)
        (folder / "a").write_bytes(b"something else")
    assert seen.changed == ["a"]


def test_names_that_are_no_text_come_back(folder: Path, tmp_path: Path) -> None:
    odd = os.fsencode(folder) + b"/caf\xe9 \n\\"
    with open(odd, "wb") as file:  # noqa: PTH123
        file.write(b"odd")
    vault = MemoryVault()
    point, _ = take(folder, vault)
    (tmp_path / "sandbox").mkdir()
    keeper = FilesKeeper(folder, MemoryClock())
    with keeper.sandbox(vault.open(point.id), tmp_path / "sandbox") as restored, keeper.live() as live:
        assert restored.digests() == live.digests()


def test_a_deep_and_a_wide_folder_are_walked(folder: Path) -> None:
    deep = folder
    for _ in range(150):
        deep = deep / "d"
        deep.mkdir()
    for number in range(500):
        (folder / f"f{number:03}").write_bytes(b"")
    found = list(listed(folder))
    assert len(found) == 651
    assert found.index("d") < found.index("d/d")


def test_the_newest_change_is_the_newest_moment_and_never_in_the_future(folder: Path) -> None:
    point, _ = take(folder, MemoryVault())
    assert point.newest is not None
    assert abs(point.newest.timestamp() - (folder / "a").stat().st_mtime) < 0.001
    os.utime(folder / "a", (4e9, 4e9))
    point, _ = take(folder, MemoryVault())
    assert point.newest == utc(point.began)


@pytest.mark.parametrize("what", ["nothing", "file"])
def test_what_is_no_folder_is_said(tmp_path: Path, what: str) -> None:
    if what == "file":
        (tmp_path / "x").write_text("")
    with pytest.raises(SourceDown if what == "nothing" else SourceUnsuitable):
        take_nowhere(tmp_path / "x")


def take_nowhere(path: Path) -> None:
    with MemoryVault().begin(DATABASE, plan=PLAN, now=MemoryClock().now()) as writer:
        FilesKeeper(path, MemoryClock()).take(writer)


def test_a_folder_behind_a_link_is_the_folder_that_is_swapped(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "www").symlink_to(folder)
    vault = MemoryVault()
    point, _ = take(tmp_path / "www", vault)
    keeper = FilesKeeper(tmp_path / "www", MemoryClock())
    keeper.preserve(acting())
    keeper.restore(vault.open(point.id), acting())
    assert (tmp_path / "www").is_symlink()
    assert (folder / "a").read_bytes() == b"a"


# ── what may not be read ─────────────────────────────────────────────────────────────────────────

as_user = pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")


def test_everything_that_may_not_be_read_is_named_at_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(30):
        (folder / f"f{number:02}").write_text("")

    def forbidden(path: Any, mode: int, **more: Any) -> bool:
        return not Path(path).name.startswith("f")

    monkeypatch.setattr(os, "access", forbidden)  # the tests run as root, who may read everything
    with pytest.raises(AccessDenied) as caught:
        survey(folder)
    assert caught.value.message == f"30 paths below {folder} cannot be read"
    assert caught.value.detail.startswith("f00, f01, ")
    assert caught.value.detail.endswith(" and 10 more paths")


@as_user
def test_a_closed_folder_is_named(folder: Path) -> None:
    (folder / "closed").mkdir(mode=0)
    with pytest.raises(AccessDenied, match="1 path below"):
        survey(folder)


class Meanwhile(MemoryVault):
    """Something happens between the first walk and the second."""

    happens: Callable[[], None]

    def begin(self, *args: Any, **more: Any) -> Any:
        writer = super().begin(*args, **more)
        add = writer.add

        def later(entries: Any, *rest: Any) -> None:
            self.happens()
            add(entries, *rest)

        writer.add = later  # type: ignore[method-assign]
        return writer


@pytest.mark.parametrize("another", [False, True], ids=["gone", "another one in its place"])
def test_a_folder_that_goes_away_while_it_is_read_gives_no_point(folder: Path, *, another: bool) -> None:
    vault = Meanwhile()

    def happens() -> None:
        folder.rename(folder.with_name("elsewhere"))
        if another:
            folder.mkdir()

    vault.happens = happens
    with pytest.raises(SourceDown, match="was moved away while it was read"):
        take(folder, vault)
    assert vault.points() == []


def test_a_folder_that_closes_while_it_is_read_gives_no_point(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    vault, listdir = Meanwhile(), os.listdir

    def denied(path: Any) -> Any:
        if Path(path).name == "closes":
            raise OSError(errno.EIO, "Input/output error")
        return listdir(path)  # pyright: ignore[reportUnknownVariableType]

    (folder / "closes").mkdir()
    vault.happens = lambda: monkeypatch.setattr(os, "listdir", denied)
    with pytest.raises(AccessDenied, match="1 path below"):
        take(folder, vault)
    assert vault.points() == []


# ── restoring ────────────────────────────────────────────────────────────────────────────────────

only_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")


@only_root
def test_owners_and_modes_come_back(folder: Path) -> None:
    (folder / "b").write_text("b")
    os.chown(folder, 65534, 65534)
    os.chown(folder / "a", 65534, 65534)
    (folder / "a").chmod(0o4755)
    os.chown(folder / "b", 1, 1)
    folder.chmod(0o750)
    vault = MemoryVault()
    point, _ = take(folder, vault)
    keeper = FilesKeeper(folder, MemoryClock())
    keeper.preserve(acting())
    keeper.restore(vault.open(point.id), acting())
    for path, owner, mode in ((folder, 65534, 0o750), (folder / "a", 65534, 0o4755), (folder / "b", 1, 0o644)):
        found = path.stat()
        assert (found.st_uid, found.st_gid, found.st_mode & 0o7777) == (owner, owner, mode), path


def test_without_room_nothing_is_written(folder: Path) -> None:
    vault = MemoryVault()
    point, _ = take(folder, vault)
    reader = vault.open(point.id)
    reader.point = replace(point, size_bytes=1 << 60)
    with pytest.raises(DiskFull, match="no room to restore"):
        FilesKeeper(folder, MemoryClock()).restore(reader, acting())
    assert sorted(path.name for path in folder.parent.iterdir()) == [".data.backstay.lock", "data"]


def test_a_restored_folder_that_somebody_replaced_since_is_not_ours(folder: Path) -> None:
    vault = MemoryVault()
    point, _ = take(folder, vault)
    keeper = FilesKeeper(folder, MemoryClock())
    keeper.restore(vault.open(point.id), acting())
    shutil.copytree(folder, folder.with_name("copy"))
    shutil.rmtree(folder)
    folder.with_name("copy").rename(folder)
    assert Beside(folder).in_place() is None


def test_a_sandbox_is_erased_even_where_its_modes_forbid_it(folder: Path, tmp_path: Path) -> None:
    (folder / "closed").mkdir()
    (folder / "closed" / "x").write_text("x")
    (folder / "closed").chmod(0o500)
    vault = MemoryVault()
    point, _ = take(folder, vault)
    (tmp_path / "sandbox").mkdir()
    with FilesKeeper(folder, MemoryClock()).sandbox(vault.open(point.id), tmp_path / "sandbox") as restored:
        assert [check.verdict for check in restored.inspect("full")] == [Verdict.PASSED]
        assert restored.counts() == {".": 1, "closed": 1}
    assert list((tmp_path / "sandbox").iterdir()) == []
    (folder / "closed").chmod(0o700)


def test_files_that_are_missing_after_a_restore_are_a_failure(folder: Path, tmp_path: Path) -> None:
    vault = MemoryVault()
    point, _ = take(folder, vault)
    (tmp_path / "sandbox").mkdir()
    with FilesKeeper(folder, MemoryClock()).sandbox(vault.open(point.id), tmp_path / "sandbox") as restored:
        (tmp_path / "sandbox" / "files" / "a").unlink()
        assert [check.verdict for check in restored.inspect("full")] == [Verdict.FAILED]


@pytest.mark.parametrize("stored", [b"", b"{", b"[]", b'{"run": "x"}', b'{"run":1,"inode":"x"}', b"\xff"])
def test_a_record_that_was_tampered_with_stops_us(folder: Path, stored: bytes) -> None:
    Beside(folder).record.write_bytes(stored)
    with pytest.raises(StepFailed):
        FilesKeeper(folder, MemoryClock()).look_restored(acting())


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (errno.ENOSPC, DiskFull),
        (errno.EDQUOT, DiskFull),
        (errno.EACCES, AccessDenied),
        (errno.EROFS, AccessDenied),
        (errno.EBUSY, SourceUnsuitable),
        (errno.EIO, StepFailed),
    ],
)
def test_errors_of_the_system_are_said_in_our_words(number: int, expected: type[BackstayError]) -> None:
    assert isinstance(said(OSError(number, os.strerror(number)), "rename x"), expected)


def test_names_beside_carry_the_run(folder: Path) -> None:
    beside, run = Beside(folder), RunId("run-7")
    assert beside.preserved(run).name == "data.preserved-run-7"
    assert beside.part(run).parent == folder.parent


# ── with the real repository ─────────────────────────────────────────────────────────────────────


def test_a_folder_goes_into_the_real_vault_is_proven_and_comes_back(folder: Path, tmp_path: Path) -> None:
    (folder / "deep").mkdir()
    (folder / "deep" / "large.bin").write_bytes(os.urandom(9 << 20))
    (folder / "caf\udce9").write_bytes(b"odd")
    (folder / "link").symlink_to("deep/large.bin")
    keeper, clock = FilesKeeper(folder, SystemClock()), SystemClock()
    component = Component(DATABASE, FilesSource(PerSite(None)))
    routine = Routine(RUN, component, Objectives(), PLAN, keeper, new_vault(MemoryStore()), clock)

    taken = take_point(routine)
    proof = prove_point(routine, taken.point.id, tmp_path)
    assert proof.result() == Proven(), proof.checks
    assert proof.counts == {".": 2, "deep": 1}

    with keeper.live() as live:
        before = live.digests()
    keeper.preserve(acting())
    keeper.restore(routine.vault.open(taken.point.id), acting())
    with keeper.live() as live:
        assert live.digests() == before
    assert (folder / "link").readlink() == Path("deep/large.bin")
