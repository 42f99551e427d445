"""Laws of facts: what is written is what is read, whatever is read raises only errors of ours, chains find changes."""

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backstay.adapters.memory.clock import BEGINNING, MemoryClock
from backstay.adapters.memory.journal import MemoryJournal
from backstay.errors import BackstayError, ClockWentBack, JournalDamaged, JournalNewer
from backstay.facts import (
    NO_FACTS,
    Fact,
    Head,
    Noted,
    Spine,
    canonical,
    log_after,
    read_fact,
    read_spine,
    spine_digest,
    write_fact,
    write_spine,
)
from backstay.facts.audit import Finding, Flaw, Row, audit, next_moment, next_row
from backstay.facts.stored import FACTS
from backstay.machine import RunState, State, decide, evolve
from backstay.values import Digest, StreamName, digest_of
from fix_engine import SECOND, run_of, step
from fix_facts import any_fact, facts

X, Y = StreamName("component/x"), StreamName("run/y")

# ── the stored form ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", FACTS)
def test_what_is_written_is_what_is_read(name: str) -> None:
    @given(facts[name])
    def law(fact: Fact) -> None:
        line = write_fact(fact)
        assert read_fact(line) == fact
        assert line.isascii()
        assert line == canonical(json.loads(line)), "written in any other way the digest would differ"
        assert json.loads(line)["fact"] == name

    law()


def test_every_kind_of_fact_is_stored_under_one_name() -> None:
    kinds = [kind for kind, _ in FACTS.values()]
    assert len(set(kinds)) == len(kinds)
    assert set(kinds) == set(Fact.__args__)


junk = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4) | st.just("9" * 30),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=4), inner, max_size=2),
    max_leaves=4,
)


def _spoilt(draw: st.DrawFn, stored: Any) -> Any:
    """The same JSON with something, somewhere, dropped, added or replaced."""
    if isinstance(stored, dict) and stored and draw(st.booleans()):
        changed: dict[str, Any] = dict(stored)  # pyright: ignore[reportUnknownArgumentType]
        key = draw(st.sampled_from(sorted(changed)))
        match draw(st.sampled_from(["drop", "add", "in"])):
            case "drop":
                del changed[key]
            case "add":
                changed[draw(st.text(max_size=3))] = draw(junk)
            case _:
                changed[key] = _spoilt(draw, changed[key])
        return changed
    if isinstance(stored, list) and stored and draw(st.booleans()):
        return [_spoilt(draw, item) for item in stored]  # pyright: ignore[reportUnknownVariableType]
    return draw(junk)


@st.composite
def spoilt_lines(draw: st.DrawFn) -> str:
    return json.dumps(_spoilt(draw, json.loads(write_fact(draw(any_fact)))))


@given(st.text() | spoilt_lines() | junk.map(json.dumps))
def test_reading_anything_raises_only_errors_of_ours(line: str) -> None:
    try:
        fact = read_fact(line)
    except BackstayError:
        return
    assert read_fact(write_fact(fact)) == fact


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ("", JournalDamaged),
        ("[]", JournalDamaged),
        ("{}", JournalDamaged),
        ('{"fact": 3}', JournalDamaged),
        ('{"fact": "noted/1", "by": "a"}', JournalDamaged),
        ('{"fact": "noted/1", "by": "a", "text": "b", "more": 1}', JournalDamaged),
        ('{"fact": "noted/2", "by": "a", "text": "b"}', JournalNewer),
        ("[" * 100_000, JournalDamaged),
        ('{"fact": "noted/1", "by": ' + "9" * 5000 + "}", JournalDamaged),
    ],
)
def test_damage_is_told_from_a_newer_version(line: str, error: type[BackstayError]) -> None:
    with pytest.raises(error):
        read_fact(line)


