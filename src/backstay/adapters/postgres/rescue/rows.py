"""Which rows belong together: those that were asked for, what they reference, and what references them.

Everything happens inside the sandbox, with sets of row addresses (tableoid, ctid) in temporary tables: nothing of a row
comes through our hands before it is written. Foreign keys are followed to a fixed point, so circles and tables that
refer to themselves end. Down first, from the rows that were asked for alone, then up from all: a tenant's orders bring
their products, and the products do not bring everybody else's orders.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import LiteralString, cast

from psycopg import errors
from psycopg.sql import SQL, Composed, Identifier

from backstay.adapters.postgres.session import Connection, one, rows
from backstay.errors import NotSupported, UnknownName, Usage

_KEYS = """
SELECT k.conrelid::bigint, k.confrelid::bigint,
  ARRAY(SELECT attname::text FROM unnest(k.conkey) WITH ORDINALITY u(n, o)
        JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = u.n ORDER BY o),
  ARRAY(SELECT attname::text FROM unnest(k.confkey) WITH ORDINALITY u(n, o)
        JOIN pg_attribute a ON a.attrelid = k.confrelid AND a.attnum = u.n ORDER BY o)
FROM pg_constraint k WHERE k.contype = 'f' AND k.conparentid = 0
"""
"""Of a partitioned table, its own keys: those of its partitions say the same again."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What of a database."""

    tables: tuple[str, ...] = ()
    """As one writes them in SQL: `public.tenants`, `"Order"`. Empty: the whole database."""
    where: str | None = None
    """Rows of the one table: a condition in SQL."""
    references: bool = False
    """With what these rows reference, and what that references."""
    dependents: bool = False
    """With what references these rows, and what references that."""

    def check(self) -> None:
        """Raises Usage."""
        if self.where is None and (self.references or self.dependents):
            raise Usage("--with-references and --with-dependents go with --where", hint="whole tables: name them all")
        if self.where is not None and len(self.tables) != 1:
            raise Usage("--where is about the rows of one table", hint="name it with --table")


@dataclass(frozen=True, slots=True)
class Relation:
    """One table that was asked for, or that a key led to."""

    oid: int
    schema: str
    name: str

    @property
    def identifier(self) -> Identifier:
        return Identifier(self.schema, self.name)

    @property
    def shown(self) -> str:
        return f"{self.schema}.{self.name}"


@dataclass(frozen=True, slots=True)
class Key:
    """A foreign key: rows of `child` refer to rows of `parent`."""

    child: int
    parent: int
    columns: tuple[str, ...]
    referred: tuple[str, ...]


def found(db: Connection, name: str) -> Relation:
    """The table of this name. Raises UnknownName, NotSupported for what holds no rows of its own."""
    try:
        (oid,) = one(db, "SELECT to_regclass(%s)::oid::bigint", name)
    except errors.Error:
        oid = None
    if oid is None:
        last = name.rpartition(".")[2].strip('"')
        like = (
            "SELECT format('%%I.%%I', schemaname, tablename) FROM pg_tables WHERE tablename ILIKE %s ORDER BY 1 LIMIT 5"
        )
        near = [str(one) for (one,) in rows(db, like, f"%{last}%")]
        raise UnknownName(
            f"the point has no table {name}",
            detail=f"there is {', '.join(near)}" if near else "no table has a name like that",
            hint="write it with its schema, as in SQL: public.tenants, or 'sales.\"Order\"'; where it was dropped "
            "before that, name an older point (--point) or moment (--at)",
        )
    relation, kind = _relation(db, int(oid))
    if kind not in "rp":
        raise NotSupported(f"{relation.shown} is no table", detail="it holds no rows that could be taken")
    return relation


def _relation(db: Connection, oid: int) -> tuple[Relation, str]:
    schema, name, kind = one(
        db,
        "SELECT n.nspname, c.relname, c.relkind::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
        " WHERE c.oid = %s",
        oid,
    )
    return Relation(oid, str(schema), str(name)), str(kind)


