"""Documents about this plan: the plan itself, filled from the journal, and the report of a run."""

import errno
import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from backstay import drill, engine, review
from backstay.app.estate import KINDS
from backstay.app.home import Home
from backstay.errors import AccessDenied, Cancelled, DiskFull, NoSuchRun, PromiseBroken, StepFailed
from backstay.facts import NotVerified
from backstay.history import Loss, RunSeen, components_restored, phase_times, rpo_actual, rto_actual
from backstay.review import Document
from backstay.values import ComponentName, RunId, count, stamp


def plan_document(home: Home) -> Document:
    """The plan document as it stands now."""
    return review.plan_document(home.plan, home.history(), home.clock.now(), can=KINDS)


def write_document(home: Home, to: Path) -> list[Path]:
    """The plan document and the report of the newest run, each as Markdown and as one self-contained HTML file."""
    documents = {"plan": plan_document(home)}
    history = home.history()
    for run in [run for run in history.runs if run.ended is not None][-1:]:
        documents["last-run"] = review.run_report(run, home.journal.read(engine.stream_of(run.id)), history)
    written: list[Path] = []
    try:
        to.mkdir(parents=True, exist_ok=True)
        for name, document in documents.items():
            written.append(_replace(to / f"{name}.md", review.markdown(document)))
            written.append(_replace(to / f"{name}.html", review.html(document)))
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFull(
                f"no room left while writing the document into {to}",
                detail="an older document there is as it was",
                hint="make room, or name a folder on another disk with --to",
            ) from error
        raise AccessDenied(
            f"cannot write the document into {to}: {error.strerror}", hint="name another folder with --to"
        ) from error
    return written


def _replace(path: Path, text: str) -> Path:
    """Whoever reads the old one meanwhile reads it whole."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    return path


# ── runs ─────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class RunTold:
    """The report of one run: for a person, for a script, and the exit code that it stands for."""

    document: Document
    told: Mapping[str, Any]
    code: int


def run_report(home: Home, run: str | None) -> RunTold:
    """The named run, or the newest. Raises NoSuchRun."""
    history = home.history()
    found = history.run(RunId(run)) if run is not None else (history.runs[-1] if history.runs else None)
    if found is None:
        raise NoSuchRun(
            f"the journal has no run {run}" if run else "the journal has no run yet",
            detail=f"it has {count(len(history.runs), 'run')}, in {home.state}",
            hint="`backstay status` shows the open ones, `backstay run show` the newest; another journal: --state",
        )
    document = review.run_report(found, home.journal.read(engine.stream_of(found.id)), history)
    return RunTold(document, _told(found), _code(found))


def _code(run: RunSeen) -> int:
    if run.ended is not None and run.ended.result == "cancelled":
        return Cancelled.code
    if run.ended is None or run.ended.result != "recovered":
        return StepFailed.code
    return PromiseBroken.code if _told_result(drill.result(run))[0] == "broken" else 0


def _told(run: RunSeen) -> dict[str, Any]:
    started, promises = run.started, _told_result(drill.result(run))
    return {
        "run": run.id,
        "scenario": started.scenario,
        "mode": started.mode.value,
        "result": run.ended.result if run.ended else "open",
        "why": run.ended.why if run.ended else "",
        "promises": promises[0],
        "promises_why": promises[1],
        "declared": stamp(started.declared),
        "by": started.by,
        "plan": started.plan,
        "rto": {"target_s": _seconds(started.objectives.rto), **_measured(rto_actual(run))},
        "rpo": {name: _loss(run, name) for name in components_restored(run)},
        "rows": {name: dict(review.rows_back(run, name)) for name in components_restored(run)},
        "phases": [
            {"name": phase.name, "target_s": _seconds(phase.target), "took_s": _seconds(phase.took)}
            for phase in phase_times(run)
        ],
        "steps": [
            {
                "step": seen.step.id,
                "state": seen.state.value,
                "took_s": _seconds(seen.took),
                "said": seen.said,
                "values": dict(seen.values),
            }
            for seen in run.steps
        ],
    }


def _told_result(result: drill.DrillResult) -> tuple[str, str]:
    match result:
        case drill.Passed():
            return "kept", ""
        case drill.Failed(why):
            return "broken", why
        case NotVerified(why):
            return "not verified", why
        case drill.Stated():
            return "stated", ""


def _measured(actual: timedelta | NotVerified) -> dict[str, Any]:
    if isinstance(actual, NotVerified):
        return {"actual_s": None, "not_verified": actual.why}
    return {"actual_s": actual.total_seconds()}


def _loss(run: RunSeen, component: ComponentName) -> dict[str, Any]:
    target = {"target_s": _seconds(run.started.objectives.rpo)}
    match rpo_actual(run, component):
        case NotVerified(why):
            return target | {"least_s": None, "most_s": None, "not_verified": why}
        case Loss() as loss:
            measured = {"least_s": loss.least.total_seconds(), "most_s": loss.most.total_seconds()}
            return target | measured | {"newest": stamp(loss.newest), "source": loss.source}


def _seconds(span: timedelta | None) -> float | None:
    return None if span is None else span.total_seconds()
