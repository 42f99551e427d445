"""How Backstay is called on this machine, for whoever calls it by the clock."""

import os
import pwd
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from backstay.app.home import Home
from backstay.app.timers import Place, crontab, units
from backstay.durable import write_durably
from backstay.errors import AccessDenied


def files(home: Home, kind: Literal["cron", "systemd"]) -> Mapping[str, str]:
    """By the name of each file, what belongs into it."""
    place = place_of(home)
    return {"crontab": crontab(home.plan, place)} if kind == "cron" else units(home.plan, place)


def place_of(home: Home) -> Place:
    """Everything in full: a timer has neither our folder nor our environment."""
    options = ["--plan", str(home.plan_path.absolute())]
    for name, path in (("--key", home.asked.key), ("--state", home.asked.state)):
        options += [name, str((home.here / path).absolute())] if path is not None else []
    return Place(_program(), tuple(options), str(home.plan_path.absolute().parent), _user())


def _program() -> tuple[str, ...]:
    """The program that runs now, where it is one that can be called; else this Python, with our package."""
    called = shutil.which(sys.argv[0]) if sys.argv and Path(sys.argv[0]).name == "backstay" else None
    return (str(Path(called).absolute()),) if called is not None else (sys.executable, "-m", "backstay")


def _user() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())


def write(found: Mapping[str, str], to: Path) -> list[Path]:
    """The files in this folder, in place of older ones. Raises AccessDenied."""
    try:
        to.mkdir(parents=True, exist_ok=True)
        for name, text in found.items():
            write_durably(to / name, text.encode(), 0o644)  # no secret is in them
    except OSError as error:
        raise AccessDenied(f"cannot write into {to}", detail=error.strerror or str(error)) from None
    return [to / name for name in found]
