"""Processes, each told apart from any other that had or will have its number, and what belongs to one of them."""

import os
import select
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from backstay.errors import AccessDenied
from backstay.ports import Clock

GLANCE = timedelta(milliseconds=50)


@dataclass(frozen=True, slots=True)
class Process:
    """One process, told apart from any other that had or will have its number."""

    pid: int
    started_ticks: int
    """Since boot."""


@dataclass(frozen=True, slots=True)
class Stat:
    state: str
    parent: int
    group: int
    session: int
    started_ticks: int

    @property
    def runs(self) -> bool:
        """A zombie has ended; only its parent has not looked yet."""
        return self.state not in "ZX"


def stat_of(pid: int) -> Stat | None:
    """proc(5). None: there is no such process."""
    try:
        words = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return None
    # The second field is the name in brackets, and may hold anything, brackets too.
    fields = words.rpartition(b")")[2].split()
    return Stat(fields[0].decode("ascii", "replace"), int(fields[1]), int(fields[2]), int(fields[3]), int(fields[19]))


def boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def is_alive(process: Process) -> bool:
    found = stat_of(process.pid)
    return found is not None and found.runs and found.started_ticks == process.started_ticks


class Family:
    """The workload's process and everything that belongs to it: its process group where it leads one, and its
    descendants, also those that the kernel gave to another parent meanwhile. Each is known by number *and* start."""

    def __init__(self, leader: Process) -> None:
        self._leader, self._known = leader, {leader.pid: leader}
        found = stat_of(leader.pid)
        self._group = leader.pid if found is not None and found.group == leader.pid else None
        self.look()

    def look(self) -> None:
        """Take in whoever has come since. A stranger cannot slip in: a group lives as long as one of its members, and
        its number is not given out before that."""
        everyone = dict(_everyone())
        if self._group is not None and any(is_alive(member) for member in self._known.values()):
            for pid, found in everyone.items():
                if found.group == self._group:
                    self._known.setdefault(pid, Process(pid, found.started_ticks))
        grown = True
        while grown:
            children = {
                pid: Process(pid, found.started_ticks)
                for pid, found in everyone.items()
                if pid not in self._known
                and (parent := self._known.get(found.parent)) is not None
                and (known := everyone.get(found.parent)) is not None
                and known.started_ticks == parent.started_ticks
            }
            self._known |= children
            grown = bool(children)

    def living(self) -> list[Process]:
        self.look()
        return [member for member in self._known.values() if is_alive(member)]

    def signal(self, number: signal.Signals, workload: str) -> None:
        for member in self.living():
            try:
                # The descriptor stands for this very process: between looking and sending, the number cannot change
                # hands (pidfd_open(2)).
                fd = os.pidfd_open(member.pid)
            except ProcessLookupError:
                continue
            try:
                if is_alive(member):
                    signal.pidfd_send_signal(fd, number)
            except ProcessLookupError:
                continue
            except PermissionError as error:
                raise AccessDenied(
                    f"may not stop {workload}",
                    detail=f"process {member.pid} belongs to another user",
                    hint="run backstay as the user that runs the application, or as root",
                ) from error
            finally:
                os.close(fd)

    def wait_a_moment(self, clock: Clock) -> None:
        """Until its leader ends, or a moment has passed."""
        try:
            fd = os.pidfd_open(self._leader.pid)
        except ProcessLookupError:
            clock.wait(GLANCE)
            return
        try:
            poll = select.poll()
            poll.register(fd, select.POLLIN)
            if poll.poll(GLANCE / timedelta(milliseconds=1)):
                clock.wait(GLANCE / 10)  # it has ended; its children are still at it
        finally:
            os.close(fd)


def _everyone() -> Iterator[tuple[int, Stat]]:
    for entry in os.scandir("/proc"):
        if entry.name.isdigit() and (found := stat_of(int(entry.name))) is not None:
            yield int(entry.name), found
