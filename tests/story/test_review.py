"""Documents: every section filled, everything escaped, nothing unknown that reads as true.

The files in `documents/` are what the documents of one small story look like, to the letter. Where a sentence was
changed on purpose, write them anew with `BACKSTAY_GOLDEN=write` and read the difference.
"""

import os
import re
from dataclasses import replace
from datetime import date
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from backstay import drill
from backstay.facts import (
    CannotTell,
    DidNot,
    Driving,
    Ended,
    Fact,
    Happened,
    HoldPlaced,
    Impossible,
    Intended,
    JournalOpened,
    LineageBegan,
    Looked,
    Lost,
    PersonAnswered,
    PersonAsked,
    PlanAdopted,
    PointCopied,
    PointMissing,
    ProofGiven,
    RoutineFailed,
    RunCancelled,
    RunEnded,
    Rung,
    StepRetried,
    StepSkipped,
    TryLater,
    Verdict,
)
from backstay.history import History, RunSeen, history, seen_run
from backstay.plan import Mode, Phase, Plan, Scenario
from backstay.review import (
    Document,
    entry,
    evidence,
    html,
    markdown,
    phases_table,
    plan_document,
    post_mortem,
    run_report,
    steps_table,
)
from backstay.review.to_markdown import escape
from backstay.review.tree import (
    Bullets,
    Card,
    Cards,
    Code,
    Link,
    Listing,
    Mark,
    Notice,
    Numbered,
    Pairs,
    Paragraph,
    Section,
    Strong,
    Table,
    Text,
    anchored,
    plain,
)
from backstay.values import Digest, PersonName, PointId, RunId, StepId, VaultName
from fix_story import (
    DATABASE,
    HOUR,
    LOCAL,
    METRICS,
    MINUTE,
    NOW,
    at,
    check,
    happened,
    hold,
    plan,
    point,
    proof,
    recorded,
    run_started,
    unsupported,
    usual_steps,
    whole_story,
)

GOLDEN = Path(__file__).parent / "documents"
FACTS, POINTS, PROOFS = whole_story()
STORY = history(FACTS, {LOCAL: POINTS}, PROOFS)


def whole_plan() -> Plan:
    return plan(components={**plan().components, METRICS: unsupported()})


def live() -> RunSeen:
    run = STORY.run(RunId("r2"))
    assert run is not None
    return run


def of(*streams: str) -> list[Any]:
    return [fact for fact in FACTS if fact.stream in streams]


def documents() -> dict[str, Document]:
    old = drill.stated(
        date(2025, 7, 15), "Full Recovery", HOUR, 58 * MINUTE, passed=True, notes="DNS propagation was slow"
    )
    drilled, incident = STORY.run(RunId("d1")), STORY.incidents[0]
    assert drilled is not None
    return {
        "plan": plan_document(whole_plan(), STORY, NOW, [old]),
        "recovery": run_report(live(), of("run/r2"), STORY),
        "drill": run_report(drilled, of("run/d1"), STORY),
        "evidence": evidence(whole_plan(), live(), of("run/r2"), STORY, NOW),
        "post-mortem": post_mortem(whole_plan(), incident, of("run/r2", "incident/i1"), STORY, NOW),
        "empty plan": plan_document(plan(components={}, scenarios={}, drills=()), History(), NOW),
    }


@pytest.mark.parametrize("name", ["plan", "recovery", "drill", "evidence", "post-mortem"])
def test_a_document_reads_like_this(name: str) -> None:
    made, kept = markdown(documents()[name]), GOLDEN / f"{name}.md"
    if os.environ.get("BACKSTAY_GOLDEN") == "write":
        kept.write_text(made, encoding="utf-8")
    assert made == kept.read_text(encoding="utf-8")


# ── the plan document takes the place of the reference document ─────────────────────────────────────

SECTIONS = """Overview/Purpose Overview/Objectives Overview/Scope Disaster Scenarios Backup Strategy
Backup Strategy/Backup Components Recovery Procedures Testing & Validation
Testing & Validation/Disaster Recovery Drills Testing & Validation/Last Drill Results
Testing & Validation/Backup Verification Testing & Validation/Recovery Time Objectives
Testing & Validation/Recovery Point Objectives Disaster Declaration Disaster Declaration/Authority
Disaster Declaration/Declaration Criteria Disaster Declaration/Declaration Process Communication Plan
Communication Plan/During Disaster Communication Plan/Communication Templates Contacts
Contacts/Disaster Recovery Team Contacts/Vendor Contacts Post-Disaster Actions"""


