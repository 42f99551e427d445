"""Points of real components for tests: taking one into memory, and tampering with one on its way back."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from backstay.adapters.clock import SystemClock
from backstay.adapters.memory.vault import MemoryVault
from backstay.facts import CheckResult, Point, Verdict
from backstay.ports import (
    Entry,
    Keeper,
    PointReader,
    PointWriter,
    Progress,
    Sealing,
    Stored,
    Taken,
    unwatched,
)
from fix_story import DATABASE, PLAN


def take(keeper: Keeper, vault: MemoryVault) -> Point:
    return take_and_hear(keeper, vault)[0]


def take_and_hear(keeper: Keeper, vault: MemoryVault) -> tuple[Point, Taken]:
    with vault.begin(DATABASE, plan=PLAN, now=SystemClock().now()) as writer:
        taken = keeper.take(writer)
        return writer.seal(taken.sealing), taken


class Interrupted:
    """A PointWriter in whose middle something happens, once. `order` learns what was offered, and when."""

    def __init__(self, within: PointWriter, happens: Callable[[], None], order: list[str] | None = None) -> None:
        self.id, self._within, self._happens = within.id, within, [happens]
        self._order = order if order is not None else list[str]()

    @property
    def before(self) -> PointReader | None:
        return self._within.before

    def __enter__(self) -> "Interrupted":
        return self

    def __exit__(self, *exc: object) -> None:
        pass

    def add(self, entries: Iterable[Entry], progress: Progress = unwatched) -> None:
        self._within.add(self._noted(entries), progress)
        if self._happens:
            self._happens.pop()()

    def _noted(self, entries: Iterable[Entry]) -> Iterator[Entry]:
        for entry in entries:
            self._order.append(entry.path)
            yield entry

    def seal(self, sealing: Sealing) -> Point:
        return self._within.seal(sealing)


def empty(folder: Path) -> Path:
    folder.mkdir(mode=0o700)
    return folder


def verdicts(checks: list[CheckResult]) -> dict[str, Verdict]:
    return {check.code: check.verdict for check in checks}


def not_passed(checks: list[CheckResult]) -> list[str]:
    return [
        f"{check.code} {check.verdict.value}: {check.said}" for check in checks if check.verdict is not Verdict.PASSED
    ]


Change = Callable[[Path], None]


class Tampered:
    """A point whose files are changed as soon as they are laid down: what a repository cannot notice, because it was
    wrong before it was stored. `None` leaves a file out."""

    def __init__(
        self, within: PointReader, changes: Mapping[str, Change | None], about: Mapping[str, str] | None = None
    ) -> None:
        self.within, self.changes = within, changes
        self.point: Point = replace(within.point, about={**within.point.about, **(about or {})})

    def entries(self, under: str = "") -> Iterator[Stored]:
        return (stored for stored in self.within.entries(under) if not self._gone(stored.path))

    def entry(self, path: str) -> Stored | None:
        return None if self._gone(path) else self.within.entry(path)

    def read(self, path: str, start: int = 0, length: int | None = None) -> Iterator[bytes]:
        return self.within.read(path, start, length)

    def extract(
        self,
        to: Path,
        *,
        under: str = "",
        place: Callable[[Stored], Path | None] | None = None,
        progress: Progress = unwatched,
        over: bool = False,
    ) -> None:
        laid: dict[str, Path] = {}

        def placing(stored: Stored) -> Path | None:
            found = None if self._gone(stored.path) else place(stored) if place else to / stored.path
            if found is not None:
                laid[stored.path] = found
            return found

        self.within.extract(to, under=under, place=placing, progress=progress, over=over)
        for path, change in self.changes.items():
            if change is not None:
                change(laid[path])

    def _gone(self, path: str) -> bool:
        return path in self.changes and self.changes[path] is None
