"""The small languages of a plan: text to value. `docs/reference/grammars.md` has each as EBNF.

Every function raises ValueError with a sentence for people. A message quotes what was written only where it cannot be
a secret: a template is never quoted beyond its `${…}`.
"""

import base64
import binascii
import re
from datetime import timedelta
from decimal import Decimal
from typing import Literal, cast

from backstay import values
from backstay.config.spelling import nearest, quoted
from backstay.plan import Compare, Expectation, OneOf, Ref, Space, Template, Within
from backstay.values import Period

# ── lengths of time ──────────────────────────────────────────────────────────────────────────────

_UNIT_WORDS = (
    "ms", "s", "second", "seconds", "m", "min", "minute", "minutes", "h", "hour", "hours", "d", "day", "days",
    "w", "week", "weeks", "month", "months", "quarter", "quarters", "year", "years",
)  # fmt: skip
_OTHER_UNITS = {"sec": "s", "secs": "s", "mins": "m", "hr": "h", "hrs": "h", "mo": "month", "mon": "month", "y": "year"}


def duration(text: str) -> Period:
    """`30m`, `1h 30m`, `1 month`."""
    try:
        return values.period(text)
    except ValueError:
        for unit in re.findall(r"[^\W\d_]+", text.lower()):
            if unit not in _UNIT_WORDS:
                meant = _OTHER_UNITS.get(unit) or nearest(unit, _UNIT_WORDS)
                end = f"; did you mean `{meant}`?" if meant else "; units: ms, s, m, h, d, w, month, year"
                raise ValueError(f"{quoted(text)} is not a duration: there is no unit {quoted(unit)}{end}") from None
        if re.fullmatch(r"\s*\d+\s*", text):
            raise ValueError(f"{quoted(text)} has no unit: write it like `{text.strip()[:12]}m`") from None
        if re.fullmatch(r"(\s*\d+\s*[a-z]+)+\s*", text.lower()):
            raise ValueError(f"{quoted(text)} is longer than 100 years") from None
        raise ValueError(f"{quoted(text)} is not a duration: write it like 30m, 24h or 1 month") from None


def exact_span(text: str) -> timedelta:
    """A duration that does not depend on the calendar."""
    found = duration(text)
    if found.months:
        raise ValueError(f"{quoted(text)} depends on the calendar: write days, like 30d")
    return found.span


def exact_span_not_zero(text: str) -> timedelta:
    if not (found := exact_span(text)):
        raise ValueError(f"{quoted(text)} is no time at all")
    return found


def duration_not_zero(text: str) -> Period:
    found = duration(text)
    if not found.months and not found.span:
        raise ValueError(f"{quoted(text)} is no time at all")
    return found


def due_time(text: str) -> Period:
    """`within 24h` or `24h`."""
    return duration_not_zero(text.strip().removeprefix("within "))


# ── numbers ──────────────────────────────────────────────────────────────────────────────────────

_NUMBER = re.compile(r"[+-]?\d{1,30}(\.\d{1,30})?")


def number(text: str) -> Decimal:
    if not _NUMBER.fullmatch(text.strip()):
        raise ValueError(f"{quoted(text)} is not a number")
    return Decimal(text.strip())


class WholeNumber:
    """A whole number between bounds, both included."""

    def __init__(self, low: int, high: int) -> None:
        self._low, self._high = low, high

    def __call__(self, text: str) -> int:
        if not re.fullmatch(r"[+-]?\d{1,18}", text.strip()):
            raise ValueError(f"{quoted(text)} is not a whole number")
        found = int(text)
        if not self._low <= found <= self._high:
            raise ValueError(f"{found} is not between {self._low} and {self._high}")
        return found


def percent(text: str) -> Decimal:
    """`99.9%` or `99.9`: above 0, at most 100."""
    bare = text.strip().removesuffix("%").strip()
    if not _NUMBER.fullmatch(bare):
        raise ValueError(f"{quoted(text)} is not a percentage: write it like 99.9%")
    if not 0 < (found := Decimal(bare)) <= 100:
        raise ValueError(f"{quoted(text)} is not between 0% and 100%")
    return found