def titles(document: Document) -> set[str]:
    found: set[str] = set()
    for section in document.blocks:
        if isinstance(section, Section):
            found.add(section.title)
            found |= {f"{section.title}/{inner.title}" for inner in section.blocks if isinstance(inner, Section)}
    return found


def test_every_section_of_the_reference_document_is_there() -> None:
    found = titles(documents()["plan"])
    joined = " ".join(SECTIONS.split())
    for title in sorted(found, key=len, reverse=True):
        joined = joined.replace(title, "")
    assert joined.strip() == ""


COLUMNS = [
    ("Drill Date", "Scenario", "Target RTO", "Actual RTO", "Pass/Fail", "Notes"),
    ("Component", "Target RTO", "Actual RTO (last test)", "Status"),
    ("Data", "Target RPO", "Actual RPO (last test)", "A disaster now", "Status"),
    ("Role", "Primary", "Backup", "Contact"),
    ("Vendor", "Service", "Support Contact", "SLA"),
]


def tables(blocks: Any) -> list[Table]:
    found: list[Table] = []
    for block in blocks:
        if isinstance(block, Table):
            found.append(block)
        elif isinstance(block, Section):
            found += tables(block.blocks)
    return found


@pytest.mark.parametrize("columns", COLUMNS)
def test_every_table_of_the_reference_document_is_there_and_filled(columns: tuple[str, ...]) -> None:
    table = next(one for one in tables(documents()["plan"].blocks) if one.columns == columns)
    assert table.rows


def test_a_plan_with_nothing_in_it_still_makes_a_document() -> None:
    text = markdown(documents()["empty plan"])
    assert "No drill was held yet: nothing here was demonstrated." in text
    assert "✅" not in text
    assert html(documents()["empty plan"])


def test_a_scenario_without_a_procedure_says_so() -> None:
    bare: Scenario = replace(plan().scenarios[live().started.scenario], procedure=())
    text = markdown(plan_document(plan(scenarios={bare.name: bare}), STORY, NOW))
    assert "> ❌ No procedure: The plan names this disaster and has no recovery for it." in text
    empty = replace(bare, procedure=(Phase("later", ()),))
    assert "> ❌ No procedure" in markdown(plan_document(plan(scenarios={bare.name: empty}), STORY, NOW))


def test_a_review_that_is_overdue_is_marked() -> None:
    assert "- **Next Review**: ⚠️ 2026-11-06, overdue\n" in markdown(documents()["plan"])


# ── nothing unknown reads as true ───────────────────────────────────────────────────────────────────


def words(document: Document) -> str:
    return markdown(document)


def test_before_anything_was_shown_nothing_is_marked_as_kept() -> None:
    text = words(plan_document(whole_plan(), History(), NOW))
    assert "✅" not in text
    assert "| Full system | 1 h | ⚠️ not verified: no recovery or drill has restored every component |" in text
    assert "| database | 24 h | ⚠️ not verified: it was never recovered and never drilled | ❌ everything |" in text
    assert "| dns | 5 min | ⚠️ not verified: no step called dns was measured | ⚠️ not verified |" in text


def test_a_part_of_a_recovery_is_measured_by_the_step_of_its_name() -> None:
    timed = plan(targets={"smoke": 3 * MINUTE, "restore": MINUTE})
    text = words(plan_document(timed, STORY, NOW))
    assert "| smoke | 3 min | 4 s (recovery of 2026-11-22) | ✅ kept: 4 s, within 3 min |" in text
    assert "| restore | 1 min | 24 s (recovery of 2026-11-22) | ✅ kept: 24 s, within 1 min |" in text


def cut_short(*ends: tuple[Any, Fact], after: int = 3) -> RunSeen:
    begun = run_started(plan(), "r", at("10:03"), Mode.LIVE)
    facts = list(happened(begun, *usual_steps()[:after]))[:-1]
    run = seen_run(recorded("run/r", *facts, *ends))
    assert run is not None
    assert not run.damage, run.damage
    return run


