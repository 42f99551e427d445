"""What the catalogue of a database says about itself: how many objects, and what is odd about them.

The same questions are asked twice: of the source while a point is taken, and of the sandbox when it is proved. Only
what is *worse than at the source* speaks against a point: a database with a constraint that nobody ever validated is
backed up faithfully when the constraint comes back not validated, and must be recoverable on the day.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, LiteralString, TypeVar, cast

import psycopg
from psycopg.sql import SQL, Identifier

from backstay.adapters.postgres.layout import bytes_entry
from backstay.adapters.postgres.session import Connection, rows
from backstay.adapters.postgres.structure import MOST, structure
from backstay.ports import CATALOGUE, Entry, PointReader

_T = TypeVar("_T")

_NO_SYSTEM = "n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'"

_OBJECTS = f"""
SELECT kind, count(*) FROM (
  SELECT CASE c.relkind WHEN 'r' THEN 'tables' WHEN 'p' THEN 'tables' WHEN 'i' THEN 'indexes' WHEN 'I' THEN 'indexes'
    WHEN 'S' THEN 'sequences' WHEN 'v' THEN 'views' WHEN 'm' THEN 'materialized views' WHEN 'f' THEN 'foreign tables'
    ELSE 'types' END AS kind
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
  WHERE {_NO_SYSTEM} AND c.relpersistence <> 't' AND c.relkind <> 't'
  UNION ALL SELECT 'constraints' FROM pg_constraint c JOIN pg_namespace n ON n.oid = c.connamespace
  WHERE {_NO_SYSTEM} AND c.contype <> 'n'
  UNION ALL SELECT 'functions' FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace WHERE {_NO_SYSTEM}
  UNION ALL SELECT 'triggers' FROM pg_trigger WHERE NOT tgisinternal
  UNION ALL SELECT 'policies' FROM pg_policy
  UNION ALL SELECT 'extensions' FROM pg_extension
  UNION ALL SELECT 'schemas' FROM pg_namespace n WHERE {_NO_SYSTEM}
) AS every GROUP BY 1
"""

_RELATION = "format('%I.%I', n.nspname, c.relname)"

FINDINGS: Mapping[str, str] = {
    "I02": f"""
        SELECT {_RELATION} FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
        JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE NOT (i.indisvalid AND i.indisready AND i.indislive) AND c.relpersistence <> 't'""",
    "I03": f"""
        SELECT format('%I on %I.%I', k.conname, n.nspname, c.relname) FROM pg_constraint k
        JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE NOT k.convalidated AND coalesce((to_jsonb(k) ->> 'conenforced')::bool, true) AND {_NO_SYSTEM}""",
    "I05": f"""
        SELECT {_RELATION} FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE c.relkind = 'm' AND NOT c.relispopulated""",
    "I07": "SELECT gid FROM pg_prepared_xacts",
}
"""By the code of the check: a query that names what is odd. `conenforced` came with PostgreSQL 18: a constraint that is
not enforced is not validated either, and that is meant."""

_COLLATIONS = """
SELECT format('%I.%I', n.nspname, c.collname) FROM pg_collation c JOIN pg_namespace n ON n.oid = c.collnamespace
WHERE c.collversion IS DISTINCT FROM pg_collation_actual_version(c.oid) AND c.collversion IS NOT NULL
"""
_DATABASE_COLLATION = """
SELECT 'the collation of the database ' || quote_ident(datname) FROM pg_database
WHERE datname = current_database() AND datcollversion IS NOT NULL
AND datcollversion IS DISTINCT FROM pg_database_collation_actual_version(oid)
"""

_SEQUENCES = """
SELECT DISTINCT s.oid::regclass::text, n.nspname, t.relname, a.attname, q.seqincrement
FROM pg_class s JOIN pg_sequence q ON q.seqrelid = s.oid
JOIN pg_depend d ON (d.objid = s.oid AND d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass
                     AND d.deptype IN ('a', 'i') AND d.refobjsubid > 0)
JOIN pg_class t ON t.oid = d.refobjid AND t.relkind = 'r' AND t.relpersistence = 'p'
JOIN pg_namespace n ON n.oid = t.relnamespace
JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum = d.refobjsubid
WHERE s.relpersistence = 'p' AND NOT q.seqcycle
AND a.atttypid IN ('int2'::regtype, 'int4'::regtype, 'int8'::regtype)
AND EXISTS (SELECT FROM pg_index i WHERE i.indrelid = t.oid AND i.indkey[0] = a.attnum AND i.indisvalid
            AND i.indpred IS NULL)