@dataclass(slots=True)
class Chosen:
    """Sets of rows, in the session that made them."""

    db: Connection
    keys: tuple[Key, ...]
    relations: dict[int, Relation] = field(default_factory=dict[int, Relation])

    @classmethod
    def of(cls, db: Connection, wanted: Wanted) -> "Chosen":
        """Raises UnknownName, Usage for a condition that the server does not understand."""
        assert wanted.where is not None
        keys = tuple(
            Key(int(child), int(parent), tuple(map(str, columns)), tuple(map(str, referred)))
            for child, parent, columns, referred in rows(db, _KEYS)
        )
        chosen = cls(db, keys)
        root = found(db, wanted.tables[0])
        chosen._set(root)
        query = SQL("INSERT INTO {} SELECT tableoid, ctid FROM {} AS backstay_root WHERE ({})").format(
            _name(root.oid), root.identifier, SQL(cast(LiteralString, wanted.where))
        )
        try:
            db.execute(query, prepare=True)
        except errors.Error as error:
            said = (error.diag.message_primary or "").splitlines()
            raise Usage("the server does not understand --where", detail=said[0] if said else "") from None
        if wanted.dependents:
            chosen._close(up=False)
        if wanted.references:
            chosen._close(up=True)
        return chosen

    def _set(self, relation: Relation) -> None:
        if relation.oid not in self.relations:
            self.relations[relation.oid] = relation
            self.db.execute(
                SQL("CREATE TEMPORARY TABLE {} (of_table oid, at tid, PRIMARY KEY (of_table, at))").format(
                    _name(relation.oid)
                )
            )

    def _close(self, *, up: bool) -> None:
        """Until nothing is added any more."""
        waiting = list(self.relations)
        while waiting:
            here = waiting.pop()
            for key in self.keys:
                near, far = (key.child, key.parent) if up else (key.parent, key.child)
                if near == here and self._follow(key, up=up) and far not in waiting:
                    waiting.append(far)

    def _follow(self, key: Key, *, up: bool) -> int:
        """How many rows this key adds."""
        near, far = (key.child, key.parent) if up else (key.parent, key.child)
        relation = self.relations.get(far) or _relation(self.db, far)[0]
        self._set(relation)
        ours, theirs = (key.columns, key.referred) if up else (key.referred, key.columns)
        same = SQL(" AND ").join(
            SQL("near.{} = far.{}").format(Identifier(a), Identifier(b)) for a, b in zip(ours, theirs, strict=True)
        )
        query = SQL(
            "INSERT INTO {into} SELECT far.tableoid, far.ctid FROM {chosen} AS c JOIN {near} AS near"
            " ON near.tableoid = c.of_table AND near.ctid = c.at JOIN {far} AS far ON {same} ON CONFLICT DO NOTHING"
        ).format(
            into=_name(far), chosen=_name(near), near=self.relations[near].identifier, far=relation.identifier,
            same=same,
        )  # fmt: skip
        return self.db.execute(query).rowcount

    # ── what was found ──

    def counts(self) -> Mapping[str, int]:
        counted = {relation.shown: rows_in(self.db, _name(oid)) for oid, relation in self.relations.items()}
        return {name: number for name, number in sorted(counted.items()) if number}

    def in_order(self) -> tuple[list[Relation], bool]:
        """Referenced tables first; and whether some refer to each other in a circle."""
        waiting = {oid for oid, relation in self.relations.items() if self.counts().get(relation.shown)}
        ordered: list[Relation] = []
        circle = False
        while waiting:
            free = sorted(
                oid
                for oid in waiting
                if not any(k.child == oid and k.parent in waiting and k.parent != oid for k in self.keys)
            )
            circle |= not free
            for oid in free or sorted(waiting)[:1]:
                ordered.append(self.relations[oid])
                waiting.discard(oid)
        return ordered, circle

    def query(self, relation: Relation, columns: Sequence[str]) -> Composed:
        return SQL(
            "SELECT {} FROM {} AS of_it JOIN {} AS c ON of_it.tableoid = c.of_table AND of_it.ctid = c.at"
        ).format(SQL(", ").join(SQL("of_it.{}").format(Identifier(name)) for name in columns), relation.identifier,
                 _name(relation.oid))  # fmt: skip


def rows_in(db: Connection, table: Composed | Identifier) -> int:
    found = db.execute(SQL("SELECT count(*) FROM {}").format(table)).fetchone()
    assert found is not None
    return int(found[0])


def columns_of(db: Connection, relation: Relation) -> list[str]:
    """Those that can be written: a generated column makes itself."""
    return [
        str(name)
        for (name,) in rows(
            db,
            "SELECT attname FROM pg_attribute WHERE attrelid = %s AND attnum > 0 AND NOT attisdropped"
            " AND attgenerated = '' ORDER BY attnum",
            relation.oid,
        )
    ]


def script(chosen: Chosen, about: Sequence[str]) -> Iterator[bytes]:
    """SQL that puts the rows where they were, in one transaction: COPY, referenced tables first. What is there is never
    changed: a row whose key is taken ends the transaction."""
    ordered, circle = chosen.in_order()
    db = chosen.db
    head = ["-- Rows of a recovery point, by Backstay. Run with: psql -X -v ON_ERROR_STOP=1 -f THIS-FILE"]
    # A name may have a line end in it, and what follows be SQL, or a command of psql, for whoever runs the file.
    head += [f"-- {''.join(sign if sign.isprintable() else ' ' for sign in line)}" for line in about]
    head += ["BEGIN;", "SET LOCAL client_encoding = 'UTF8';", "SET LOCAL standard_conforming_strings = on;"]
    if circle:
        head += ["-- These tables refer to each other in a circle: foreign keys are not checked while they are loaded.",
                 "SET LOCAL session_replication_role = replica;"]  # fmt: skip
    yield ("\n".join(head) + "\n").encode()
    for relation in ordered:
        columns = columns_of(db, relation)
        names = SQL(", ").join(Identifier(name) for name in columns)
        yield SQL("\nCOPY {} ({}) FROM stdin;\n").format(relation.identifier, names).as_bytes(db)
        with db.cursor().copy(SQL("COPY ({}) TO STDOUT").format(chosen.query(relation, columns))) as copy:
            for part in copy:
                yield bytes(part)
        yield b"\\.\n"
    yield b"\nCOMMIT;\n"


def _name(oid: int) -> Composed:
    return SQL("pg_temp.{}").format(Identifier(f"backstay_rows_{oid}"))