def test_a_run_that_failed_shows_what_it_did_not_reach() -> None:
    step = StepId("2.2-restore-database")
    run = cut_short(
        (at("10:04"), Intended(step, 1, 1)),
        (at("10:05"), Ended(step, 1, Impossible("E26  no room\n  known: 1 GB is missing\n  try:   make room"), MINUTE)),
        (at("10:05"), RunEnded("failed", "2.2-restore-database: no room")),
    )
    text = words(run_report(run, [], STORY))
    assert "- **Result**: ❌ failed" in text
    assert (
        "| 2.2-restore-database | ❌ failed | unknown | 1 | E26 no room known: 1 GB is missing try: make room |" in text
    )
    assert "| 3.3-smoke | · not reached |  | none |  |" in text
    assert "| 2. Restore | 15 min | ⚠️ not verified | ⚠️ it was not completed |" in text
    assert "| RTO actual | not verified | ⚠️ not verified | not verified: the last smoke step did not pass |" in text
    assert "✅ kept" not in text


def test_a_late_phase_is_marked_and_one_without_a_target_is_not_judged() -> None:
    run = live()
    late = replace(run.started.phases[0], target=2 * MINUTE / 120)
    free = replace(run.started.phases[1], target=None)
    table = phases_table(replace(run, started=replace(run.started, phases=(late, free, run.started.phases[2]))))
    assert [plain(row[3]) for row in table.rows] == ["late", "no target", "in time"]


def test_a_step_that_a_look_found_done_has_no_invented_time() -> None:
    step = StepId("1.1-stop-api")
    begun = run_started(plan(), "r", at("10:03"), Mode.LIVE)
    run = seen_run(recorded(
        "run/r", (at("10:03"), begun), (at("10:03"), Driving("a", 1, at("10:04"))), (at("10:03"), Intended(step, 1, 1)),
        (at("10:05"), Driving("b", 2, at("10:06"))), (at("10:05"), Looked(step, 1, Happened("0 of api run"))),
    ))  # fmt: skip
    assert run is not None
    assert plain(steps_table(run).rows[0][2]) == "2 min, by the clock"
    assert "- 1.1-stop-api was found done by a look; how long it took was not measured." in words(
        run_report(run, [], STORY)
    )


def test_a_damaged_run_is_not_shown_as_whole() -> None:
    run = replace(live(), damage="fact 5 of run/r2 cannot follow")
    assert "> ❌ Journal damaged: What follows is not complete: fact 5 of run/r2 cannot follow." in words(
        run_report(run, [], STORY)
    )


def test_rows_that_differ_from_the_proof_are_counted() -> None:
    fewer = proof(POINTS[0], at("03:30"), check(), counts={"public.tenants": 13, "public.users": 479})
    text = words(run_report(live(), [], history(FACTS, {LOCAL: POINTS}, [*PROOFS, fewer])))
    assert "| public.tenants | 13 | 12 | ⚠️ 1 row fewer |" in text
    assert "| public.users | 479 | 480 | ⚠️ 1 row more |" in text
    assert "| public.lattices | not counted | 40,000 | ⚠️ not verified |" in text


# ── the timeline ────────────────────────────────────────────────────────────────────────────────────

