"""`ask`: the plan's own questions, to the component that was just restored and is up. Reads only.

What it counts goes into the outcome (`rows.<table>`, `newest`), where the review finds what came back. A question whose
answer is wrong stops the run: nobody opens a system whose data is known to be bad.
"""

from collections.abc import Mapping
from datetime import datetime

from backstay.errors import BackstayError, Cancelled, NotSupported, PointNotVerified, PointRefuted, SourceDown
from backstay.facts import Outcome, Succeeded, Verdict
from backstay.plan import Ask, Component
from backstay.ports import Answers
from backstay.values import count, from_stamp, stamp
from backstay.verbs.estate import Scene
from backstay.verbs.routine import moment_of
from backstay.verify import evaluate

MOST_TABLES = 500
"""More are counted, and not listed one by one: an outcome is a fact, and is kept for ever."""


def do(scene: Scene) -> Outcome:
    """Raises PointRefuted, PointNotVerified, and what the keeper raises."""
    verb = scene.step.verb
    assert isinstance(verb, Ask)
    component = scene.estate.plan.component(verb.component)
    with scene.estate.keeper(verb.component).keeper.live() as answers:
        _judge(scene, component, answers)
        values = {**_counted(answers), **_newest(component, answers)}
    asked = count(len(component.prove.ask), "question")
    said = f"{asked} answered as expected" if component.prove.ask else "the plan asks no questions of it"
    if "rows" in values:
        said += f"; {count(int(values['rows']), 'row')} in {count(int(values['tables']), 'table')}"
    return Succeeded(f"{verb.component}: {said}", values)


def _judge(scene: Scene, component: Component, answers: Answers) -> None:
    moment = _moment(scene, component)
    failed: list[str] = []
    unsure: list[str] = []
    for question in component.prove.ask:
        try:
            verdict, said = evaluate(question.expect, answers.ask(question.sql), moment)
        except (Cancelled, SourceDown):
            raise
        except BackstayError as error:
            verdict, said = Verdict.NOT_VERIFIED, f"no answer: {error.message}"
        if verdict is Verdict.FAILED:
            failed.append(f"{question.name}: {said}")
        elif verdict is Verdict.NOT_VERIFIED:
            unsure.append(f"{question.name}: {said}")
    if failed:
        raise PointRefuted(
            f"{component.name} came back with data that is not right",
            detail="; ".join(failed + unsure),
            hint="choose an older point; the state before the restore is kept aside",
        )
    if unsure:
        raise PointNotVerified(f"{component.name} could not be asked everything", detail="; ".join(unsure))


def _moment(scene: Scene, component: Component) -> datetime:
    """What the restored point brings back: `within 24h` is measured from there. Without a restore in this run: now."""
    for key, value in scene.given.items():
        step, _, name = key.rpartition(".")
        if name == "chosen" and value == component.name and (moment := scene.given.get(f"{step}.moment")):
            return from_stamp(moment)
    return scene.estate.clock.now()


def _counted(answers: Answers) -> Mapping[str, str]:
    try:
        counts = answers.counts()
    except NotSupported:
        return {}
    largest = sorted(counts, key=lambda table: (-counts[table], table))[:MOST_TABLES]
    totals = {"rows": str(sum(counts.values())), "tables": str(len(counts))}
    return totals | {f"rows.{table}": str(counts[table]) for table in sorted(largest)}


def _newest(component: Component, answers: Answers) -> Mapping[str, str]:
    """The component's own `newest`; absent where the plan has no such question, or its answer is no moment."""
    if component.newest is None:
        return {}
    found = moment_of(answers.ask(component.newest))
    return {"newest": stamp(found)} if found else {}