def test_the_stored_form_never_changes() -> None:
    """Facts of the first version, as they were written on the day it came out."""
    started = run_of([step("1.1-a")])
    assert write_fact(started) == (
        '{"by":"starter","components":["database"],"declared":"2026-11-22T20:44:37.000000Z","disaster":null,'
        '"fact":"run-started/1","incident":null,"mode":"live","objectives":{"availability":null,"rpo":null,"rto":null},'
        '"phases":[{"name":"phase 1","steps":[{"do":{"checks":[],"verb":"smoke"},"id":"1.1-a","look":[],"name":"",'
        '"needs":[],"repeatable":false,"retries":2,"target":null,"timeout":3600000000}],"target":null}],'
        '"plan":"sha256:64879f7d6b960a01909762d911a32d4582c20010c5641ee90278b644a9e3b525","run":"recovery-1",'
        '"scenario":"database-loss","site":"primary","title":"Database corruption or loss"}'
    )
    assert write_fact(Noted("ann", "ü")) == '{"by":"ann","fact":"noted/1","text":"\\u00fc"}'


# ── the fold ─────────────────────────────────────────────────────────────────────────────────────


@given(st.lists(any_fact, max_size=6))
def test_folding_anything_gives_a_state_or_says_that_it_is_damaged(told: list[Fact]) -> None:
    clock = MemoryClock()
    journal = MemoryJournal(clock)
    journal.append(Y, [run_of([step("1.1-a")], [step("2.1-b")]), *told], expected=0)
    run: RunState | None = None
    for recorded in journal.read(Y):
        try:
            run = evolve(run, recorded)
        except JournalDamaged:
            return
        decide(run, recorded.at)
        assert all(one.state in State for one in run.steps.values())


# ── the chain ────────────────────────────────────────────────────────────────────────────────────


def chain(stream: StreamName, length: int) -> list[Row]:
    rows: list[Row] = []
    for number in range(length):
        at = BEGINNING + number * SECOND
        rows.append(next_row(stream, rows[-1] if rows else None, at, write_fact(Noted("ann", f"{number}"))))
    return rows


def heads_of(rows: list[Row]) -> dict[StreamName, Head]:
    return {row.stream: Head(row.seq, row.digest) for row in rows}


def spine_of(rows: list[Row], number: int = 1, before: Digest | None = None) -> Spine:
    log = log_after(NO_FACTS, [row.digest for row in rows])
    return Spine("j", 1, number, BEGINNING, before or digest_of(b""), len(rows), log, True, heads_of(rows), "key")


def damage(rows: list[Row], *, heads: list[Row] | None = None, sealed: list[Row] | None = None) -> list[Finding]:
    spines = [spine_of(sealed)] if sealed else []
    return [found for found in audit(rows, heads_of(heads or rows), spines) if found.damage]


def test_what_was_not_touched_is_sound_and_its_tail_verified_only_by_a_seal() -> None:
    rows = [*chain(X, 5), *chain(Y, 2)]
    assert damage(rows, sealed=rows) == []
    assert audit(rows, heads_of(rows), [spine_of(rows)]) == []
    tails = audit(rows, heads_of(rows), [])
    assert [(one.stream, one.seq, one.flaw) for one in tails] == [(X, 0, Flaw.TAIL), (Y, 0, Flaw.TAIL)]
    (tail,) = audit(rows, heads_of(rows), [spine_of([*rows[:3], *rows[5:]])])
    assert (tail.stream, tail.seq, tail.flaw) == (X, 3, Flaw.TAIL)


@given(st.integers(0, 4), st.sampled_from(["body", "at", "digest", "before"]))
def test_a_change_is_found_where_it_is(place: int, field: str) -> None:
    rows = chain(X, 5)
    changes: dict[str, Any] = {
        "body": write_fact(Noted("mallory", "0")),
        "at": BEGINNING,
        "digest": digest_of(b"x"),
        "before": digest_of(b"y"),
    }
    if changes[field] == getattr(rows[place], field):
        return
    rows[place] = replace(rows[place], **{field: changes[field]})
    found = damage(rows)
    assert (found[0].seq, found[0].flaw) == (place + 1, Flaw.CHANGED)


