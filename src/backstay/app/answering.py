"""What people decide about a run: answers, skips, retries, the end."""

import base64
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_ssh_private_key

from backstay import engine
from backstay.app.home import Home
from backstay.app.people import signature_holds, somebody
from backstay.app.recovering import open_run
from backstay.errors import NotAuthorised, Usage
from backstay.facts import PersonAnswered, RunCancelled, StepRetried, StepSkipped
from backstay.incident import Alone, may_declare
from backstay.machine import approval_words, counts, fold
from backstay.plan import Approve
from backstay.values import PersonName, RunId, StepId, listed


@dataclass(frozen=True, slots=True)
class How:
    """What stands behind an answer."""

    reason: str = ""
    sign_with: Path | None = None
    break_glass: bool = False


def answer(home: Home, run: str, step: str, said: str, by: str | None, how: How) -> str:
    """Answer the open question of a step. Raises Usage where nothing was asked, NotAuthorised for a wrong key."""
    id, person = open_run(home, run), somebody(home.plan, by)
    standing: Literal["signed", "claimed", "break-glass"] = "claimed"
    signature = ""
    if how.break_glass:
        if not how.reason.strip():
            raise Usage("breaking the glass needs a written reason", detail="nothing was written", hint="add --reason")
        standing = "break-glass"
    elif how.sign_with is not None:
        signature, standing = _signed(home, id, StepId(step), said, how.sign_with), "signed"
    fact = PersonAnswered(StepId(step), person, said, standing, how.reason, signature)
    if standing == "signed" and not _holds(home, id, fact):
        raise NotAuthorised(f"that key is not the one that the plan names for {person}")
    engine.tell(home.journal, id, fact)
    return f"{person} answered {said!r} ({standing}){_worth(home, id, fact)}; go on with `backstay resume {id}`"


def _worth(home: Home, run: RunId, fact: PersonAnswered) -> str:
    """Why an answer to an approval does not count; empty where it does, or where nothing is to be counted."""
    state = fold(home.journal.read(engine.stream_of(run)))
    one = state.steps[fact.step]
    if not isinstance(one.step.verb, Approve) or one.asked is None:
        return ""
    if counts(state.started, one.asked, fact, signature_holds(home.plan)):
        return "" if fact.answer in ("yes", "no") else "; only yes and no are counted"
    if fact.who == state.started.by:
        return "; it does not count: whoever started a run does not approve it"
    if fact.who not in one.asked.who:
        return f"; it does not count: {listed(one.asked.who, 'or')} was asked"
    return "; it does not count: anybody can type a name, so sign it with --sign-with"


def _words(home: Home, run: RunId, step: StepId, said: str) -> bytes:
    state = fold(home.journal.read(engine.stream_of(run)))
    asked = state.steps[step].asked if step in state.steps else None
    if asked is None:
        raise Usage(
            f"the step {step} of {run} asks nothing",
            detail="nothing was written",
            hint=f"`backstay status` shows who is asked what; every step: `backstay run show {run}`",
        )
    return approval_words(state.started, asked, said)


def _signed(home: Home, run: RunId, step: StepId, said: str, key: Path) -> str:
    try:
        private = load_ssh_private_key(key.read_bytes(), password=None)
    except (OSError, ValueError, TypeError) as error:
        raise Usage(
            f"{key} is not an OpenSSH private key that opens without a passphrase",
            detail="nothing was signed",
            hint="name an ed25519 key; a copy without passphrase: ssh-keygen -p -N '' -f COPY",
        ) from error
    if not isinstance(private, Ed25519PrivateKey):
        raise Usage(
            f"{key} is not an ed25519 key",
            detail="nothing was signed",
            hint="sign with the key whose public half stands in the plan, under people",
        )
    return base64.b64encode(private.sign(_words(home, run, step, said))).decode()


def _holds(home: Home, run: RunId, fact: PersonAnswered) -> bool:
    return signature_holds(home.plan)(_words(home, run, fact.step, fact.answer), fact)


def skip(home: Home, run: str, step: str, by: str | None, reason: str) -> str:
    id, person = open_run(home, run), _in_charge(home, by, reason)
    _refuse_to_skip_approval(home, id, StepId(step))
    engine.tell(home.journal, id, StepSkipped(StepId(step), person, reason))
    return f"{step} is left out; go on with `backstay resume {id}`"


def _refuse_to_skip_approval(home: Home, run: RunId, step: StepId) -> None:
    """Else whoever started a run could leave out the very question that is not his to answer. Raises NotAuthorised."""
    state = fold(home.journal.read(engine.stream_of(run)))
    if step in state.steps and isinstance(verb := state.steps[step].step.verb, Approve):
        raise NotAuthorised(
            f"an approval cannot be skipped: {step} waits for {listed(verb.by, 'or')}",
            detail="whoever was asked may answer it by break-glass, with a written reason",
            hint=f"`backstay run answer {run} {step} yes --by PERSON`; after a *no*, `backstay run retry` asks anew",
        )


def retry(home: Home, run: str, step: str, by: str | None, reason: str) -> str:
    id, person = open_run(home, run), _in_charge(home, by, reason)
    engine.tell(home.journal, id, StepRetried(StepId(step), person, reason))
    return f"{step} is to be tried again; go on with `backstay resume {id}`"


def cancel(home: Home, run: str, by: str | None, reason: str) -> str:
    id, person = open_run(home, run), _in_charge(home, by, reason)
    engine.tell(home.journal, id, RunCancelled(person, reason))
    return f"{id} is cancelled; `backstay resume {id}` writes its end"


def _in_charge(home: Home, by: str | None, reason: str) -> PersonName:
    """Whoever may declare a disaster alone may also decide about its run. Raises NotAuthorised."""
    person = somebody(home.plan, by)
    if not reason.strip():
        raise Usage("a reason is needed: it stays in every report", detail="nothing was written", hint="add --reason")
    if not isinstance(may_declare(home.plan, person), Alone):
        raise NotAuthorised(
            f"{person} may not decide this alone", hint="let somebody decide who may declare a disaster"
        )
    return person
