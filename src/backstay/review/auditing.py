"""What an auditor asks of a recovery test, and what the journal can answer.

One table, one line for every demand; a demand that nothing here can meet stands in it too, as not verified. The list
is the one of `docs/explanation/evidence.md` (DORA, SOC 2, ISO 22301, NIST SP 800-34, NIS2, HIPAA).
"""

from collections.abc import Iterable
from datetime import datetime

from backstay import drill
from backstay.facts import NotVerified, Recorded
from backstay.history import History, RunSeen, components_restored, phase_times, rpo_actual, rto_actual
from backstay.incident import say_between
from backstay.objectives import judge_duration, judge_loss
from backstay.plan import Ask, Choose, Mode, Plan, Preserve, Smoke
from backstay.review import marks
from backstay.review.run_report import not_proved, outcome, rows_back
from backstay.review.tree import Bullets, Code, Document, Mark, Section, Table, Text, plain
from backstay.values import count, listed, say_moment, say_span
from backstay.verify import content

_UNKNOWN = "this version does not record it"


def evidence(plan: Plan, run: RunSeen, facts: Iterable[Recorded], history: History, now: datetime) -> Document:
    """The evidence summary of one run."""
    recorded = tuple(facts)
    rows = tuple(
        (f"{number}. {what}", *said) for number, (what, said) in enumerate(_lines(plan, run, recorded, history), 1)
    )
    return Document(
        title=f"Evidence: {run.started.title}",
        subtitle=f"Run {run.id} ({run.started.mode.value})",
        facts=(("Result", outcome(run)), ("Written", say_moment(now))),
        blocks=(
            Table("What an auditor asks, and what the journal shows", ("Demand", "Shown", "Evidence"), rows),
            Section("What This Pack Does Not Prove", (Bullets(tuple(not_proved(run))),)),
        ),
        footer=(("Run", Code(run.id)), ("Plan tested", Code(run.started.plan))),
        contents=False,
    )


Line = tuple[str, tuple[Text, Text]]


def _lines(plan: Plan, run: RunSeen, facts: tuple[Recorded, ...], history: History) -> Iterable[Line]:
    yield "Plan", _plan(plan, run)
    yield (
        "Scope",
        _yes(
            f"{count(len(run.started.components), 'component')}: {listed(run.started.components) or 'none'}; "
            f"left out of the plan: {listed(one.what for one in plan.excluded) or 'nothing'}"
        ),
    )
    yield "Scenario", _part(f"{run.started.title}; announced or not: {_UNKNOWN}")
    yield "Authority", _authority(run, history)
    yield "Participants", _part(f"started by {run.started.by}; who else took part: {_UNKNOWN}")
    yield "Recovery points", _points(run, history)
    yield "Target", _target(run)
    yield "Timeline", _yes(f"{count(len(facts), 'fact')} with times in UTC, and attempts, in the run's report")
    yield "RTO", _rto(run)
    yield "RPO", _rpo(run)
    yield "Integrity", _integrity(run, history)
    yield "Sufficient period", _no("how long the service was exercised is not measured")
    yield "Return to normal", _no("no failback was part of this run")
    yield "Communications", _communications(run, history)
    yield "Exceptions", _exceptions(run)
    yield "Findings", _no("findings and their owners are written by people, in the post-mortem")
    yield "Plan revision", _no("a plan changed because of this run is not linked to it")
    yield "Tool", _no("the version of the tool is not recorded")
    yield "Tamper evidence", _tamper(facts)
    yield "Programme", _programme(plan, history, run)


def _yes(said: Text) -> tuple[Text, Text]:
    return Mark("pass", "shown"), said


def _part(said: Text) -> tuple[Text, Text]:
    return Mark("warn", "in part"), said


def _no(why: str) -> tuple[Text, Text]:
    return Mark("warn", "not verified"), why


def _plan(plan: Plan, run: RunSeen) -> tuple[Text, Text]:
    approved = plan.system.approved_by or "nobody is named"
    same = "the plan of today" if plan.digest == run.started.plan else "the plan has changed since"
    return _part(f"{run.started.plan}, {same}; approved by {approved}; the approval itself is not signed")


def _authority(run: RunSeen, history: History) -> tuple[Text, Text]:
    declared = history.incident(run.started.incident) if run.started.incident else None
    if declared is None:
        return _no(f"the run belongs to no declared incident; it was started by {run.started.by}")
    fact = declared.declared
    met = listed(f"{name} ({fact.readings[name]})" if name in fact.readings else name for name in fact.criteria)
    drilled = "; marked as a drill" if run.started.mode is Mode.DRILL else ""
    return _yes(
        f"declared by {fact.by} ({fact.standing}) at {say_moment(declared.at)}; {met or 'no criteria'}{drilled}"
    )


