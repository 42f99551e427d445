"""Laws of a restore over what is there: the folder becomes that of the point, and nothing is written that was right."""

import itertools
import os
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backstay.adapters.memory.store import MemoryStore
from backstay.app.laying import UNFINISHED, Over, lay_down
from backstay.errors import TargetAlive, TargetNotEmpty
from backstay.ports import Cutter, Key, PointReader, unwatched
from backstay.vault import open_vault
from backstay.vault.laying import LaidFile
from backstay.vault.over import others, remove
from fix_vault import (
    DB,
    NOW,
    PLAN,
    SMALL,
    Crash,
    File,
    Folder,
    Link,
    Mortal,
    Things,
    back_up,
    copy_of,
    entries,
    expected,
    keyring,
    laid_down,
    later,
    new_vault,
    noise,
    sealing,
)

PAGES = noise(8 * 65_536)
CONTENTS = (
    b"",
    b"short",
    PAGES,
    PAGES[:100_000],
    bytes(65_536) + PAGES[65_536:],
    PAGES[:65_536] + bytes(2 * 65_536) + PAGES[3 * 65_536 :],
    PAGES + b"grown",
)


@st.composite
def _things(draw: st.DrawFn) -> Things:
    """Few names and few contents: so the same path is often something else in the other tree."""
    made: dict[str, File | Folder | Link] = {}
    for path in draw(st.lists(st.sampled_from(("a", "b", "d", "d/a", "d/b", "d/e", "d/e/f")), unique=True)):
        if any(not isinstance(made.get(str(above), Folder()), Folder) for above in list(Path(path).parents)[:-1]):
            continue
        mode = draw(st.sampled_from((0o400, 0o600, 0o755)))
        files = st.builds(File, st.sampled_from(CONTENTS), st.just(mode), st.sampled_from(Cutter))
        made[path] = draw(st.one_of(files, files, st.just(Folder(mode | 0o700)), st.just(Link("a"))))
    return {path: thing for path, thing in made.items() if not _below_no_folder(path, made)}


def _below_no_folder(path: str, made: Things) -> bool:
    return any(not isinstance(made.get(str(above), Folder()), Folder) for above in list(Path(path).parents)[:-1])