"""
"""Sequences that belong to a column with an index, so that its largest value is found at once: on a source, a scan of a
large table would be too much to ask for."""

_EQUAL = "format('pk.%I OPERATOR(%I.%s) fk.%I', pa.attname, opn.nspname, o.oprname, fa.attname)"
_FOREIGN_KEYS = f"""
SELECT format('%I on %I.%I', k.conname, n.nspname, c.relname),
  format('SELECT count(*) FROM (SELECT FROM %s%I.%I fk LEFT JOIN %s%I.%I pk ON %s
                                WHERE pk.%I IS NULL AND (%s) LIMIT 1000) AS orphan',
          CASE c.relkind WHEN 'p' THEN '' ELSE 'ONLY ' END, n.nspname, c.relname,
          CASE r.relkind WHEN 'p' THEN '' ELSE 'ONLY ' END, rn.nspname, r.relname,
          string_agg({_EQUAL}, ' AND ' ORDER BY u.ord), (array_agg(pa.attname ORDER BY u.ord))[1],
          string_agg(format('fk.%I IS NOT NULL', fa.attname), CASE k.confmatchtype WHEN 'f' THEN ' OR ' ELSE ' AND ' END
                     ORDER BY u.ord)),
  greatest(c.relpages, r.relpages)
FROM pg_constraint k
JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_class r ON r.oid = k.confrelid JOIN pg_namespace rn ON rn.oid = r.relnamespace
CROSS JOIN LATERAL unnest(k.conkey, k.confkey, k.conpfeqop) WITH ORDINALITY AS u(fk, pk, eq, ord)
JOIN pg_attribute fa ON fa.attrelid = k.conrelid AND fa.attnum = u.fk
JOIN pg_attribute pa ON pa.attrelid = k.confrelid AND pa.attnum = u.pk
JOIN pg_operator o ON o.oid = u.eq JOIN pg_namespace opn ON opn.oid = o.oprnamespace
WHERE k.contype = 'f' AND k.convalidated AND k.conparentid = 0 AND {_NO_SYSTEM}
AND c.relpersistence = 'p' AND r.relpersistence = 'p'
AND coalesce((to_jsonb(k) ->> 'conenforced')::bool, true) AND NOT coalesce((to_jsonb(k) ->> 'conperiod')::bool, false)
GROUP BY k.oid, k.conname, k.confmatchtype, c.relkind, n.nspname, c.relname, r.relkind, rn.nspname, r.relname,
  c.relpages, r.relpages
