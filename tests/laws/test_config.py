"""Whatever the text, there is a plan, or problems whose places lie in it; never anything else, and not for long."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backstay import config
from backstay.config.syntax import Unreadable, decoded
from backstay.errors import PlanInvalid
from fix_plans import PLANS

REFERENCE = (PLANS / "good/reference.yaml").read_text()
LINES = REFERENCE.split("\n")
NAME = str(Path("backstay.yaml"))


def sane(text: str) -> None:
    """Each problem lies in the text, and there is a plan exactly when there is no problem."""
    found = config.problems(text, NAME)
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    for problem in found:
        assert problem.file == NAME
        assert problem.path.startswith("$")
        assert 1 <= problem.line <= len(lines), str(problem)
        assert 1 <= problem.column <= len(lines[problem.line - 1]) + 1, str(problem)
        assert "\n" not in problem.message
        assert "built-in:" not in str(problem)
    if found:
        with pytest.raises(PlanInvalid) as caught:
            config.parse(text, NAME)
        assert caught.value.detail == "\n".join(map(str, found))
    else:
        assert config.parse(text, NAME).digest


@pytest.mark.parametrize("first", range(0, len(LINES), 20))
def test_a_missing_line_is_never_a_surprise(first: int) -> None:
    for number in range(first, min(first + 20, len(LINES))):
        config.problems("\n".join(LINES[:number] + LINES[number + 1 :]), NAME)


def mangled(line: str, how: int, chance: int) -> list[str]:
    """What a slip of the hand may leave of a line."""
    middle = chance % (len(line) + 1)
    match how:
        case 0:
            return []
        case 1:
            return [line, line]
        case 2:
            return [line.upper()]
        case 3:
            return [line[::-1]]
        case 4:
            return [" " * (chance % 7) + line]
        case 5:
            return [line[chance % 9 :]]
        case 6:
            return [line[:middle]]
        case 7:
            return ["\t" + line]
        case 8:
            return [line.replace(":{}[]\"',#$"[chance % 10], "")]
        case 9:
            return [line[:middle] + ":{}[]\"',#$&*!|>%@`?-"[chance % 19] + line[middle:]]
        case _:
            return [line.replace("e", "é" if chance % 2 else "")]


SLIPS = st.lists(
    st.tuples(st.integers(0, len(LINES) - 1), st.integers(0, 10), st.integers(0, 10_000)), min_size=1, max_size=4
)


@given(SLIPS)
def test_a_mangled_plan_is_a_plan_or_problems_with_places(slips: list[tuple[int, int, int]]) -> None:
    lines = [[line] for line in LINES]
    for number, how, chance in slips:
        lines[number] = mangled("".join(lines[number]), how, chance)
    sane("\n".join(line for several in lines for line in several))


@given(st.text())
def test_any_text_is_a_plan_or_problems_with_places(text: str) -> None:
    sane(text)


@given(st.text(alphabet="ab:-{}[],&*!|>'\"#%@`?$ \n\t0", max_size=200))
def test_any_text_of_signs_is_a_plan_or_problems_with_places(text: str) -> None:
    sane(text)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_plan_or_problems(data: bytes) -> None:
    try:
        text = decoded(data, NAME)
    except Unreadable as error:
        assert_within(error.problem.line, data)
    else:
        sane(text)


def assert_within(line: int, data: bytes) -> None:
    assert 1 <= line <= data.count(b"\n") + 1


ALIASES = "a0: &a0 [x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 8)}]\n" for i in range(1, 40)
)
UNKNOWN = "vaults: {w: ./w}\ncomponents:\n" + "".join(f"  c{i}: {{sqlite: ./a, vaults: [v{i}]}}\n" for i in range(600))


@pytest.mark.parametrize(
    "text",
    [
        "a: " + "[" * 100_000,
        "a: " + "{a: " * 50_000,
        "? " * 50_000,
        "- " * 50_000,
        ": " * 50_000,
        "\n".join(" " * depth + "a:" for depth in range(500)),
        "a: " + "x" * 500_000,
        "a: &a [*a, *a]\n",
        "a: '" + "${env:A}" * 2_000 + "'",
        "a: '" + "://:" * 4_000 + "'",
        "a: '" + "token" * 4_000 + "'",
        "a: '" + "a" * 10_000 + "://" + ":" * 9_000 + "'",
        "#" * 500_000,
        "x" * 2_000_000,
        ALIASES,
        UNKNOWN,
    ],
    ids=lambda text: f"{text[:12]!r}",
)  # fmt: skip
def test_a_hostile_text_costs_no_more_than_its_length(text: str) -> None:
    """Each of these would take minutes, or all of the stack, if somebody were careless."""
    assert config.problems(text, NAME)
