"""The queue under a service: what waits, what runs at once, and what a dead process left. DBOS does it.

Theory of operation. A job is one process of the command line (`agenda.Job`), and everything that matters about it is in
journal and vault: whether it is due, who drives it, how it ended. So the queue may forget anything. It is asked for
three things only: that the same job never runs twice at once, that jobs of one lane run one after the other, and that
not too many run at all. Deleting its database loses nothing: what is due is offered again.

A workflow's id is the job's name and a number, `verify database#17`. It is put in by `reject`, so of two services that
offer the same job one wins; the next number is free only when the one before has ended. No state is kept in steps, and
nothing is pickled. What a process left that has ended (`gone` knows) is cancelled, and then offered anew.
"""

import logging
import os
import sqlite3
from collections.abc import Callable, Iterable
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from backstay.agenda import Job, Work
from backstay.errors import AccessDenied, RunBusy

if TYPE_CHECKING:
    from dbos import DBOS

QUEUE = "jobs"
_WORKFLOW = "job"
VERSION = "1"
"""Of the shape of a job, not of Backstay: an upgrade must not strand what waits (DBOS goes by this word)."""
POLL_S = 0.5
_LAST_S = 60.0
_AGAIN = timedelta(minutes=1)
"""The same job does not begin more often: one that fails at once would else run in circles."""
_RETAIN_AGAIN = timedelta(hours=1)
_FORGET = timedelta(days=7)
_AHEAD = timedelta(minutes=1)
"""A moment that is later than this was written by a clock that has been set back since."""
_OPEN = ("ENQUEUED", "PENDING", "DELAYED")
STOPPED = 130
"""What a job that was told to stop ends with: it goes on as soon as anybody can."""

Perform = Callable[[str, str, str], int]
"""Do one job, given its verb, its subject and its name; its exit status. Called in a thread of its own; raises
nothing."""


@dataclass(frozen=True, slots=True)
class Doing:
    """A job that is in the queue or runs."""

    name: str
    running: bool
    worker: str
    since: datetime


_open = False
"""DBOS is one for a process."""


class JobQueue:
    """The queue of one state folder, for one process. A context manager; only one may be open in a process."""

    def __init__(self, file: Path, worker: str, perform: Perform, at_once: int = 2) -> None:
        """`worker`: unique to this process, and such that others can tell when it has ended."""
        self._file, self._worker, self._perform, self._at_once = file, worker, perform, at_once
        self._dbos: type[DBOS]

    def __enter__(self) -> "JobQueue":
        """Raises AccessDenied where the file cannot be written."""
        global _open
        from dbos import DBOS, DBOSConfig, DBOSPortableJSONSerializer

        if _open:
            raise RunBusy("this process works from a queue already")
        _prepare(self._file)
        _open, self._dbos = True, DBOS
        logging.getLogger("dbos").setLevel(logging.WARNING)

        @DBOS.workflow(name=_WORKFLOW)
        def job(verb: str, subject: str, name: str) -> dict[str, int]:
            return {"exit": self._perform(verb, subject, name)}

        DBOS(
            config=DBOSConfig(
                name="backstay",
                system_database_url=f"sqlite:///{self._file}",
                executor_id=self._worker,
                application_version=VERSION,
                serializer=DBOSPortableJSONSerializer(),
                log_level="WARNING",
            )
        )
        DBOS.launch()
        DBOS.register_queue(
            QUEUE, worker_concurrency=self._at_once, partition_concurrency=1, polling_interval_sec=POLL_S,
            on_conflict="always_update",
        )  # fmt: skip
        return self

    def __exit__(self, *exc: object) -> None:
        """Waits for what runs: `perform` has been told to stop by then."""
        global _open  # noqa: PLW0603
        self._dbos.destroy(destroy_registry=True, workflow_completion_timeout_sec=int(_LAST_S))
        _open = False

    def offer(self, jobs: Iterable[Job], now: datetime) -> list[Job]:
        """Put in what is not in it; gives what was put in."""
        return [job for job in jobs if self._offer(job, now)]

    def _offer(self, job: Job, now: datetime) -> bool:
        from dbos import EnqueueOptions, error

        last = self._dbos.list_workflows(workflow_id_prefix=f"{job.name}#", sort_desc=True, limit=1, load_input=False)
        number = 0
        if last:
            before = last[0]
            if before.status in _OPEN or _is_enough(job, before.output, _moment(before.updated_at), now):
                return False
            number = int(before.workflow_id.rpartition("#")[2])
        options = EnqueueOptions(
            workflow_name=_WORKFLOW, queue_name=QUEUE, workflow_id=f"{job.name}#{number + 1}",
            workflow_id_reuse_policy="reject", queue_partition_key=job.lane, app_version=VERSION,
        )  # fmt: skip
        try:
            self._dbos.enqueue_workflow_with_options(options, job.work.value, job.subject, job.name)
        except error.DBOSWorkflowIDInUseError:
            return False  # another service was first
        return True

    def release(self, gone: Callable[[str], bool]) -> list[str]:
        """Take back what processes left that have ended; gives the names of those jobs. They may be offered again."""
        left = [
            one for one in self._dbos.list_workflows(status="PENDING", load_input=False) if gone(one.executor_id or "")
        ]
        for one in left:
            self._dbos.cancel_workflow(one.workflow_id)
        return [one.workflow_id.rpartition("#")[0] for one in left]

    def doing(self) -> list[Doing]:
        """What is in the queue or runs, oldest first."""
        return [
            Doing(
                one.workflow_id.rpartition("#")[0], one.status == "PENDING", one.executor_id or "",
                _moment(one.created_at),
            )
            for one in self._dbos.list_workflows(status=list(_OPEN), load_input=False)
        ]  # fmt: skip

    def forget(self, now: datetime) -> None:
        """Drop what ended a week ago: the journal has what is worth remembering. And what ended while the clock was
        ahead: it would be the newest of its job, and just over, until that moment comes again."""
        before, after = (now - _FORGET).astimezone(UTC).isoformat(), (now + _AHEAD).astimezone(UTC).isoformat()
        ended = partial(self._dbos.list_workflows, load_input=False, load_output=False, limit=1000)
        for found in (ended(completed_before=before), ended(completed_after=after), ended(start_time=after)):
            self._dbos.delete_workflows([one.workflow_id for one in found if one.status not in _OPEN])


def _is_enough(job: Job, output: Any, ended: datetime, now: datetime) -> bool:
    """Whether that it ended then, with this output, is a reason to leave it alone for now."""
    status = cast("dict[str, Any]", output).get("exit") if isinstance(output, dict) else None
    if job.work is Work.RETAIN:
        return (status == 0 and ended >= job.since) or ended + _RETAIN_AGAIN > now
    return status is not None and status != STOPPED and ended + _AGAIN > now


def _moment(milliseconds: int | None) -> datetime:
    return datetime.fromtimestamp((milliseconds or 0) / 1000, UTC)


def _prepare(file: Path) -> None:
    """Its own file, which nobody else reads; in WAL mode, which DBOS does not set."""
    try:
        with suppress(FileExistsError):
            os.close(os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        with closing(sqlite3.connect(file, timeout=30)) as db:
            db.execute("PRAGMA journal_mode=WAL")
    except (OSError, sqlite3.Error) as why:
        raise AccessDenied(
            f"cannot use the queue {file}", detail=str(why),
            hint="it holds nothing that is needed: if it is damaged, delete it and start again",
        ) from None  # fmt: skip