def statuses(text: str) -> tuple[int, ...]:
    """`200`, or `2xx` for a whole class."""
    if re.fullmatch(r"[1-5]xx", text):
        first = int(text[0]) * 100
        return tuple(range(first, first + 100))
    if re.fullmatch(r"[1-5]\d\d", text):
        return (int(text),)
    raise ValueError(f"{quoted(text)} is not an HTTP status: write it like 200, 2xx or [200, 204]")


# ── templates ────────────────────────────────────────────────────────────────────────────────────

RUN_WORDS = ("id", "mode")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_WORD = re.compile(r"[a-z][a-z0-9_]*\Z")
_STEP_VALUE = re.compile(r"[a-z][a-z0-9-]*\.[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)*\Z")
_SPACES = {space.value: space for space in Space}
_SHAPES = {
    Space.ENV: (_VARIABLE, "${env:NAME}"),
    Space.FILE: (re.compile(r"[^\x00-\x1f${}]+\Z"), "${file:PATH}"),
    Space.SITE: (_WORD, "${site.api}"),
    Space.STEPS: (_STEP_VALUE, "${steps.STEP.VALUE}"),
    Space.SAVED: (_WORD, "${saved.name}"),
    Space.RUN: (_WORD, "${run.id}"),
}


def template(text: str, *, in_flow: bool = False) -> Template:
    """Text with `${…}`. `$${` stands for `${` itself. `in_flow`: `${name}` is short for `${saved.name}`."""
    parts: list[str | Ref] = []
    literal, at = "", 0
    while (start := text.find("${", at)) >= 0:
        if start > at and text[start - 1] == "$":
            literal += text[at : start - 1] + "${"
            at = start + 2
            continue
        end = text.find("}", start)
        if end < 0:
            raise ValueError("a `${` that is never closed; for the two characters themselves write `$${`")
        literal += text[at:start]
        parts += [literal] if literal else []
        parts.append(reference(text[start + 2 : end], in_flow=in_flow))
        literal, at = "", end + 1
    literal += text[at:]
    return Template((*parts, literal) if literal else tuple(parts))


def reference(inner: str, *, in_flow: bool = False) -> Ref:
    """What stands between `${` and `}`."""
    word, mark, path = _parted(inner)
    if not mark:
        return _short(inner, in_flow=in_flow)
    space = _SPACES.get(word)
    if space is None:
        near = nearest(word, _SPACES)
        meant = f"; did you mean `{near}`?" if near else f"; namespaces: {', '.join(_SPACES)}"
        raise ValueError(f"`${{{word[:20]}{mark}…}}`: there is no namespace {quoted(word)}{meant}")
    shape, example = _SHAPES[space]
    if mark != (":" if space in (Space.ENV, Space.FILE) else "."):
        raise ValueError(f"`${{{word}{mark}…}}` is written `{example}`")
    if not shape.match(path):
        raise ValueError(f"`${{{word}{mark}…}}` is written `{example}`")
    if space is Space.RUN and path not in RUN_WORDS:
        near = nearest(path, RUN_WORDS) or RUN_WORDS[0]
        raise ValueError(f"a run has no {quoted(path)}; did you mean `${{run.{near}}}`?")
    return Ref(space, path)


def _parted(inner: str) -> tuple[str, str, str]:
    found = re.match(r"([A-Za-z_][A-Za-z0-9_-]*)([:.])(.*)\Z", inner, re.DOTALL)
    return cast("tuple[str, str, str]", found.groups()) if found else (inner, "", "")


def _short(inner: str, *, in_flow: bool) -> Ref:
    if in_flow and _WORD.match(inner):
        return Ref(Space.SAVED, inner)
    if _VARIABLE.match(inner):
        raise ValueError(f"`${{{inner[:40]}}}` says no namespace; did you mean `${{env:{inner[:40]}}}`?")
    raise ValueError("a `${…}` names one thing, like ${env:NAME}, ${file:PATH} or ${site.api}")


