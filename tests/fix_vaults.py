"""A plan with several vaults, in a folder of its own, and a folder of files to protect: everything through `app`."""

import os
import subprocess
import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from backstay.adapters.clock import SystemClock
from backstay.app import planning
from backstay.app.home import Asked, Home
from backstay.ports import Progress, unwatched
from fix_estate import program

PLAN = """\
backstay: 1
system: {name: shop, title: Shop}
objectives: {rto: 1h, rpo: 24h}
sites:
  primary: {}
vaults:
%s
components:
  papers: {files: ./papers, protect: {full: "02:00"}}
people:
  me: {name: Me, email: me@example.com}
declaration: {authority: {alone: [me]}}
"""
VAULTS = {"local": "{url: ./local, keep: 30d}", "off-site": "{url: ./off-site, keep: 90d}"}


@contextmanager
def screen(title: str) -> Generator[Progress]:
    yield unwatched


@dataclass(frozen=True, slots=True)
class Shop:
    """A home folder. Each `home()` is what one command sees: nothing is remembered but what lies on the disk."""

    folder: Path

    def write_plan(self, vaults: dict[str, str] = VAULTS) -> None:
        lines = "\n".join(f"  {name}: {spec}" for name, spec in vaults.items())
        (self.folder / "backstay.yaml").write_text(PLAN % lines)

    def home(self, clock: SystemClock | None = None) -> Home:
        return Home(Asked(), self.folder, clock)

    def init(self) -> Sequence[str]:
        return list(planning.init(self.home()))

    @property
    def papers(self) -> Path:
        return self.folder / "papers"


def make_shop(folder: Path, vaults: dict[str, str] = VAULTS) -> Shop:
    shop = Shop(folder)
    shop.papers.mkdir(parents=True)
    (shop.papers / "contract").write_bytes(b"signed" * 1000)
    (shop.papers / "ledger").write_bytes(bytes(range(256)) * 3000)
    shop.write_plan(vaults)
    return shop


class Opens:
    """How often a file was opened by this process. An audit hook stays for ever, so there is one."""

    _watched: Path | None = None
    _hooked = False
    count = 0

    @classmethod
    @contextmanager
    def of(cls, path: Path) -> Generator[type["Opens"]]:
        if not cls._hooked:
            sys.addaudithook(cls._hear)
            cls._hooked = True
        cls._watched, cls.count = path, 0
        try:
            yield cls
        finally:
            cls._watched = None

    @classmethod
    def _hear(cls, event: str, args: tuple[object, ...]) -> None:
        if event == "open" and cls._watched is not None and str(args[0]).endswith(cls._watched.name):
            cls.count += 1


def typed(shop: Shop, *words: str) -> subprocess.CompletedProcess[str]:
    """What the command line says to `backstay WORDS`, in the home of the shop, on a wide terminal."""
    argv, wide = [*program(), *words], {**os.environ, "COLUMNS": "120"}
    return subprocess.run(argv, cwd=shop.folder, env=wide, capture_output=True, text=True, timeout=120, check=False)
