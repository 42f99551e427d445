"""Looking for the last known good: one question, asked of point after point, and written down as it goes.

What was answered is in the journal before the next point is asked. So a search that was killed is taken up by the same
words, where it stopped; one that has ended begins anew, because points were taken since, and there may be room for what
could not be asked.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial

from backstay import engine
from backstay.app.driving import driver, new_run
from backstay.app.estate import keeper_of, scratch
from backstay.app.home import Home
from backstay.app.moments import OverLog, exactly
from backstay.app.moments import say as say_moments
from backstay.app.noting import note
from backstay.app.people import somebody
from backstay.app.reading import readable
from backstay.config import grammar
from backstay.engine.routine import Note, component_stream
from backstay.errors import NoLastGood, NotSupported, Usage
from backstay.facts import AnswerGiven, Point, RoutineBegan, SearchBegan, SearchEnded, Verdict
from backstay.history import History, SearchSeen, searches, taken_order
from backstay.plan import PRIMARY, Choose, Component, Question, Restore
from backstay.ports import Acting, Progress
from backstay.values import PersonName, PointId, VaultName, count, listed, say_moment
from backstay.verbs.question import Asking, ask_point, look_asked
from backstay.verbs.routine import Routine
from backstay.verify import Candidates, Chosen, barred, candidates, choose, spoilt_in
from backstay.verify.bisect import Ask, Ended, Found, Moments, NeverRight, NothingAsked, StillRight, following, most

Screen = Callable[[str], AbstractContextManager[Progress]]

LONGEST = timedelta(hours=24)
"""How long one point may take to be restored and asked."""

UNNAMED = "backstay choose"
"""Who looks, where nobody said who he is: a search changes nothing."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What somebody looks for."""

    component: str
    question: str
    expect: str
    earliest: datetime | None = None
    latest: datetime | None = None
    by: str | None = None
    precision: timedelta | None = timedelta(minutes=1)
    """Over the log, where some was kept: until right and wrong are so close. None: points alone."""


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A point that is not asked, and why: it could not be chosen, or not be read."""

    point: Point
    why: str


@dataclass(frozen=True, slots=True)
class Sought:
    """What a search found, and all that it saw."""

    began: SearchBegan
    component: Component
    points: tuple[Point, ...]
    """Those that could be asked, oldest first."""
    answers: dict[PointId, AnswerGiven]
    left_out: tuple[LeftOut, ...]
    ended: Ended
    restores: int
    """How many were restored this time."""
    took: timedelta
    known_before: int
    """Answers that an interrupted try had got already."""
    good: Point | None
    bad: Point | None
    over: OverLog | None
    """What was asked between the two, over the log."""
    moments: Moments | None
    said: tuple[str, ...]
    """The result in sentences, the first of them the whole."""
    usable: str
    """What a recovery from the last good one would do; empty where there is none."""
    commands: tuple[str, ...]
    """What to type next."""


def seek(home: Home, wanted: Wanted, screen: Screen) -> Sought:
    """Find the last point whose answer is right. Raises Usage, UnknownName, NotSupported, RunBusy (somebody else looks
    at the same time), NoLastGood where there is no point at all, and what stops every restore."""
    component = home.plan.component(wanted.component)
    question = _question(component, wanted)
    by = somebody(home.plan, wanted.by) if wanted.by else UNNAMED
    home.adopt(str(by))
    began_at = home.clock.elapsed()
    search = _Search(home, component, question, _began(home, component, wanted, by))
    search.gather(wanted)
    ended = search.run(screen)
    if isinstance(ended, Found) and wanted.precision is not None:
        search.over_the_log(ended, wanted.precision, screen)
    took = home.clock.elapsed() - began_at
    sought = _told(home, search, ended, took)
    good, bad = sought.good, sought.bad
    search.record(SearchEnded(search.id, good.id if good else None, bad.id if bad else None, sought.said[0]))
    home.seal()
    return sought


def _question(component: Component, wanted: Wanted) -> Question:
    """Raises Usage, NotSupported."""
    if component.kind not in ("postgres", "sqlite"):
        raise NotSupported(
            f"{component.name} cannot be asked: it is of the kind {component.kind}", hint="only a database can be asked"
        )
    try:
        return Question(grammar.sql(wanted.question), grammar.expectation(wanted.expect), "the question")
    except ValueError as error:
        raise Usage(str(error), detail="nothing was started", hint='like --when "SELECT …" --expect ">= 1"') from None


def _began(home: Home, component: Component, wanted: Wanted, by: PersonName | str) -> SearchSeen:
    """The search that these words have begun already and not ended; else a new one, written down."""
    stream = component_stream(component.name)
    new = SearchBegan(
        new_run("search", home.clock.now()), wanted.question.strip(), wanted.expect.strip(), wanted.earliest,
        wanted.latest, by,
    )  # fmt: skip
    open_ones = [one for one in searches(home.journal.read(stream)) if one.ended is None and one.asks(new)]
    if open_ones:
        return open_ones[-1]
    note(home, component.name, new)
    return SearchSeen(new, home.clock.now())


@dataclass
class _Search:
    home: Home
    component: Component
    question: Question
    seen: SearchSeen
    history: History = field(init=False)
    among: Candidates = field(init=False)
    points: list[Point] = field(default_factory=list[Point])
    left_out: list[LeftOut] = field(default_factory=list[LeftOut])
    answers: dict[PointId, AnswerGiven] = field(default_factory=dict[PointId, AnswerGiven])
    restores: int = 0
    known_before: int = 0
    over: OverLog | None = None
    moments: Moments | None = None

    def __post_init__(self) -> None:
        self.id = self.seen.began.search
        self.record = partial(note, self.home, self.component.name)

    def gather(self, wanted: Wanted) -> None:
        """Which points are asked. Raises NoLastGood when there is none."""
        self.history = self.home.history(self.component.name)
        self.among = candidates(self.history, self.component.name)
        for point in sorted(self.among.points, key=taken_order):
            if (wanted.earliest and point.moment < wanted.earliest) or (wanted.latest and point.moment > wanted.latest):
                continue
            if why := self._unfit(point):
                self.left_out.append(LeftOut(point, why))
                continue
            self.points.append(point)
            if (known := self.seen.answers.get((point.id, None))) is not None:
                self.answers[point.id] = known
        self.known_before = len(self.answers)
        if not self.points:
            raise NoLastGood(
                f"there is no point of {self.component.name} that could be asked",
                detail=f"{self.left_out[-1].point.id} {self.left_out[-1].why}" if self.left_out else "there is none",
                hint="see `backstay points`; widen --from and --until",
            )

    def _unfit(self, point: Point) -> str:
        """A marked point is asked as well, if it was only suspected: a person may use it. Not one of another line of
        history, whose answers would say nothing about this one; nor one that no vault has whole."""
        if why := barred(point, [hold for hold in self.among.holds if hold.kind != "suspicious"], self.among.line):
            return why
        holders = set(self.among.held.get(point.id, ()))
        if holders and not holders - spoilt_in(point.id, self.among.proofs):
            return "its bytes are damaged in every vault that has it"
        return ""

    def run(self, screen: Screen) -> Ended:
        while isinstance(step := following(self.verdicts()), Ask):
            point = self.points[step.place]
            total = most(len(self.points))
            title = f"asking {point.id}, {say_moment(point.moment)}: {len(self.answers) + 1} of about {total}"
            with screen(title) as progress:
                self.answers[point.id] = self._ask(point, self._vault(point.id), None, progress)
            self.restores += 1
        return step

    def over_the_log(self, found: Found, precision: timedelta, screen: Screen) -> None:
        good, bad = self.points[found.good], self.points[found.bad]
        known = {at: given for (point, at), given in self.seen.answers.items() if point == good.id and at is not None}
        over = OverLog(self.home, good, bad, self.among, self.history.newest_from(good), precision, known)
        if over.leads_anywhere():
            self.known_before += len(known)
            self.moments, self.over = over.run(self._ask, screen), over
            self.restores += over.restores

    def verdicts(self) -> list[Verdict | None]:
        return [given.verdict if (given := self.answers.get(point.id)) else None for point in self.points]

    def _ask(self, point: Point, vault: VaultName, at: datetime | None, progress: Progress) -> AnswerGiven:
        home = self.home
        routine = Routine(
            run=new_run("question", home.clock.now()),
            component=self.component,
            objectives=home.plan.objectives_of(self.component),
            plan=home.plan.digest,
            keeper=keeper_of(home, self.component, PRIMARY),
            vault=readable(home, vault),
            clock=home.clock,
            progress=progress,
        )
        asking, until = Asking(self.id, self.question, at), home.journal.now() + LONGEST
        began = RoutineBegan(routine.run, "question", VaultName(routine.vault.name), routine.plan, "", until, point.id)

        def act(acting: Acting, note: Note) -> AnswerGiven:
            return ask_point(replace(routine, stop=acting.stop), asking, point.id, scratch(home))

        end = engine.routine(driver(home), self.component.name, began, act, partial(look_asked, asking))
        assert isinstance(end, AnswerGiven), "a question that raises nothing has an answer"
        return end

    def _vault(self, point: PointId) -> VaultName:
        """The nearest that is not known to have lost bytes of it."""
        holders = self.among.held.get(point, ())
        spoilt = spoilt_in(point, self.among.proofs)
        return next(vault for vault in (*(one for one in holders if one not in spoilt), *holders))


# ── what it means ────────────────────────────────────────────────────────────────────────────────


def _told(home: Home, search: _Search, ended: Ended, took: timedelta) -> Sought:
    points, said = search.points, list[str]()
    good = bad = None
    match ended:
        case Found(good_at, bad_at, between, turned):
            good, bad = points[good_at], points[bad_at]
            said.append(
                f"the last known good is {good.id}, of {say_moment(good.moment)}; the first bad one is {bad.id}, of "
                f"{say_moment(bad.moment)}"
            )
            if search.moments is not None and search.over is not None:
                said += say_moments(search.moments, search.over)
            said += _dark(points, between)
            said += _turned(points, turned)
        case StillRight(good_at, newer, turned):
            good = points[good_at]
            what = "the newest point that could be asked" if newer else "the newest point"
            said.append(f"{what}, {good.id} of {say_moment(good.moment)}, still answers right")
            said += _dark(points, newer)
            said += _turned(points, turned)
        case NeverRight(oldest, newest):
            bad = points[oldest]
            said.append(
                f"the answer is wrong at the oldest point, {bad.id}, and at the newest, {points[newest].id}; between "
                "them nobody looked"
            )
        case NothingAsked():
            said.append("no point could be brought up and asked")
    return Sought(
        search.seen.began, search.component, tuple(points), search.answers, tuple(search.left_out), ended,
        search.restores, took, search.known_before, good, bad, search.over, search.moments, tuple(said),
        _usable(home, search, good), tuple(_commands(home, search.component, good, bad, search.moments)),
    )  # fmt: skip


def _dark(points: list[Point], places: tuple[int, ...]) -> list[str]:
    if not places:
        return []
    which = listed(points[place].id for place in places[:3]) + (f" and {len(places) - 3} more" if places[3:] else "")
    return [f"not verified: {count(len(places), 'point')} after it could not be asked, or not all of them: {which}"]


def _turned(points: list[Point], turned: tuple[tuple[int, int], ...]) -> list[str]:
    return [
        f"the answers were not monotone: {points[wrong].id} was wrong, and {points[right].id} after it right again; "
        "there may be other changes that nobody looked at"
        for wrong, right in turned
    ]


def _usable(home: Home, search: _Search, good: Point | None) -> str:
    if good is None:
        return ""
    found = choose(good.id, search.among, home.clock.now())
    if isinstance(found, Chosen):
        return f"a recovery would use it when it is named ({found.because})"
    why = f": {found.reasons[0].why}" if found.reasons else ""
    return f"a recovery would refuse it: {found.why}{why}"


def _commands(
    home: Home, component: Component, good: Point | None, bad: Point | None, moments: Moments | None
) -> list[str]:
    """What a person types next: the recovery to that point, with the range in which it happened; and the mark that
    keeps others from the first bad one."""
    if good is None or bad is None:
        return []
    fitting = [
        scenario.name
        for scenario in home.plan.scenarios.values()
        for phase in scenario.procedure
        for step in phase.steps
        if isinstance(step.verb, Choose | Restore) and step.verb.component == component.name
    ]
    struck = moments or (Moments(good.moment, bad.moment) if good.moment < bad.moment else None)
    when = f" --disaster {exactly(struck.good)}..{exactly(struck.bad)}" if struck else ""
    when += f" --at {exactly(moments.good)}" if moments and moments.good > good.moment else ""
    lines = [
        f"backstay recover {name} --point {component.name}={good.id}{when}" for name in dict.fromkeys(fitting)
    ] or [f"backstay restore {component.name} --point {good.id} --to FOLDER"]
    return [*lines, f'backstay hold {bad.id} --kind suspicious --reason "the first bad one"']