ORDER BY 1
"""
"""The same question that the server asks when a foreign key is validated (RI_Initial_Check in ri_triggers.c), for each
of them: rows that refer to a row which is not there. It stops counting at 1,000."""

SMALL_PAGES = 8192
"""64 MiB: foreign keys between tables of at most this size are looked at on a source, and in a sample."""
MOST_AT_THE_SOURCE = 100

MOST_NAMED = 100
"""Names kept in a point, per finding."""


@dataclass(frozen=True, slots=True)
class Survey:
    """What the catalogue said at one moment."""

    objects: Mapping[str, int] = field(default_factory=dict[str, int])
    findings: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    """By the code of the check; a code that is missing could not be asked."""
    lines: tuple[str, ...] | None = None
    """Of the structure; None: it could not be asked."""


def survey(connection: Connection, *, within_s: int = 30) -> Survey:
    """Count and look. What may not be asked, or takes too long, is left out."""
    objects: dict[str, int] = {}
    findings: dict[str, tuple[str, ...]] = {}
    before = connection.execute("SHOW statement_timeout").fetchone()
    connection.execute(cast(LiteralString, f"SET statement_timeout = '{within_s}s'"))
    try:
        if (counted := _asked(connection, lambda: objects_of(connection))) is not None:
            objects = counted
        lines = _asked(connection, lambda: structure(connection))
        for code in CODES:
            if (found := _asked(connection, lambda code=code: finding(connection, code))) is not None:
                findings[code] = tuple(found)
    finally:
        if not connection.broken:
            connection.execute("SELECT set_config('statement_timeout', %s, false)", before)
    return Survey(objects, findings, lines)


CODES = ("I02", "I03", "I04", "I05", "I06", "I07", "I10")


def objects_of(connection: Connection) -> dict[str, int]:
    return {str(kind): int(number) for kind, number in rows(connection, _OBJECTS)}


def finding(connection: Connection, code: str) -> list[str]:
    """The names of what is odd, sorted."""
    if code == "I04":
        return sorted(_sequences_behind(connection))
    if code == "I06":
        found = [str(name) for (name,) in rows(connection, _COLLATIONS)]
        if connection.info.server_version >= 150000:
            found += [str(name) for (name,) in rows(connection, _DATABASE_COLLATION)]
        return sorted(found)
    if code == "I10":
        return [
            key.name for key in foreign_keys(connection, small=True)[:MOST_AT_THE_SOURCE] if orphans(connection, key)
        ]
    return sorted(str(name) for (name,) in rows(connection, FINDINGS[code]))


@dataclass(frozen=True, slots=True)
class ForeignKey:
    name: str
    """`orders_tenant_fkey on public.orders`."""
    question: str
    small: bool


def foreign_keys(connection: Connection, *, small: bool = False) -> list[ForeignKey]:
    """Those that are validated and enforced, by name; with `small`, between small tables only."""
    found = [
        ForeignKey(str(name), str(asks), pages <= SMALL_PAGES) for name, asks, pages in rows(connection, _FOREIGN_KEYS)
    ]
    return [key for key in found if key.small or not small]


def orphans(connection: Connection, key: ForeignKey) -> int:
    """Rows of this foreign key that refer to nothing; 1,000 stands for that many or more."""
    ((number,),) = rows(connection, key.question)
    return int(number)


def _sequences_behind(connection: Connection) -> Iterable[str]:
    """Sequences whose next value is one that their column has had already: the next insert would collide."""
    for sequence, schema, table, column, increment in rows(connection, _SEQUENCES):
        extreme = SQL("max" if increment > 0 else "min")
        asked = SQL(
            "SELECT (SELECT {}({}) FROM ONLY {}), CASE WHEN is_called THEN last_value + {} ELSE last_value END FROM {}"
        ).format(extreme, Identifier(column), Identifier(schema, table), increment, SQL(sequence))
        row = connection.execute(asked).fetchone()
        assert row is not None
        reached, following = row
        if reached is not None and (reached >= following if increment > 0 else reached <= following):
            yield f"{sequence} (for {table}.{column})"


def _asked(connection: Connection, question: Callable[[], _T]) -> _T | None:
    """None when the source does not let us ask, or takes too long; a connection that is gone is not hidden."""
    try:
        return question()
    except psycopg.Error:
        if connection.closed:
            raise
        return None


# ── in a point ───────────────────────────────────────────────────────────────────────────────────


def stored(before: Survey, after: Survey) -> dict[str, str]:
    """Two looks, from before and after the moment of the point, as notes of the point."""
    kinds = sorted({*before.objects, *after.objects})
    spans = {kind: sorted((before.objects.get(kind, 0), after.objects.get(kind, 0))) for kind in kinds}
    codes = sorted({*before.findings} & {*after.findings})
    named = {code: sorted({*before.findings[code], *after.findings[code]})[:MOST_NAMED] for code in codes}
    return {
        "objects": json.dumps(spans, separators=(",", ":")) if before.objects and after.objects else "",
        "findings": json.dumps(named, separators=(",", ":")),
    }


def kept(before: Survey, after: Survey, now: datetime) -> list[Entry]:
    """The structure as a file of the point: a line that was there before and after its moment begins with two spaces,
    one that was there at one of the two with `-` or `+`. Nothing where it could not be asked, or is too much."""
    if before.lines is None or after.lines is None:
        return []
    early, late = set(before.lines), set(after.lines)
    signs = {line: "  " if line in early and line in late else "- " if line in early else "+ " for line in early | late}
    if len(signs) > MOST:
        return []
    return [bytes_entry(CATALOGUE, "".join(f"{signs[line]}{line}\n" for line in sorted(signs)).encode(), now)]


@dataclass(frozen=True, slots=True)
class Kept:
    """The structure that a point came from."""

    surely: frozenset[str]
    perhaps: frozenset[str]
    """Made or dropped while the point was taken."""


def read_kept(point: PointReader) -> Kept | None:
    """None: the point has none."""
    if point.entry(CATALOGUE) is None:
        return None
    lines = b"".join(point.read(CATALOGUE)).decode("utf-8", "replace").splitlines()
    surely = frozenset(line[2:] for line in lines if line.startswith("  "))
    return Kept(surely, frozenset(line[2:] for line in lines if line[:2] in ("- ", "+ ")))


def read_objects(about: Mapping[str, str]) -> Mapping[str, Sequence[int]] | None:
    """For each kind the least and the most that the source had; None: it was not counted."""
    found = _json(about.get("objects", ""))
    return {str(kind): [int(number) for number in span] for kind, span in found.items()} if found else None


def read_findings(about: Mapping[str, str]) -> Mapping[str, frozenset[str]]:
    found = _json(about.get("findings", "")) or {}
    return {str(code): frozenset(map(str, names)) for code, names in found.items()}


def _json(text: str) -> dict[str, Any] | None:
    """Notes of a point are signed; still, they are read as if by a stranger."""
    try:
        found: object = json.loads(text or "null")
    except (ValueError, RecursionError):
        return None
    return cast("dict[str, Any]", found) if isinstance(found, dict) else None
