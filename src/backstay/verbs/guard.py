"""The guard: a step may only touch the site that its run works on.

A drill is a recovery pointed at a sandbox, by the very steps that would overwrite production. That the ports were put
together rightly is for `app`; that a mistake there destroys nothing is for this wrapper. It refuses a component whose
keeper works at another site, a process that only another site has, and a request to an endpoint of another site.
"""

from collections.abc import Iterator, Mapping
from typing import assert_never
from urllib.parse import urlsplit

from backstay.errors import BackstayError, NotAuthorised
from backstay.facts import Impossible, Outcome, Sight
from backstay.plan import (
    Approve,
    Ask,
    AskPerson,
    CallHttp,
    Check,
    Choose,
    HttpCheck,
    Preserve,
    Ref,
    Request,
    Restore,
    RunCommand,
    Scale,
    Smoke,
    Space,
    Step,
    Tell,
    Wait,
)
from backstay.ports import Acting, World
from backstay.values import SiteName
from backstay.verbs.estate import Estate


class Guarded:
    """A World that refuses what does not belong to the run's site. A look changes nothing, and is let through."""

    def __init__(self, within: World, estate: Estate) -> None:
        self._within, self._estate = within, estate

    def do(self, acting: Acting, step: Step, given: Mapping[str, str]) -> Outcome:
        try:
            strange = trespass(self._estate, step, acting, given)
        except BackstayError:
            strange = None  # a keeper that cannot be made here cannot be in the verb either, which says so better
        if strange is None:
            return self._within.do(acting, step, given)
        error = NotAuthorised(
            f"refused: the step {step.id} would touch {strange}",
            detail=f"this run works on the site {self._estate.site!r} ({self._estate.mode.value})",
            hint="name the target in the site of the run",
        )
        return Impossible(str(error), error.code)

    def look(self, acting: Acting, step: Step, given: Mapping[str, str]) -> Sight:
        return self._within.look(acting, step, given)


def trespass(estate: Estate, step: Step, acting: Acting, given: Mapping[str, str]) -> str | None:
    """What of another site this step would touch, in words. None: nothing."""
    match step.verb:
        case Preserve(component=component) | Restore(component=component) | Ask(component=component):
            site = estate.keeper(component).site
            return None if site == estate.site else f"{component} on the site {site!r}"
        case Scale(workload=workload, kind="process"):
            return _of_others(estate, workload)
        case CallHttp(request=request):
            return next(_foreign(estate, [request], acting, given), None)
        case Smoke(checks=names):
            checks = [estate.plan.smoke[name] for name in names or estate.plan.smoke if name in estate.plan.smoke]
            requests = [request for check in checks for request in _requests(check)]
            return next(_foreign(estate, requests, acting, given), None)
        case Scale() | Choose() | RunCommand() | Approve() | AskPerson() | Tell() | Wait():
            return None
        case _:
            assert_never(step.verb)


def _of_others(estate: Estate, workload: str) -> str | None:
    sites = [site.name for site in estate.plan.sites.values() if workload in site.processes]
    if not sites or estate.site in sites:
        return None
    return f"the process {workload} of the site {sites[0]!r}"


def _requests(check: Check) -> tuple[Request, ...]:
    return (*check.flow, *check.cleanup) if isinstance(check, HttpCheck) else ()


def _foreign(estate: Estate, requests: list[Request], acting: Acting, given: Mapping[str, str]) -> Iterator[str]:
    ours = _addresses(estate, estate.site)
    others = {
        address: site
        for site in estate.plan.sites
        if site != estate.site
        for address in _addresses(estate, site)
        if address not in ours
    }
    if not others:
        return
    words = estate.words(acting, given)

    def look_up(ref: Ref) -> str:
        # What a flow saves is not known yet, and may not decide where a request goes.
        return "" if ref.space is Space.SAVED else words(ref)

    for request in requests:
        try:
            address = _address(request.url.render(look_up))
        except BackstayError:
            continue  # an address that cannot be looked up is not sent to either
        if address in others:
            yield f"{address}, an endpoint of the site {others[address]!r}"


def _addresses(estate: Estate, site: SiteName) -> set[str]:
    """Host and port of every endpoint that is a URL and is written out in the plan. One that is secret is not resolved
    here: another site's secrets need not be at hand."""
    sites = estate.plan.sites
    endpoints = sites[site].endpoints.values() if site in sites else ()  # a drill's sandbox need not be in the plan
    return {_address(str(endpoint)) for endpoint in endpoints if not any(True for _ in endpoint.refs())} - {""}


def _address(url: str) -> str:
    """Host and port, without credentials; empty for what is no URL."""
    try:
        return urlsplit(url).netloc.rpartition("@")[2].lower()
    except ValueError:
        return ""
