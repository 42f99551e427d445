"""Any fact: a hypothesis strategy for each type in the table of stored facts, from its fields and their types."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from hypothesis import strategies as st

from backstay.facts import Fact
from backstay.facts.stored import FACTS
from backstay.lsn import Lsn
from backstay.plan import AtLsn, AtRestorePoint, AtTime, AtXid, Json, Latest, Ref, Request, Target, Template
from backstay.values import Between

texts = st.text(max_size=8)
moments = st.datetimes(datetime(1970, 1, 1), datetime(2999, 12, 31), timezones=st.just(UTC))  # noqa: DTZ001
decimals = st.decimals(allow_nan=False, allow_infinity=False)
templates = st.lists(texts | st.builds(Ref), max_size=3).map(lambda parts: Template(tuple(parts)))
json_bodies: st.SearchStrategy[Json] = st.recursive(
    st.none() | st.booleans() | decimals | templates,
    lambda inner: st.lists(inner, max_size=2).map(tuple) | st.dictionaries(texts, inner, max_size=2),
    max_leaves=4,
)


# What PostgreSQL could be asked for: names of its restore points, numbers of its transactions.
_names = st.from_regex(r"[a-z][a-z0-9 _'.-]{0,20}[a-z0-9]", fullmatch=True)
targets: st.SearchStrategy[Target] = st.builds(
    Target,
    st.builds(Latest)
    | st.builds(AtTime, moments, st.booleans())
    | st.builds(AtLsn, st.integers(0, (1 << 64) - 1).map(Lsn), st.booleans())
    | st.builds(AtXid, st.integers(3, (1 << 64) - 1), st.booleans())
    | st.builds(AtRestorePoint, _names.filter(lambda name: " on timeline " not in name)),
    st.none() | st.integers(1, 0xFFFFFFFF),
)


def _between(one: datetime, other: datetime, source: str) -> Between:
    return Between(min(one, other), max(one, other), source)


def _register() -> None:
    plain: dict[type, st.SearchStrategy[Any]] = {
        datetime: moments,
        timedelta: st.timedeltas(timedelta(-999), timedelta(99_999)),
        Decimal: decimals,
        Template: templates,
        Target: targets,
        Between: st.builds(_between, moments, moments, texts),
    }
    for kind, strategy in plain.items():
        st.register_type_strategy(kind, strategy)
    st.register_type_strategy(
        Request,
        st.builds(
            Request,
            method=st.sampled_from(["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD"]),
            url=templates,
            expect=st.lists(st.integers(), max_size=2).map(tuple),
            json=json_bodies,
            bearer=st.none() | templates,
            headers=st.dictionaries(texts, templates, max_size=2),
            save=st.dictionaries(texts, texts, max_size=2),
            contains=st.none() | texts,
        ),
    )


_register()

facts: dict[str, st.SearchStrategy[Fact]] = {name: st.from_type(kind) for name, (kind, _) in FACTS.items()}
any_fact: st.SearchStrategy[Fact] = st.one_of(list(facts.values()))
