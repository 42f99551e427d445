"""Any fact: a hypothesis strategy for each type in the table of stored facts, from its fields and their types."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from hypothesis import strategies as st

from backstay.facts import Fact
from backstay.facts.stored import FACTS
from backstay.plan import Json, Ref, Request, Template
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


def _between(one: datetime, other: datetime, source: str) -> Between:
    return Between(min(one, other), max(one, other), source)


def _register() -> None:
    plain: dict[type, st.SearchStrategy[Any]] = {
        datetime: moments,
        timedelta: st.timedeltas(timedelta(-999), timedelta(99_999)),
        Decimal: decimals,
        Template: templates,
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