def _points(run: RunSeen, history: History) -> tuple[Text, Text]:
    found: list[str] = []
    for seen in run.steps:
        if isinstance(seen.step.verb, Choose) and seen.done:
            point = next((held.point for held in history.points if held.point.id == seen.values.get("point")), None)
            taken = f", taken {say_moment(point.began)} by {point.writer}" if point else ""
            found.append(f"{seen.values.get('point', '?')} ({seen.step.verb.component}{taken})")
    return _yes(listed(found)) if found else _no("no recovery point was chosen")


def _target(run: RunSeen) -> tuple[Text, Text]:
    if run.started.mode is Mode.DRILL:
        return _part(f"a sandbox, made for it and erased afterwards; its segregation: {_UNKNOWN}")
    return _yes(f"the site {run.started.site}")


def _rto(run: RunSeen) -> tuple[Text, Text]:
    actual = rto_actual(run)
    if isinstance(actual, NotVerified):
        return _no(actual.why)
    parts = "; ".join(
        f"{phase.name} {say_span(phase.took) if phase.took is not None else 'not verified'}"
        for phase in phase_times(run)
    )
    return marks.standing(judge_duration(run.started.objectives.rto, actual).standing), f"{say_span(actual)} ({parts})"


def _rpo(run: RunSeen) -> tuple[Text, Text]:
    restored = components_restored(run)
    judged = [judge_loss(run.started.objectives.rpo, rpo_actual(run, name)) for name in restored]
    if not judged:
        return _no("the procedure restores nothing")
    worst = min(judged, key=lambda one: list(type(one.standing)).index(one.standing))
    said = "; ".join(f"{name}: {one.sentence}" for name, one in zip(restored, judged))
    return marks.standing(worst.standing), f"{said}; the disaster struck {say_between(run.started.disaster)}"


def _integrity(run: RunSeen, history: History) -> tuple[Text, Text]:
    found: list[str] = []
    for name in components_restored(run):
        rows = rows_back(run, name)
        asked = any(isinstance(s.step.verb, Ask) and s.step.verb.component == name and s.done for s in run.steps)
        proofs = [proof for proof in history.proofs_of(name) if proof.ended <= run.at]
        proved = (
            f"proof of {say_moment(proofs[-1].ended)}: {plain(marks.proved(content(proofs[-1])))}" if proofs else ""
        )
        counted = f"{count(sum(rows.values()), 'row')} counted" if rows else "rows not counted"
        questions = "questions answered as expected" if asked else "no questions asked"
        found.append(f"{name}: {counted}, {questions}, {proved}")
    return _yes("; ".join(found)) if found else _no("nothing was restored")


def _communications(run: RunSeen, history: History) -> tuple[Text, Text]:
    incident = history.incident(run.started.incident) if run.started.incident else None
    if incident is None or not incident.messages:
        return _no("no message was recorded")
    said = "; ".join(
        f"{fact.audience} ({fact.template}) at {say_moment(at)}" + ("" if fact.sent else f", not sent: {fact.why}")
        for at, fact in incident.messages
    )
    return _yes(said) if all(fact.sent for _, fact in incident.messages) else _part(said)


def _exceptions(run: RunSeen) -> tuple[Text, Text]:
    skipped = [seen for seen in run.steps if seen.state.value == "skipped"]
    lenient = [s for s in skipped if isinstance(s.step.verb, Preserve) and not s.step.verb.required]
    if not skipped:
        return _yes("no step was skipped")
    allowed = f"; {count(len(lenient), 'step')} the plan allows to miss" if lenient else ""
    return Mark("warn", "skipped"), f"{listed(seen.step.id for seen in skipped)}{allowed}"


def _tamper(facts: tuple[Recorded, ...]) -> tuple[Text, Text]:
    if not facts:
        return _no("the run has no facts")
    return _yes((f"hash chain up to {facts[-1].digest}; check it with ", Code("backstay journal verify")))


def _programme(plan: Plan, history: History, run: RunSeen) -> tuple[Text, Text]:
    held = [one for one in history.runs if one.started.mode in (Mode.DRILL, Mode.TABLETOP)]
    failed = [one for one in held if isinstance(drill.result(one), drill.Failed)]
    smoke = any(isinstance(seen.step.verb, Smoke) for seen in run.steps)
    said = f"{count(len(plan.drills), 'drill')} planned, {len(held)} held, {len(failed)} failed"
    return _yes(said if smoke else f"{said}; this procedure has no smoke step")
