"""The processes of one site: counted, stopped, started."""

import signal
from collections.abc import Generator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

from backstay.adapters.process.family import GLANCE, Family, Process, boot_id, stat_of
from backstay.adapters.process.pidfile import edge, read_pid_file, remove, write_through
from backstay.errors import Cancelled, NotSupported, TimedOut, ToolFailed, UnknownName, Usage
from backstay.plan import ProcessSpec, Ref, Site, Space, Template
from backstay.ports import Acting, Clock, Secrets
from backstay.processes import Command, Running, holding, start
from backstay.values import RunId, say_span

SETTLES = timedelta(milliseconds=500)
"""A program that ends sooner than this after its start has not started."""
KILLED_WITHIN = timedelta(seconds=10)
"""Longer than this nothing survives SIGKILL that can be ended at all."""
LOCKED_FOR = timedelta(minutes=2)


class ProcessWorkloads:
    """The processes of one site. `base`: where relative paths of the plan start."""

    def __init__(self, site: Site, secrets: Secrets, base: Path, clock: Clock, *, settles: timedelta = SETTLES) -> None:
        self._site, self._secrets, self._base, self._clock = site, secrets, base, clock
        self._settles = settles

    def running(self, workload: str) -> int:
        return 0 if read_pid_file(self._pid_file(workload)) is None else 1

    def found(self, workload: str, run: RunId) -> int | None:
        try:
            noted, _, number = self._note(workload).read_text("utf-8").rstrip("\n").partition("\n")
        except (FileNotFoundError, UnicodeDecodeError):
            return None
        except OSError as error:
            raise edge(error, f"read {self._note(workload)}") from error
        return int(number) if noted == run and number.isdecimal() else None

    def scale(self, workload: str, to: int, acting: Acting) -> None:
        if to not in (0, 1):
            raise NotSupported(
                f"{workload} cannot run {to} times: a process of a host runs once or not at all",
                hint="declare one process for each instance",
            )
        spec, pid_file = self._spec(workload), self._pid_file(workload)
        with self._alone(pid_file, acting):
            if self.found(workload, acting.run) is None:
                # A pid file whose process has gone: it was wanted, and the disaster ended it.
                wanted = 1 if pid_file.exists() else 0
                write_through(self._note(workload), f"{acting.run}\n{wanted}\n")
            if acting.stop():
                raise Cancelled(f"stopped before {workload} was scaled")
            process = read_pid_file(pid_file)
            if to == 0:
                if process is not None:
                    self._stop(workload, spec, process, acting)
                remove(pid_file)
            elif process is None:
                self._start(workload, spec, acting)

    @contextmanager
    def _alone(self, pid_file: Path, acting: Acting) -> Generator[None]:
        try:
            pid_file.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise edge(error, f"make the folder {pid_file.parent}") from error
        with holding(pid_file.with_name(pid_file.name + ".lock"), wait=LOCKED_FOR, stop=acting.stop):
            yield

    # ── starting ──

    def _start(self, workload: str, spec: ProcessSpec, acting: Acting) -> None:
        pid_file = self._pid_file(workload)
        command = self._command(workload, spec)
        with start(command, stop=acting.stop) as running:
            until = self._clock.elapsed() + self._settles
            while running.alive and self._clock.elapsed() < until:
                self._clock.wait(GLANCE)
            if not running.alive:
                self._ended_at_once(workload, running, pid_file)
                return
            # On disk before we let it go: a crash here ends it, a crash later finds it.
            self._write_pid_file(workload, running)
            try:
                running.let_go()
            except ToolFailed as error:
                remove(pid_file)
                raise self._not_started(workload, error.detail or running.last_words()) from error

    def _write_pid_file(self, workload: str, running: Running) -> None:
        found = stat_of(running.pid)
        if found is None:
            raise self._not_started(workload, running.last_words())
        write_through(self._pid_file(workload), f"{running.pid}\n{found.started_ticks} {boot_id()}\n")

    def _ended_at_once(self, workload: str, running: Running, pid_file: Path) -> None:
        """A daemon that went into the background by itself has written its own pid file; anything else has failed."""
        try:
            running.wait()
        except ToolFailed as error:
            raise self._not_started(workload, f"{error.message}: {error.detail}") from error
        if read_pid_file(pid_file) is None:
            raise self._not_started(workload, running.last_words())

    def _not_started(self, workload: str, words: str) -> ToolFailed:
        log = self._log(self._spec(workload), workload)
        return ToolFailed(
            f"{workload} ended as soon as it was started", detail=words or "it said nothing", hint=f"see its log, {log}"
        )

    def _command(self, workload: str, spec: ProcessSpec) -> Command:
        if any(part.is_secret() for part in spec.start):
            raise Usage(
                f"a secret stands among the arguments of {workload}, where every user of this machine can read it",
                hint=f"hand it over under sites.{self._site.name}.processes.{workload}.env",
            )
        return Command(
            tuple(part.render(self._look_up) for part in spec.start),
            deadline=None,
            env={name: value.render(self._look_up) for name, value in spec.env.items() if not value.is_secret()},
            secrets={name: value.render(self._look_up) for name, value in spec.env.items() if value.is_secret()},
            cwd=self._base if spec.cwd is None else self._path(spec.cwd),
            grace=spec.stop_within,
            lasting=True,
            log=self._log(spec, workload),
        )

    # ── stopping ──

    def _stop(self, workload: str, spec: ProcessSpec, process: Process, acting: Acting) -> None:
        """Ask all of it to end, wait, then kill what is left. Raises TimedOut, Cancelled, AccessDenied."""
        family = Family(process)
        family.signal(signal.SIGTERM, workload)
        family.signal(signal.SIGCONT, workload)  # a stopped process hears nothing
        self._wait_for(family, spec.stop_within, acting)
        if family.living():
            family.signal(signal.SIGKILL, workload)
            self._wait_for(family, KILLED_WITHIN, acting)
        if left := family.living():
            raise TimedOut(
                f"{workload} cannot be ended",
                detail=f"process {left[0].pid} is still there {say_span(KILLED_WITHIN)} after SIGKILL",
                hint=f"look at /proc/{left[0].pid}/stack; a dead disk or network file system is the usual cause",
            )

    def _wait_for(self, family: "Family", within: timedelta, acting: Acting) -> None:
        until = self._clock.elapsed() + within
        while family.living() and self._clock.elapsed() < until:
            if acting.stop():
                raise Cancelled("stopped while waiting for a process to end")
            family.wait_a_moment(self._clock)

    # ── words ──

    def _spec(self, workload: str) -> ProcessSpec:
        if workload not in self._site.processes:
            known = ", ".join(sorted(self._site.processes)) or "none"
            raise UnknownName(
                f"the site {self._site.name!r} has no process {workload!r}", detail=f"processes of the site: {known}"
            )
        return self._site.processes[workload]

    def _pid_file(self, workload: str) -> Path:
        return self._path(self._spec(workload).pid_file)

    def _note(self, workload: str) -> Path:
        path = self._pid_file(workload)
        return path.with_name(path.name + ".found")

    def _log(self, spec: ProcessSpec, workload: str) -> Path:
        path = self._pid_file(workload)
        return path.with_name(path.name + ".log") if spec.log is None else self._path(spec.log)

    def _path(self, template: Template) -> Path:
        return self._base / template.render(self._look_up)

    def _look_up(self, ref: Ref) -> str:
        match ref.space:
            case Space.ENV | Space.FILE:
                return self._secrets.value(ref)
            case Space.SITE if ref.path in self._site.endpoints:
                return self._site.endpoints[ref.path].render(self._secrets.value)
            case _:
                raise UnknownName(f"{ref} is not known where a process of the site {self._site.name!r} is described")
