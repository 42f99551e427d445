"""What people's answers amount to: approvals, answers, and words on what could not be looked at.

An approval needs M of N distinct people. The one who started the run does not count, nor does anybody who was not
asked. A signed answer counts when the signature holds; a *claimed* one (no signature) is shown and does not count; as
*break-glass* it counts with a written reason, which stays in every report. The same rules hold for *no*, so that nobody
can stop a recovery by claiming a name. A person's last answer is the one that counts.

Whether a signature holds depends on keys, and keys change; what happened does not. So answers are only collected by the
fold. The driver judges them, with the keys of that day, and writes the verdict down as the end of the step.
"""

from collections.abc import Mapping
from typing import Protocol

from backstay.errors import NotAuthorised
from backstay.facts import Impossible, Outcome, PersonAnswered, PersonAsked, RunStarted, Succeeded, canonical
from backstay.machine.states import Event
from backstay.plan import Approve, AskPerson, Step
from backstay.values import PersonName, listed


class Signed(Protocol):
    """Does the signature of this answer hold? Verifying is not the business of the pure core: it is handed in.
    The words that were signed are `approval_words`."""

    def __call__(self, words: bytes, answered: PersonAnswered) -> bool: ...


def nothing_signed(words: bytes, answered: PersonAnswered) -> bool:
    """The Signed of somebody without keys: no signature holds."""
    return False


def approval_words(started: RunStarted, asked: PersonAsked, answer: str) -> bytes:
    """What a person signs: run, step, plan, question, nonce and answer. Made anywhere, also offline."""
    words = {
        "run": started.run, "plan": started.plan, "mode": started.mode.value, "step": asked.step,
        "question": asked.question, "nonce": asked.nonce, "answer": answer,
    }  # fmt: skip
    return b"backstay-approval/1\n" + canonical(words).encode()


def counts(started: RunStarted, asked: PersonAsked, answered: PersonAnswered, signed: Signed) -> bool:
    """Does this answer to an approval count?"""
    if answered.who == started.by or answered.who not in asked.who:
        return False
    if answered.standing == "signed":
        return signed(approval_words(started, asked, answered.answer), answered)
    return answered.standing == "break-glass" and bool(answered.reason.strip())


def verdict(
    started: RunStarted, step: Step, asked: PersonAsked, answers: Mapping[PersonName, PersonAnswered], signed: Signed
) -> Outcome | None:
    """What all answers so far come to. None: it is not settled yet."""
    match step.verb:
        case Approve():
            valid = [one for one in answers.values() if counts(started, asked, one, signed)]
            if refused := [one for one in valid if one.answer == "no"]:
                return Impossible(f"refused: {_said(refused[0])}", NotAuthorised.code)
            agreed = [one for one in valid if one.answer == "yes"]
            if len(agreed) < max(1, asked.needed):
                return None
            return Succeeded("; ".join(map(_said, agreed)), {"answer": "yes", "by": listed(one.who for one in agreed)})
        case AskPerson():
            heard = [one for one in answers.values() if not asked.who or one.who in asked.who]
            return Succeeded(_said(heard[0]), {"answer": heard[0].answer, "by": heard[0].who}) if heard else None
        case _:
            return None


def _said(one: PersonAnswered) -> str:
    how = f"{one.standing}: {one.reason}" if one.reason else one.standing
    return f"{one.who} said {one.answer} ({how})"


def doubt_event(answered: PersonAnswered) -> Event:
    """What a person's word on an act that could not be looked at means. It is testimony, not permission: whoever
    saw it may say it, signed or not."""
    match answered.answer:
        case "happened":
            return Event.SAID_HAPPENED
        case "did-not":
            return Event.SAID_DID_NOT
        case _:
            return Event.ANSWERED