STEP, CTO = StepId("2.2-restore-database"), PersonName("cto")
WRONG = check(Verdict.FAILED, Rung.MEANING, "M01", "tenants: 0; expected >= 1")
TOLD: list[tuple[Fact, tuple[str, str] | None]] = [
    (PlanAdopted(Digest("sha256:" + "ab" * 32), "…", "cto"),
     ("The plan sha256:abababababab… was adopted", "cto")),
    (JournalOpened(2, "j", "db1", None), ("The journal was opened on db1 as epoch 2; no vault could witness it",
                                          "Backstay")),
    (ProofGiven(RunId("p"), proof(point(at("02:00")), at("03:00"), check(), WRONG)),
     ("Recovery point 20261122T020000Z-0a0b0c0d of database REFUTED: M01 tenants: 0; expected >= 1", "Backstay")),
    (RoutineFailed(RunId("b"), 40, "it does not answer\n  try: start it"),
     ("A backup, proof or copy came to nothing: it does not answer", "Backstay")),
    (PointCopied(RunId("c"), LOCAL, VaultName("off-site"), PointId("p1"), 5_000_000, 2 * MINUTE),
     ("Recovery point p1 copied from local to off-site (5.0 MB in 2 min)", "Backstay")),
    (PointMissing(LOCAL, PointId("p1")), ("ALARM: the vault local does not have the recovery point p1", "Backstay")),
    (HoldPlaced(LOCAL, hold(POINTS[0], "suspicious", NOW)),
     ("Recovery point 20261122T020000Z-0a0b0c0d marked suspicious: rows look wrong", "dba-lead")),
    (HoldPlaced(LOCAL, hold(POINTS[0], "released", NOW)),
     ("Recovery point 20261122T020000Z-0a0b0c0d released: rows look wrong", "dba-lead")),
    (LineageBegan(DATABASE, RunId("r"), PointId("p1"), "tl-2"),
     ("The history of database goes on from the point p1, on a new line", "Backstay")),
    (Driving("host1", 1, NOW), None),
    (Intended(STEP, 1, 1), ("2.2-restore-database: began", "Backstay")),
    (Intended(STEP, 2, 1), ("2.2-restore-database: began, attempt 2", "Backstay")),
    (Ended(STEP, 1, TryLater(MINUTE, "the vault is away\nknown: …"), MINUTE),
     ("2.2-restore-database: to be tried again after 1 min: the vault is away", "Backstay")),
    (Ended(STEP, 1, Lost("POST to the provider"), MINUTE),
     ("2.2-restore-database: asked, and never heard back: POST to the provider", "Backstay")),
    (Looked(STEP, 1, DidNot("nothing is there")),
     ("2.2-restore-database: looked, and it had not happened: nothing is there", "Backstay")),
    (Looked(STEP, 1, CannotTell("no answer")),
     ("2.2-restore-database: looked, and could not tell: no answer", "Backstay")),
    (PersonAsked(STEP, (CTO,), "restore now?", "n"), ("2.2-restore-database: asked cto: restore now?", "Backstay")),
    (PersonAnswered(STEP, CTO, "yes", "break-glass", "nobody else awake"),
     ("2.2-restore-database: answered 'yes' (break-glass); reason: nobody else awake", "cto")),
    (StepSkipped(STEP, "cto", "not needed"), ("2.2-restore-database: skipped: not needed", "cto")),
    (StepRetried(STEP, "cto", "there is room now"), ("2.2-restore-database: to be tried again: there is room now",
                                                     "cto")),
    (RunCancelled("cto", "wrong database"), ("Run cancelled: wrong database", "cto")),
    (RunEnded("failed", "no room"), ("Run ended: failed (no room)", "Backstay")),
]  # fmt: skip


@pytest.mark.parametrize(("fact", "told"), TOLD, ids=[str(told and told[0]) for _, told in TOLD])
def test_every_fact_is_one_sentence(fact: Fact, told: tuple[str, str] | None) -> None:
    assert entry(fact) == told


# ── escaping ────────────────────────────────────────────────────────────────────────────────────────

READER = MarkdownIt("commonmark").enable(["table", "strikethrough"])


