"""Asking one point one question: restored into a throw-away place, asked, erased.

Three verdicts. *Right* and *wrong* are what the restored component said; one that comes up and refuses the question
(the table is gone, a page cannot be read) did not answer it right. *Not verified* is a point that could not be brought
up or read: that says nothing about the question. Whatever has nothing to do with this point (a key that opens nothing,
a store that is away, no room, no server program) is raised: the next point would meet it as well.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from backstay.errors import (
    BackstayError,
    Damaged,
    NoSuchPoint,
    ObjectMissing,
    PathEscapes,
    PointRefuted,
    TimedOut,
    ToolFailed,
    Unreachable,
)
from backstay.facts import AnswerGiven, RoutineBegan, Verdict
from backstay.plan import AtTime, Question, Target
from backstay.ports import Answers
from backstay.values import PointId, RunId, VaultName
from backstay.verbs.reading import Witnessed, heed
from backstay.verbs.routine import Routine, edge, throw_away
from backstay.verify import evaluate

_OF_THE_POINT = (Damaged, NoSuchPoint, ObjectMissing, PathEscapes, PointRefuted, TimedOut, ToolFailed, Unreachable)
"""What one point meets and the next one may not."""


@dataclass(frozen=True, slots=True)
class Asking:
    """One question of a search."""

    search: RunId
    question: Question
    at: datetime | None = None
    """Replay the log to this moment before it is asked. None: the point's own end."""

    @property
    def target(self) -> Target | None:
        return Target(AtTime(self.at)) if self.at is not None else None


def ask_point(routine: Routine, asking: Asking, id: PointId, scratch: Path) -> AnswerGiven:
    """Restore the point below `scratch` and ask it. Raises Cancelled, Usage for a question that gives no single value,
    and what any point would meet: WrongKey, StoreUnreachable, DiskFull, ToolMissing, AccessDenied, NotSupported."""
    began = routine.clock.elapsed()
    try:
        with edge(f"asking {id}"):
            verdict, said = _asked(routine, asking, id, scratch)
    except _OF_THE_POINT as error:
        verdict, said = Verdict.NOT_VERIFIED, f"it could not be asked: {_say(error)}"
    took = routine.clock.elapsed() - began
    vault = VaultName(routine.vault.name)
    return AnswerGiven(routine.run, asking.search, vault, id, asking.at, verdict, said, took)


def look_asked(asking: Asking, began: RoutineBegan) -> AnswerGiven:
    """How a question ended whose driver died: nothing was found out, and it may be asked again."""
    assert began.point is not None, "a question is asked of a point"
    said = "its driver ended before there was an answer"
    return AnswerGiven(
        began.run, asking.search, began.vault, began.point, asking.at, Verdict.NOT_VERIFIED, said, timedelta()
    )


def _asked(routine: Routine, asking: Asking, id: PointId, scratch: Path) -> tuple[Verdict, str]:
    reader = routine.vault.open(id)
    log = routine.vault.wal if asking.at is not None else None
    with (
        throw_away(scratch, reader.point) as folder,
        routine.keeper.sandbox(
            Witnessed(reader, routine.stop), folder, routine.progress, target=asking.target, log=log
        ) as answers,
    ):
        heed(routine.stop)
        return _answer(answers, asking, reader.point.moment if asking.at is None else asking.at)


def _answer(answers: Answers, asking: Asking, moment: datetime) -> tuple[Verdict, str]:
    try:
        answer = answers.ask(asking.question.sql)
    except (Damaged, ToolFailed) as error:
        return Verdict.FAILED, f"no answer: {_say(error)}"
    return evaluate(asking.question.expect, answer, moment)


def _say(error: BackstayError) -> str:
    return f"{error.message} ({error.detail})" if error.detail else error.message