def delta(reader: PointReader, to: Path, *, removing: bool = False) -> None:
    for path in list(others(reader.entries(), lambda stored: to / stored.path, to)) if removing else []:
        remove(path)
    reader.extract(to, over=True)


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many bytes each call wrote into a file."""
    sizes: list[int] = []
    write = LaidFile.write

    def noted(file: LaidFile, data: memoryview, offset: int) -> None:
        sizes.append(len(data))
        write(file, data, offset)

    monkeypatch.setattr(LaidFile, "write", noted)
    return sizes


@given(_things(), _things())
@settings(max_examples=15, deadline=None)
def test_whatever_was_there_becomes_the_point(
    tmp_path_factory: pytest.TempPathFactory, old: Things, new: Things
) -> None:
    vault, to = new_vault(MemoryStore()), tmp_path_factory.mktemp("law") / "to"
    first, second = back_up(vault, old), back_up(vault, new, now=later(1))
    vault.open(first.id).extract(to)
    delta(vault.open(second.id), to, removing=True)
    assert laid_down(to) == expected(new)


def test_what_the_point_does_not_have_stays_unless_it_is_asked_away(tmp_path: Path) -> None:
    vault = new_vault(MemoryStore())
    reader = vault.open(back_up(vault, SMALL).id)
    reader.extract(tmp_path)
    (tmp_path / "pg_wal" / "newer").write_bytes(b"WAL of a later moment")
    (tmp_path / "mine").mkdir()
    delta(reader, tmp_path)
    assert (tmp_path / "pg_wal" / "newer").exists()
    assert set(others(reader.entries(), lambda stored: tmp_path / stored.path, tmp_path)) == {
        tmp_path / "pg_wal" / "newer", tmp_path / "mine",
    }  # fmt: skip
    delta(reader, tmp_path, removing=True)
    assert laid_down(tmp_path) == expected(SMALL)


def test_only_what_differs_is_fetched_and_written(tmp_path: Path, written: list[int]) -> None:
    store = _Counting()
    vault = new_vault(store)
    data = {"1259": File(PAGES, cutter=Cutter.FIXED_64K)}
    reader = vault.open(back_up(vault, data).id)
    reader.extract(tmp_path)
    with (tmp_path / "1259").open("r+b") as file:
        file.seek(3 * 65_536 + 17)
        file.write(b"torn")
    written.clear()
    store.fetched.clear()
    delta(reader, tmp_path)
    assert (tmp_path / "1259").read_bytes() == PAGES
    assert written == [65_536]
    assert sum(store.fetched) < 66_000
    written.clear()
    store.fetched.clear()
    delta(reader, tmp_path)
    assert written == store.fetched == []


class _Counting(MemoryStore):
    """Notes what is read of packs of data."""

    def __init__(self) -> None:
        super().__init__()
        self.fetched: list[int] = []

    def get(self, key: Key, start: int = 0, length: int | None = None) -> bytes:
        data = super().get(key, start, length)
        if key.startswith("packs/") and start:
            self.fetched.append(len(data))
        return data


def test_zeros_that_belong_there_are_written_over_what_is_none(tmp_path: Path) -> None:
    vault = new_vault(MemoryStore())
    data = {"1259": File(PAGES[:65_536] + bytes(65_536) + b"end", cutter=Cutter.FIXED_64K)}
    (tmp_path / "1259").write_bytes(noise(400_000, 5))
    delta(vault.open(back_up(vault, data).id), tmp_path)
    assert laid_down(tmp_path) == expected(data)


def test_a_copy_by_hard_links_and_what_a_link_leads_to_stay_what_they_were(tmp_path: Path) -> None:
    vault, to = new_vault(MemoryStore()), tmp_path / "to"
    reader = vault.open(back_up(vault, {"a": File(b"new"), "b": File(b"new"), "d/c": File(b"new")}).id)
    to.mkdir()
    (tmp_path / "kept").write_bytes(b"old")
    (tmp_path / "elsewhere").mkdir()
    os.link(tmp_path / "kept", to / "a")
    (to / "b").symlink_to(tmp_path / "kept")
    (to / "d").symlink_to(tmp_path / "elsewhere")
    delta(reader, to)
    assert laid_down(to) == expected({"a": File(b"new"), "b": File(b"new"), "d/c": File(b"new")})
    assert (tmp_path / "kept").read_bytes() == b"old"
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_what_lies_elsewhere_is_not_written_through_a_link_either(tmp_path: Path) -> None:
    vault, elsewhere = new_vault(MemoryStore()), tmp_path / "elsewhere"
    reader = vault.open(back_up(vault, {"d/a": File(b"new")}).id)
    elsewhere.mkdir()
    (tmp_path / "spaces").mkdir()
    (tmp_path / "spaces" / "d").symlink_to(elsewhere)
    with pytest.raises(TargetNotEmpty, match="is a link"):
        reader.extract(tmp_path / "to", place=lambda stored: tmp_path / "spaces" / stored.path, over=True)
    assert list(elsewhere.iterdir()) == []


def test_a_folder_where_a_file_belongs_is_nobodys_to_remove_unasked(tmp_path: Path) -> None:
    vault = new_vault(MemoryStore())
    reader = vault.open(back_up(vault, {"a": File(b"new")}).id)
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "mine").write_bytes(b"mine")
    with pytest.raises(TargetNotEmpty, match="is a folder"):
        delta(reader, tmp_path)
    assert (tmp_path / "a" / "mine").read_bytes() == b"mine"
    delta(reader, tmp_path, removing=True)
    assert laid_down(tmp_path) == expected({"a": File(b"new")})


def test_dying_at_any_call_and_running_again_makes_it_whole(tmp_path: Path) -> None:
    store = MemoryStore()
    vault = new_vault(store)
    old = {**SMALL, "base/1/1259": File(PAGES, 0o600, Cutter.FIXED_64K), "gone": File(b"x")}
    first, second = back_up(vault, old), back_up(vault, SMALL, now=later(1))
    for breaths in itertools.count(1):
        to = tmp_path / str(breaths)
        vault.open(first.id).extract(to)
        dying = Mortal(copy_of(store), breaths)
        try:
            delta(open_vault(dying, "local", keyring()).open(second.id), to, removing=True)
        except Crash:
            delta(vault.open(second.id), to, removing=True)
            assert laid_down(to) == expected(SMALL)
        else:
            assert laid_down(to) == expected(SMALL)
            break


def test_a_folder_that_somebody_uses_is_not_touched(tmp_path: Path) -> None:
    reader = _of("online", tmp_path)
    with (
        (tmp_path / "to" / "a").open("rb") as opened,
        subprocess.Popen(["tail", "-f", "/dev/null"], stdin=opened) as user,
    ):
        try:
            with pytest.raises(TargetAlive, match="in use"):
                lay_down(reader, tmp_path / "to", unwatched, Over(removing=True))
        finally:
            user.kill()
    assert (tmp_path / "to" / "a").read_bytes() == b"old"
    lay_down(reader, tmp_path / "to", unwatched, Over(removing=True))
    assert laid_down(tmp_path / "to") == expected({"a": File(b"new")})


def test_a_folder_that_is_half_old_and_half_new_says_so(tmp_path: Path) -> None:
    reader = _of("copy", tmp_path)

    def dying(done_bytes: int, total_bytes: int | None, what: str) -> None:
        raise Crash

    with pytest.raises(Crash):
        lay_down(reader, tmp_path / "to", dying, Over(removing=False))
    assert (tmp_path / "to" / UNFINISHED).exists()
    lay_down(reader, tmp_path / "to", unwatched, Over(removing=False))
    assert laid_down(tmp_path / "to") == expected({"a": File(b"new")})


def _of(way: str, tmp_path: Path) -> PointReader:
    """A point with a file, and a folder where it is older."""
    (tmp_path / "to").mkdir()
    (tmp_path / "to" / "a").write_bytes(b"old")
    vault = new_vault(MemoryStore())
    with vault.begin(DB, plan=PLAN, now=NOW) as writer:
        writer.add(entries({"a": File(b"new")}))
        return vault.open(writer.seal(replace(sealing(), way=way)).id)
