"""The root of a plan: its sections, in the order in which they are read and printed.

Names are declared before the sections that are built with them: sites and components come before scenarios.
"""

import re
from typing import TypeVar

from backstay.config.forms import ListOf, MapOf, NameOf, Word, a_name
from backstay.config.reading import Named
from backstay.config.sections.components import COMPONENT
from backstay.config.sections.people import AFTER, COMMUNICATION, DECLARATION, PERSON, ROLE, VENDOR
from backstay.config.sections.places import DNS, SITE, VAULT
from backstay.config.sections.scenarios import DRILL, SCENARIO_FORM
from backstay.config.sections.smoke import ALIVE, CHECK, WATCH
from backstay.config.sections.sources import sort_of
from backstay.config.sections.words import DATE, OBJECTIVES, PERIOD, SPAN, TEXT
from backstay.config.spelling import nearest, quoted
from backstay.config.tables import Fields, Key, Table, default, optional, required
from backstay.plan import PRIMARY, Authority, Excluded, Objectives, Plan, Site, System
from backstay.values import (
    ComponentName,
    Digest,
    PersonName,
    RoleName,
    ScenarioName,
    SiteName,
    VaultName,
)

T = TypeVar("T")
VERSION = 1
UNKNOWN_DIGEST = Digest("sha256:" + "0" * 64)


def _version(text: str) -> int:
    if not re.fullmatch(r"\d{1,6}", text):
        raise ValueError(f"{quoted(text)} is not a version of the plan file: write `backstay: {VERSION}`")
    if int(text) != VERSION:
        raise ValueError(f"this plan is written in version {int(text)}; this Backstay reads version {VERSION}")
    return int(text)


def _timezone(text: str) -> str:
    from zoneinfo import ZoneInfo, available_timezones

    if text == "UTC":
        return text
    try:
        if re.fullmatch(r"[A-Za-z0-9_+/-]{1,64}", text):
            return ZoneInfo(text).key
    except (ValueError, KeyError, OSError):  # not found, or the name of a folder of the time zone database
        pass
    near = nearest(text, available_timezones())
    end = f"; did you mean `{near}`?" if near else ": write it like UTC or Europe/Berlin"
    raise ValueError(f"there is no time zone {quoted(text)}{end}")


# ── the system ───────────────────────────────────────────────────────────────────────────────────

NAME = required("name", Word("a name", a_name), "its short name", "shop")
TITLE = optional("title", TEXT, "what people call it", "The Shop", "its name")
PURPOSE = default("purpose", TEXT, "", "what this plan is for", "Restore the shop after a disaster.", "nothing")
OWNER = default("owner", TEXT, "", "who keeps this plan", "DevOps Team", "nobody")
APPROVED_BY = default("approved_by", TEXT, "", "who approved it", "CTO", "nobody")
REVIEWED = optional("reviewed", DATE, "when it was last reviewed", "2026-10-06", "never")
REVIEW_EVERY = optional("review_every", PERIOD, "how often it is reviewed", "1 month", "no promise")
COMPANY = default("company", TEXT, "", "whose it is", "Example Ltd", "nobody's")
SYSTEM = Table(
    "system",
    "a system",
    "What this plan is about.",
    (NAME, TITLE, PURPOSE, OWNER, APPROVED_BY, REVIEWED, REVIEW_EVERY, COMPANY),
    lambda f: System(
        name=f[NAME],
        title=f[TITLE] or f[NAME],
        purpose=f[PURPOSE],
        owner=f[OWNER],
        approved_by=f[APPROVED_BY],
        company=f[COMPANY],
        reviewed=f[REVIEWED],
        review_every=f[REVIEW_EVERY],
    ),
)