def json_path(text: str) -> str:
    """`$.token`, `$.items[0].id`: where in a JSON answer."""
    if not re.fullmatch(r"\$(\.[A-Za-z_][A-Za-z0-9_-]*|\[\d{1,6}\])*", text):
        raise ValueError(f"{quoted(text)} is not a path into JSON: write it like $.token or $.items[0].id")
    return text


# ── expectations and criteria ────────────────────────────────────────────────────────────────────

_Op = Literal["=", "!=", ">=", ">", "<=", "<"]
_OPERATORS: tuple[_Op, ...] = ("!=", ">=", "<=", "=", ">", "<")


def expectation(text: str) -> Expectation:
    """`>= 1`, `= active`, `in {a, b}`, `within 24h`; a number alone means equal."""
    said = text.strip()
    for op in _OPERATORS:
        if said.startswith(op):
            return _compared(text, op, said[len(op) :].strip())
    if found := re.fullmatch(r"in\s*\{(.*)\}", said, re.DOTALL):
        return _one_of(text, found.group(1))
    if found := re.fullmatch(r"within\s+(.+)", said):
        return Within(exact_span_not_zero(found.group(1)))
    if _NUMBER.fullmatch(said):
        return Compare("=", Decimal(said))
    first = said.split(" ", 1)[0].split("{", 1)[0]
    near = nearest(first, ("within", "in")) if " " in said or "{" in said else None
    if near and near != first:
        raise ValueError(f"{quoted(text)} is not an expectation; did you mean `{near}`?")
    if re.fullmatch(r"[\w-]+", said):
        raise ValueError(f"{quoted(text)} is not an expectation; did you mean `= {said[:30]}`?")
    raise ValueError(f"{quoted(text)} is not an expectation: write it like >= 1, = 0, in {{a, b}} or within 24h")


def _compared(text: str, op: _Op, value: str) -> Compare:
    if not value:
        raise ValueError(f"{quoted(text)} compares with nothing: write it like {op} 1")
    if value[0] in "<>=!":
        meant = {"=": "=", "!": "!=", "<": "<=", ">": ">="}[value[0]] if op == "=" else ""
        end = f"; did you mean `{meant} …`?" if meant else ""
        raise ValueError(f"{quoted(text)} is not an expectation{end}")
    if _NUMBER.fullmatch(value):
        return Compare(op, Decimal(value))
    if op not in ("=", "!="):
        raise ValueError(f"{quoted(text)}: `{op}` compares with a number")
    return Compare(op, _unquoted(value))


def _unquoted(value: str) -> str:
    """`'active'` and `active` are the same text; `'1'` is a text and no number."""
    return value[1:-1] if len(value) >= 2 and value[0] == value[-1] and value[0] in "'\"" else value


def _one_of(text: str, inner: str) -> OneOf:
    members = tuple(_unquoted(member.strip()) for member in inner.split(","))
    if not all(members):
        raise ValueError(f"{quoted(text)} has an empty member: write it like in {{a, b}}")
    return OneOf(members)


def criterion(text: str) -> str:
    """`smoke all red for 10m`, `smoke health red for 10m`, `rows refuted > 50%`, `forecast > 2h`. Returned as it is."""
    said = " ".join(text.split())
    if found := re.fullmatch(r"smoke (\S+) red for (.+)", said):
        exact_span_not_zero(found.group(2))
    elif found := re.fullmatch(r"rows refuted > (.+)", said):
        percent(found.group(1))
    elif found := re.fullmatch(r"forecast > (.+)", said):
        exact_span_not_zero(found.group(1))
    else:
        raise ValueError(
            f"{quoted(text)} is not a criterion: write it like `smoke all red for 10m`, `rows refuted > 50%` "
            "or `forecast > 2h`, or leave `when` out and let a person judge"
        )
    return said


def criterion_check(said: str) -> str | None:
    """The smoke check that a criterion names, if it names one."""
    found = re.match(r"smoke (\S+) red for ", said)
    return found.group(1) if found and found.group(1) != "all" else None