class Read(HTMLParser):
    """What a browser would see: tags, attributes and words."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self._style = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._style = tag == "style"

    def handle_endtag(self, tag: str) -> None:
        self._style = False

    def handle_data(self, data: str) -> None:
        if not self._style:
            self.words.append(data)

    def text(self) -> str:
        return "".join(self.words)


def one_of_each(text: str) -> Document:
    """The same text in every place where a text can stand."""
    every: tuple[Text, ...] = (text, Strong(text), Code(text), Mark("fail", text + "!"), Link(text, "x"))
    return Document(
        text, text, ((text, text),),
        (
            Section(text, (
                Paragraph((text, Strong(text), Code(text), Mark("warn", "!" + text))),
                Bullets(every), Numbered(every), Listing(text), Notice(Mark("fail", "!" + text), text),
                Pairs(tuple((text, one) for one in every)),
                Table(text, (text, text), tuple((one, one) for one in every)),
                Cards(text, (Card(text, text, Mark("pass", "!" + text), text),)),
            )),
        ),
        ((text, text),),
    )  # fmt: skip


EVIL = [
    "<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "a | b || c", "`code` ``x``", "**bold** _it_ ~~no~~",
    "[link](javascript:alert(1))", "![i](http://x/y.png)", "&lt; &amp; &#60;", "# no heading", "1. no list",
    "- no list", "> no quote", "back\\slash", "$x$", "line\nbreak", "\x00\x1b[31m", "--- | ---", "</style></p>",
    "a\\|b", "1) no list", "+ no list", "= no heading", "\u202egnp.exe",
]  # fmt: skip


@pytest.mark.parametrize("text", EVIL)
def test_no_text_becomes_markup_in_html(text: str) -> None:
    benign, evil = Read(html(one_of_each("word"))), Read(html(one_of_each(text)))
    assert [tag for tag, _ in evil.tags] == [tag for tag, _ in benign.tags]
    for _, attributes in evil.tags:
        assert attributes.keys() <= ALLOWED
        assert str(attributes.get("href") or "#").startswith("#")


ALLOWED = {"lang", "charset", "http-equiv", "content", "name", "class", "href", "id", "aria-label", "aria-hidden",
           "aria-labelledby", "role", "scope", "tabindex"}  # fmt: skip


@pytest.mark.parametrize("text", EVIL)
def test_no_text_becomes_markup_in_markdown(text: str) -> None:
    wanted = [token.type for token in READER.parse(markdown(one_of_each("word")))]
    assert [token.type for token in READER.parse(markdown(one_of_each(text)))] == wanted


def back(source: str) -> str:
    return " ".join(Read(READER.render(source)).text().split())


SPICE = st.sampled_from(list("#-+=*_`~|<>[]()!&;\\$.0123456789 \u00a0"))
LINES = st.text(
    st.one_of(SPICE, st.characters(blacklist_categories=["Cs", "Cc", "Cf", "Zl", "Zp"])), min_size=1, max_size=60
)


@given(LINES)
def test_what_is_escaped_for_markdown_reads_as_it_was(text: str) -> None:
    assert back(escape(text.strip(), start=True)) == " ".join(text.split())


@given(LINES)
def test_a_cell_of_a_table_reads_as_it_was(text: str) -> None:
    page = markdown(Document("t", "", (), (Table("", ("a", "b"), ((text, Code(text)),)),), contents=False))
    cells = re.findall(r"<td>(.*?)</td>", READER.render(page), re.DOTALL)
    assert [" ".join(Read(cell).text().split()) for cell in cells] == [" ".join(text.split())] * 2


@given(LINES)
def test_html_shows_the_text_as_it_was(text: str) -> None:
    page = Read(html(Document("t", "", (), (Paragraph(text),), contents=False)))
    assert " ".join(text.split()) in " ".join(page.text().split())


# ── the HTML file stands alone, and anybody can read it ─────────────────────────────────────────────


@pytest.mark.parametrize("name", list(documents()))
def test_the_file_needs_nothing_else(name: str) -> None:
    page = html(documents()[name])
    read = Read(page)
    assert {tag for tag, _ in read.tags}.isdisjoint({"script", "img", "link", "iframe", "object", "form", "base"})
    assert not [value for _, attributes in read.tags for value in attributes if value in ("src", "style", "srcset")]
    assert "@import" not in page
    assert "url(" not in page
    assert "default-src 'none'" in page


@pytest.mark.parametrize("name", list(documents()))
def test_anybody_can_read_it(name: str) -> None:
    read = Read(html(documents()[name]))
    tags = [tag for tag, _ in read.tags]
    assert tags.count("h1") == 1
    assert tags.count("table") == tags.count("caption")
    assert all(attributes.get("scope") in ("col", "row") for tag, attributes in read.tags if tag == "th")
    levels = [int(tag[1]) for tag in tags if re.fullmatch("h[1-6]", tag)]
    assert all(after - before <= 1 for before, after in pairwise(levels))
    ids = [attributes["id"] for _, attributes in read.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    links = {str(attributes["href"])[1:] for tag, attributes in read.tags if tag == "a"}
    assert links <= set(ids)


def test_a_sign_is_never_alone() -> None:
    with pytest.raises(AssertionError):
        Mark("pass", " ")


def test_sections_of_one_title_have_anchors_of_their_own() -> None:
    twice = anchored(Document("t", "", (), (Section("A b", ()), Section("A b", ()), Section("!", ()))))
    assert [one.anchor for one in twice.blocks if isinstance(one, Section)] == ["a-b", "a-b-2", "section"]
