"""What a recovery will do, told before it is done: every step in order, its target, what it usually takes, what it
destroys, and which point it will start from."""

from collections.abc import Iterable
from datetime import timedelta

from backstay import estimate
from backstay.estimate import Estimate, Unknown
from backstay.history import History
from backstay.plan import Choose, Phase, Step
from backstay.recover.compiling import Good
from backstay.recover.wording import blast_radius, say
from backstay.values import ComponentName, say_moment, say_span
from backstay.verify import Chosen, exact


def explain(
    phases: Iterable[Phase], history: History, good: Good | None = None, promised: timedelta | None = None
) -> tuple[str, ...]:
    """One line for each phase and step, and one for the whole. Lines of steps are indented by two spaces."""
    listed = tuple(phases)
    lines: list[str] = []
    for number, phase in enumerate(listed, 1):
        target = f", within {exact(phase.target)}" if phase.target else ""
        lines.append(f"Phase {number}: {phase.name}{target}")
        lines += [f"  {line}" for step in phase.steps for line in _step(step, history, good)]
    expected = estimate.procedure(history, listed)
    unknown = isinstance(expected, Unknown) and expected.at_least is None
    whole = (
        f"How long the whole takes is {estimate.say(expected)}"
        if unknown
        else f"The whole takes {estimate.say(expected)}"
    )
    against = f"; {exact(promised)} was promised" if promised is not None else ""
    return (*lines, whole + against)


def _step(step: Step, history: History, good: Good | None) -> Iterable[str]:
    expected = estimate.step(history, step)
    usually = f"about {say_span(expected.median)}" if isinstance(expected, Estimate) else "never measured"
    target = f", within {exact(step.target)}" if step.target else ""
    yield f"{step.id}: {say(step.verb)} ({usually}{target})"
    if isinstance(step.verb, Choose) and good is not None:
        yield f"  {_point(step.verb.component, good)}"
        if step.verb.target is None and (left := _left_out(step.verb.component, history, good)):
            yield f"  {left}"
    if (destroys := blast_radius(step)) is not None:
        yield f"  {destroys}"


def _left_out(component: ComponentName, history: History, good: Good) -> str:
    """A recovery ends at its point unless somebody says otherwise: with a mistake in the log, the end of it is no place
    to go to. That there is log is said before anybody confirms."""
    found = good.get(component)
    if not isinstance(found, Chosen) or history.newest_from(found.point) <= found.point.moment:
        return ""
    until = say_moment(history.newest_from(found.point))
    return f"Log is kept after it, up to {until}. It is left out, unless you add --at MOMENT or --latest."


def _point(component: ComponentName, good: Good) -> str:
    found = good.get(component)
    if isinstance(found, Chosen):
        return f"As of now that is {found.point.id}: {found.because}."
    return f"As of now there is none: {found.why if found else 'nobody looked for one'}."