# ── questions, people, keys ──────────────────────────────────────────────────────────────────────

_READING = re.compile(r"(select|with|table|values|show|explain|pragma)\b", re.IGNORECASE)


def sql(text: str) -> str:
    """A question that reads."""
    said = text.strip()
    if not _READING.match(said):
        raise ValueError("a question reads: it begins with SELECT, WITH, TABLE, VALUES, SHOW or PRAGMA")
    return said


def email(text: str) -> str:
    if not re.fullmatch(r"[^\s@<>]{1,64}@[^\s@<>]+\.[^\s@<>]+", text):
        raise ValueError(f"{quoted(text)} is not an e-mail address")
    return text


def ssh_key(text: str) -> str:
    """`ssh-ed25519 AAAA… comment`: a public key as OpenSSH writes it (RFC 8709)."""
    parts = text.split()
    wrong = ValueError("is not a public key of the kind ssh-ed25519: copy the line of the file that ends in .pub")
    if len(parts) < 2 or parts[0] != "ssh-ed25519":
        raise wrong
    try:
        blob = base64.b64decode(parts[1], validate=True)
    except (binascii.Error, ValueError):
        raise wrong from None
    if len(blob) != 51 or not blob.startswith(b"\0\0\0\x0bssh-ed25519\0\0\0\x20"):
        raise wrong
    return text


def rate(text: str) -> int:
    """Bytes per second: `20MB/s`."""
    found, slash, per = text.rpartition("/")
    if not slash or per.strip() != "s":
        raise ValueError(f"{quoted(text)} is not a rate: write it like 20MB/s")
    if (rate_bytes := values.size(found)) == 0:
        raise ValueError("lets nothing through: leave it out for no limit")
    return rate_bytes


def whole(text: str) -> int:
    """`10`: at most a billion."""
    if not re.fullmatch(r"\d{1,9}", text.strip()):
        raise ValueError(f"{quoted(text)} is not a whole number: write it like 100")
    return int(text)


def amount(text: str) -> int:
    """Bytes: `4 GiB`, `500 GB`."""
    if (found := values.size(text)) == 0:
        raise ValueError("lets nothing in: leave it out for no limit")
    return found


def file_beside(text: str) -> str:
    """A path below the folder of the plan: `schema.txt`, `reference/schema.txt`."""
    if text.startswith("/") or "${" in text or any(part in ("", ".", "..") for part in text.split("/")):
        raise ValueError(f"{quoted(text)} is not a file beside the plan: write it like reference/schema.txt")
    return text


_BECH32 = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"


def recipient(text: str) -> str:
    """An age recipient, `age1…`, with its checksum (BIP 173). One that ends in `…` is a placeholder."""
    if re.fullmatch(r"age1[a-z0-9]{0,20}(…|\.\.\.)", text):
        return text
    if text.upper().startswith("AGE-SECRET-KEY-"):
        raise ValueError("is not an age recipient: write the public key, age1…")
    if not re.fullmatch(r"age1[a-z0-9]{58}", text):
        raise ValueError(f"{quoted(text)} is not an age recipient: `age1` and 58 letters and digits")
    data = text[len("age1") :]
    spread = [ord(c) >> 5 for c in "age"] + [0] + [ord(c) & 31 for c in "age"]
    if any(c not in _BECH32 for c in data) or _checksum(spread + [_BECH32.index(c) for c in data]) != 1:
        raise ValueError(f"{quoted(text)} is not an age recipient: its checksum is wrong, so a letter was mistyped")
    return text


def is_placeholder(recipient_text: str) -> bool:
    return recipient_text.endswith(("…", "..."))


def _checksum(numbers: list[int]) -> int:
    check = 1
    for value in numbers:
        top = check >> 25
        check = (check & 0x1FFFFFF) << 5 ^ value
        for bit, generator in enumerate((0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)):
            check ^= generator if top >> bit & 1 else 0
    return check