WHAT = required("what", TEXT, "what is not protected", "user files")
BECAUSE = required("because", TEXT, "why not", "the platform stores none")
AGREED_BY = required("agreed_by", NameOf(Named.PERSON), "who agreed to that", "cto")
EXCLUDED = Table(
    "excluded",
    "an exclusion",
    "What is not protected, said aloud.",
    (WHAT, BECAUSE, AGREED_BY),
    lambda fields: Excluded(fields[WHAT], fields[BECAUSE], PersonName(fields[AGREED_BY])),
)

# ── the root ─────────────────────────────────────────────────────────────────────────────────────

BACKSTAY = required("backstay", Word("a version", _version, types=("integer",)), "the version of the plan file", "1")
EXTENDS = optional(
    "extends",
    ListOf(Word("the path of a file", str), or_one=True),
    "files whose text this one is laid over: mappings are merged, everything else is replaced",
    "../common.yaml",
    "nothing",
)
TIMEZONE = default("timezone", Word("a time zone", _timezone), "UTC", "of every schedule", "Europe/Berlin", "`UTC`")
SYSTEM_KEY = required("system", SYSTEM, "what this plan is about", "{name: shop}")
OBJECTIVES_KEY = default(
    "objectives",
    OBJECTIVES,
    Objectives(),
    "what was promised for the whole system",
    "{rto: 1h, rpo: 24h, availability: 99.9%}",
    "nothing",
)
TARGETS = default(
    "targets",
    MapOf(SPAN, "parts of a recovery and their times"),
    {},
    "objectives of parts of a recovery",
    "{dns: 5m, certificate: 10m}",
    "none",
)
EXCLUDED_KEY = default(
    "excluded",
    ListOf(EXCLUDED),
    (),
    "what is not protected, said aloud",
    "[{what: user files, because: none are stored, agreed_by: cto}]",
    "nothing",
)
PEOPLE = default(
    "people",
    MapOf(PERSON, "people by name", declares=Named.PERSON),
    {},
    "people by name",
    "{cto: {name: CTO, email: cto@example.com}}",
    "none",
)
ROLES = default(
    "roles",
    MapOf(ROLE, "roles by name", declares=Named.ROLE),
    {},
    "who plays which part",
    "{incident-commander: {primary: devops-lead, backup: cto}}",
    "none",
)
VENDORS = default(
    "vendors", ListOf(VENDOR), (), "on whom a recovery depends", "[{name: AWS, service: cloud}]", "nobody"
)
SITES = default(
    "sites",
    MapOf(SITE, "sites by name", declares=Named.SITE, at_least=1),
    {},
    "where components live",
    "{primary: {api: https://api.example.com}}",
    "`primary`",
)
DNS_KEY = optional(
    "dns", DNS, "the record that leads users to a site", "{zone: example.com, record: api, provider: route53}", "none"
)
VAULTS = required(
    "vaults",
    MapOf(VAULT, "vaults by name", declares=Named.VAULT, at_least=1),
    "where recovery points are kept",
    "{local: ./vault}",
)
WITNESS = optional(
    "witness",
    NameOf(Named.VAULT),
    "the vault that decides which journal goes on after a loss",
    "offsite",
    "the first vault",
)
COMPONENTS = required(
    "components",
    MapOf(COMPONENT, "components by name", declares=Named.COMPONENT, sort=sort_of, at_least=1),
    "what is protected",
    "{database: {postgres: '${env:DATABASE_URL}'}}",
)
SMOKE = default(
    "smoke",
    MapOf(CHECK, "checks by name", declares=Named.CHECK),
    {},
    'what "it works" means',
    '{health: {get: "${site.api}/health"}}',
    "nothing: nobody can tell",
)
WATCH_KEY = optional("watch", WATCH, "how availability is measured", "{every: 1m, checks: [health]}", "not measured")
ALIVE_KEY = optional("alive", ALIVE, "a sign of life for somebody outside", '{ping: "${env:PING_URL}"}', "none")
DECLARATION_KEY = default(
    "declaration",
    DECLARATION,
    (Authority(), ()),
    "how a disaster is declared",
    "{authority: {alone: [cto]}}",
    "by whoever holds the plan",
)
COMMUNICATION_KEY = default(
    "communication", COMMUNICATION, ({}, None, None), "who is told", "{internal: {every: 15m}}", "nobody"
)
AFTER_KEY = default("after", AFTER, ((), {}), "what follows a recovery", "{immediate: within 24h}", "nothing")
SCENARIOS = default(
    "scenarios",
    MapOf(SCENARIO_FORM, "scenarios by name", declares=Named.SCENARIO),
    {},
    "what can happen, beside and over the five that are built in",
    "{flood: {title: Flood, probability: low, impact: high}}",
    "the five",
)
DRILLS = default(
    "drills", ListOf(DRILL), (), "what is rehearsed", "[{scenario: database-loss, every: 3 months}]", "nothing"
)


