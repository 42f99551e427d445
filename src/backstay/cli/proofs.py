"""What a proof showed, rung by rung: everything that is not well in full, what is well in short."""

from typing import TYPE_CHECKING

from backstay.facts import CheckResult, NotVerified, Proof, Proven, Refuted, Rung, Verdict, held_elsewhere
from backstay.values import count, listed, say_span
from backstay.verify import content, late, mending, only_bytes_failed

if TYPE_CHECKING:
    from backstay.cli.printing import Page

SIGN = {Verdict.PASSED: "✔", Verdict.FAILED: "✘", Verdict.NOT_VERIFIED: "?"}
WORD = {Verdict.PASSED: "", Verdict.FAILED: "failed: ", Verdict.NOT_VERIFIED: "not verified: "}
STYLE = {Verdict.PASSED: "dim", Verdict.FAILED: "bold red", Verdict.NOT_VERIFIED: "bold yellow"}
MOST_SHOWN = 3
"""So many passed checks of one rung are spelled out; more are counted, unless everything is asked for."""


def say_proof(page: "Page", proof: Proof, details: bool) -> None:
    took = say_span(proof.ended - proof.began)
    took += f"; it is held by {proof.vault}" if held_elsewhere(proof.vault) else ""
    match content(proof), proof.result():
        case Proven(), Proven():
            page.say(f"✔ {proof.component}: {proof.point} is proven, in {took}", "bold green")
        case Proven(), _:
            lacks = (["does not keep its time"] if late(proof) else []) + (["needs a look"] if mending(proof) else [])
            page.say(f"✘ {proof.component}: {proof.point} has sound data, and {listed(lacks)}", "bold red")
        case Refuted(), _:
            where = f" from {proof.vault}: its bytes are damaged there" if only_bytes_failed(proof) else ""
            page.say(f"✘ {proof.component}: {proof.point} is refuted: do not restore it{where}", "bold red")
        case NotVerified(), _:
            page.say(f"? {proof.component}: {proof.point} is not verified", "bold yellow")
        case _:
            raise AssertionError("a result is one of three")
    for rung in Rung:
        _say_rung(page, rung, [check for check in proof.checks if check.rung is rung], details)


def _say_rung(page: "Page", rung: Rung, checks: list[CheckResult], details: bool) -> None:
    passed = [check for check in checks if check.verdict is Verdict.PASSED]
    if not checks:
        page.say(f"  - {rung.value:<9} was not looked at", "dim")
    if len(passed) > MOST_SHOWN and not details:
        page.say(f"  ✔ {rung.value:<9} {count(len(passed), 'check')} passed", "dim")
        checks = [check for check in checks if check.verdict is not Verdict.PASSED]
    for check in checks:
        named = check.said if check.said.startswith(check.name) else f"{check.name}: {check.said}"
        page.say(
            f"  {SIGN[check.verdict]} {rung.value:<9} {check.code}  {WORD[check.verdict]}{named}", STYLE[check.verdict]
        )