@given(st.integers(0, 4), st.integers(1, 5))
def test_a_removed_fact_is_found(place: int, length: int) -> None:
    rows = chain(X, 5)
    left = rows[:place] + rows[place + length :]
    found = damage(left, heads=rows)
    if not left:
        assert [(one.seq, one.flaw) for one in found] == [(1, Flaw.MISSING)]
    elif place + length < 5:
        assert [(one.seq, one.flaw) for one in found] == [(place + 1, Flaw.REMOVED)]
    else:
        assert [(one.seq, one.flaw) for one in found] == [(place + 1, Flaw.MISSING)]


@given(st.integers(0, 4), st.integers(0, 4))
def test_facts_that_changed_places_are_found(one: int, other: int) -> None:
    if one == other:
        return
    rows = chain(X, 5)
    rows[one], rows[other] = replace(rows[other], seq=one + 1), replace(rows[one], seq=other + 1)
    found = damage(rows, heads=chain(X, 5))
    assert {(each.seq, each.flaw) for each in found} >= {(one + 1, Flaw.REORDERED), (other + 1, Flaw.REORDERED)}


def test_a_stream_cut_off_is_found_by_its_head_or_by_a_seal() -> None:
    rows = chain(X, 5)
    (found,) = damage(rows[:3], heads=rows)
    assert (found.seq, found.flaw) == (4, Flaw.MISSING)
    (found,) = damage(rows[:3], heads=rows[:3], sealed=rows)
    assert (found.seq, found.flaw) == (4, Flaw.MISSING)
    assert "facts 4 to 5 are missing" in found.said


def test_a_stream_that_is_gone_is_found() -> None:
    rows = [*chain(X, 5), *chain(Y, 2)]
    (found,) = damage(rows[:5], heads=rows)
    assert (found.stream, found.flaw) == (Y, Flaw.MISSING)
    (found,) = damage(rows[:5], heads=rows[:5], sealed=rows)
    assert (found.stream, found.flaw) == (Y, Flaw.MISSING)


def test_a_whole_chain_computed_anew_is_found_by_a_seal() -> None:
    rows = chain(X, 5)
    forged: list[Row] = []
    for row in rows:
        body = row.body if row.seq < 3 else write_fact(Noted("mallory", "it never happened"))
        forged.append(next_row(X, forged[-1] if forged else None, row.at, body))
    assert damage(forged) == []
    (found,) = damage(forged, sealed=rows)
    assert (found.seq, found.flaw) == (5, Flaw.CHANGED)
    assert "spine 1" in found.said


def test_spines_that_do_not_hold_together_are_found() -> None:
    rows = chain(X, 2)
    one = spine_of(rows)
    two = spine_of(rows, 2, spine_digest(one))
    assert audit(rows, heads_of(rows), [one, two]) == []
    for wrong in (replace(two, before=digest_of(b"")), replace(two, number=3), replace(two, signer="another")):
        (found,) = audit(rows, heads_of(rows), [one, wrong])
        assert found.flaw is (Flaw.GAP if wrong.number == 3 else Flaw.SPINE)


def test_a_spine_is_read_as_it_was_written() -> None:
    spine = spine_of(chain(X, 3))
    assert read_spine(write_spine(spine)) == spine
    for wrong in (b"", b"[]", b"{}", b"\xff", b'{"journal": 3}'):
        with pytest.raises(JournalDamaged):
            read_spine(wrong)


def test_a_clock_that_is_a_little_behind_is_smoothed_and_one_that_is_far_behind_is_refused() -> None:
    assert next_moment(X, None, BEGINNING) == BEGINNING
    assert next_moment(X, BEGINNING, BEGINNING + SECOND) == BEGINNING + SECOND
    assert next_moment(X, BEGINNING, BEGINNING - 60 * SECOND) == BEGINNING
    with pytest.raises(ClockWentBack, match="1 min"):
        next_moment(X, BEGINNING, BEGINNING - 61 * SECOND)