def _or(fields: Fields, key: Key[T], instead: T) -> T:
    """A required section that could not be read: the rest of the plan is checked all the same."""
    return fields[key] if fields.sound(key) else instead


def _plan(fields: Fields) -> Plan:
    authority, criteria = fields[DECLARATION_KEY]
    audiences, war_room, templates = fields[COMMUNICATION_KEY]
    after, postmortem = fields[AFTER_KEY]
    sites = {SiteName(name): site for name, site in fields[SITES].items()} or {PRIMARY: Site(PRIMARY)}
    witness = fields[WITNESS]
    if fields.sound(SITES) and PRIMARY not in fields.at.reading.known(Named.SITE):
        near = nearest(PRIMARY, sites)
        end = f"; did you mean it by `{near}`?" if near else ": the site where the system normally runs"
        fields.spot(SITES).wrong(f"there is no site `{PRIMARY}`{end}")
    if not fields.given(SITES):
        fields.at.reading.declare(Named.SITE, PRIMARY)
    return Plan(
        digest=UNKNOWN_DIGEST,
        version=VERSION,
        timezone=fields[TIMEZONE],
        system=_or(fields, SYSTEM_KEY, System("unknown", "unknown")),
        objectives=fields[OBJECTIVES_KEY],
        sites=sites,
        vaults={VaultName(name): vault for name, vault in _or(fields, VAULTS, {}).items()},
        components={ComponentName(name): c for name, c in _or(fields, COMPONENTS, {}).items()},
        scenarios={ScenarioName(name): s for name, s in fields[SCENARIOS].items()},
        targets=fields[TARGETS],
        excluded=fields[EXCLUDED_KEY],
        dns=fields[DNS_KEY],
        smoke=fields[SMOKE],
        watch=fields[WATCH_KEY],
        alive=fields[ALIVE_KEY],
        people={PersonName(name): p for name, p in fields[PEOPLE].items()},
        roles={RoleName(name): r for name, r in fields[ROLES].items()},
        vendors=fields[VENDORS],
        authority=authority,
        criteria=criteria,
        audiences=audiences,
        war_room=war_room,
        templates=templates,
        after=after,
        postmortem=postmortem,
        drills=fields[DRILLS],
        witness=None if witness is None else VaultName(witness),
    )


PLAN = Table(
    "plan",
    "a plan",
    "The plan file. Only `backstay`, `system`, `vaults` and `components` are needed.",
    (
        BACKSTAY,
        EXTENDS,
        TIMEZONE,
        SYSTEM_KEY,
        OBJECTIVES_KEY,
        TARGETS,
        EXCLUDED_KEY,
        SITES,
        DNS_KEY,
        VAULTS,
        WITNESS,
        COMPONENTS,
        SMOKE,
        WATCH_KEY,
        ALIVE_KEY,
        PEOPLE,
        ROLES,
        VENDORS,
        DECLARATION_KEY,
        COMMUNICATION_KEY,
        AFTER_KEY,
        DRILLS,
        SCENARIOS,
    ),
    _plan,
)
