"""The structure of a database: one line per object of its catalogue, sorted, the same for the same structure.

`table public.tenants: ordinary, owner shop`, `column public.tenants.name: text not null`, and so on: two words that say
which object it is, a colon, and what it is like. Lines are written into the point when it is taken, and compared with
those of the restored database, of the last proof, and of a file that was committed beside the plan.

What only the server's own spelling decides (an expression, a view) is spelled by the server. Dumping and restoring may
spell it anew (`'a'::text` moves in and out of an array), so after a dump only the object itself is compared there.
Bodies of functions and views are shown as digests. Objects that belong to an extension are the extension's matter.
"""

import hashlib
from collections.abc import Iterable

from backstay.adapters.postgres.session import Connection, rows

LONGEST = 400
"""Characters of one line; a longer one is cut, and ends with the digest of all of it."""
MOST = 50_000
"""Lines that are kept: about 5 MB."""

_OURS = "n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'"


def _own(oid: str, catalogue: str) -> str:
    """Not made by an extension."""
    return (
        f"NOT EXISTS (SELECT FROM pg_depend e WHERE e.objid = {oid} AND e.classid = '{catalogue}'::regclass"
        " AND e.deptype = 'e')"
    )


_RELATION = "format('%I.%I', n.nspname, c.relname)"
_DIGEST = "'digest ' || to_hex(hashtextextended({}, 0))"
"""Of any text in any encoding, and also where a rule of the house forbids md5."""

_QUERIES: tuple[str, ...] = (
    f"""SELECT 'schema', quote_ident(n.nspname), 'owner ' || pg_get_userbyid(n.nspowner) FROM pg_namespace n
        WHERE {_OURS} AND {_own("n.oid", "pg_namespace")}""",
    f"""SELECT CASE c.relkind WHEN 'r' THEN 'table' WHEN 'p' THEN 'table' WHEN 'f' THEN 'foreign-table'
               WHEN 'v' THEN 'view' WHEN 'm' THEN 'materialized-view' WHEN 'c' THEN 'composite-type' END, {_RELATION},
        concat_ws(', ', CASE c.relpersistence WHEN 'u' THEN 'unlogged' END,
          CASE WHEN c.relkind = 'p' THEN 'partitioned by ' || pg_get_partkeydef(c.oid) END,
          CASE WHEN c.relispartition THEN 'partition ' || pg_get_expr(c.relpartbound, c.oid) END,
          CASE WHEN c.relrowsecurity THEN 'row security' END,
          CASE WHEN c.relforcerowsecurity THEN 'forced' END,
          CASE WHEN c.relkind IN ('v', 'm') THEN {_DIGEST.format("pg_get_viewdef(c.oid)")} END,
          'owner ' || pg_get_userbyid(c.relowner))
        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE {_OURS} AND c.relkind IN ('r', 'p', 'f', 'v', 'm', 'c') AND c.relpersistence <> 't'
        AND {_own("c.oid", "pg_class")}""",
    f"""SELECT 'column', format('%I.%I.%I', n.nspname, c.relname, a.attname),
        concat_ws(' ', format_type(a.atttypid, a.atttypmod), CASE WHEN a.attnotnull THEN 'not null' END,
          CASE a.attidentity WHEN 'a' THEN 'identity always' WHEN 'd' THEN 'identity' END,
          CASE WHEN a.attgenerated <> '' THEN 'generated' END,
          CASE WHEN a.attcollation <> t.typcollation THEN 'collate ' || a.attcollation::regcollation::text END,
          CASE WHEN d.oid IS NOT NULL THEN 'default ' || pg_get_expr(d.adbin, d.adrelid) END)
        FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
        JOIN pg_type t ON t.oid = a.atttypid LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
        WHERE {_OURS} AND a.attnum > 0 AND NOT a.attisdropped AND c.relkind IN ('r', 'p', 'f', 'v', 'm', 'c')
        AND c.relpersistence <> 't' AND {_own("c.oid", "pg_class")}""",
    f"""SELECT 'constraint', format('%I on %s', k.conname, coalesce({_RELATION}, k.contypid::regtype::text)),
        pg_get_constraintdef(k.oid)
        FROM pg_constraint k JOIN pg_namespace n ON n.oid = k.connamespace LEFT JOIN pg_class c ON c.oid = k.conrelid
        WHERE {_OURS} AND k.contype <> 'n' AND (k.conparentid = 0 OR k.contype <> 'f')
        AND (c.oid IS NULL OR {_own("c.oid", "pg_class")})""",
    f"""SELECT 'index', {_RELATION}, pg_get_indexdef(c.oid)
        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_index i ON i.indexrelid = c.oid
        WHERE {_OURS} AND c.relpersistence <> 't' AND {_own("i.indrelid", "pg_class")}""",
    f"""SELECT 'sequence', {_RELATION}, format('%s from %s by %s, %s to %s%s', format_type(s.seqtypid, NULL),
          s.seqstart, s.seqincrement, s.seqmin, s.seqmax, CASE WHEN s.seqcycle THEN ', cycles' ELSE '' END)
        FROM pg_sequence s JOIN pg_class c ON c.oid = s.seqrelid JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE {_OURS} AND c.relpersistence <> 't' AND {_own("c.oid", "pg_class")}""",
    f"""SELECT 'function', format('%I.%I(%s)', n.nspname, p.proname, pg_get_function_identity_arguments(p.oid)),
        concat_ws(', ', CASE p.prokind WHEN 'a' THEN 'aggregate' WHEN 'p' THEN 'procedure' WHEN 'w' THEN 'window' END,
          'returns ' || pg_get_function_result(p.oid), l.lanname, CASE WHEN p.prosecdef THEN 'security definer' END,
          {_DIGEST.format("p.prosrc")}, 'owner ' || pg_get_userbyid(p.proowner))
        FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace JOIN pg_language l ON l.oid = p.prolang
        WHERE {_OURS} AND {_own("p.oid", "pg_proc")}""",
    f"""SELECT 'trigger', format('%I on %s', g.tgname, {_RELATION}),
        concat_ws(', ', pg_get_triggerdef(g.oid), CASE g.tgenabled WHEN 'D' THEN 'disabled' WHEN 'R' THEN 'replica'
          WHEN 'A' THEN 'always' END)
        FROM pg_trigger g JOIN pg_class c ON c.oid = g.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE {_OURS} AND NOT g.tgisinternal""",
    f"""SELECT 'rule', format('%I on %s', r.rulename, {_RELATION}), {_DIGEST.format("pg_get_ruledef(r.oid)")}
        FROM pg_rewrite r JOIN pg_class c ON c.oid = r.ev_class JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE {_OURS} AND r.rulename <> '_RETURN' AND {_own("c.oid", "pg_class")}""",
    f"""SELECT 'policy', format('%I on %s', p.polname, {_RELATION}),
        concat_ws(', ', p.polcmd::text, CASE WHEN NOT p.polpermissive THEN 'restrictive' END,
          {_DIGEST.format("concat(pg_get_expr(polqual, polrelid), ' ', pg_get_expr(polwithcheck, polrelid))")})
        FROM pg_policy p JOIN pg_class c ON c.oid = p.polrelid JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE {_OURS}""",
    f"""SELECT 'type', format('%I.%I', n.nspname, t.typname), CASE t.typtype
          WHEN 'e' THEN 'enum ' || (SELECT string_agg(enumlabel, ' ' ORDER BY enumsortorder) FROM pg_enum
                                    WHERE enumtypid = t.oid)
          WHEN 'd' THEN concat_ws(' ', 'domain over', format_type(t.typbasetype, t.typtypmod),
                                  CASE WHEN t.typnotnull THEN 'not null' END)
          WHEN 'r' THEN 'range' ELSE 'base' END
        FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace
        WHERE {_OURS} AND t.typtype IN ('e', 'd', 'r', 'b') AND t.typelem = 0 AND t.typrelid = 0
        AND {_own("t.oid", "pg_type")}""",
    f"""SELECT 'statistics', format('%I.%I', n.nspname, s.stxname), pg_get_statisticsobjdef(s.oid)
        FROM pg_statistic_ext s JOIN pg_namespace n ON n.oid = s.stxnamespace WHERE {_OURS}""",
    f"""SELECT 'collation', format('%I.%I', n.nspname, c.collname), c.collprovider::text
        FROM pg_collation c JOIN pg_namespace n ON n.oid = c.collnamespace
        WHERE {_OURS} AND {_own("c.oid", "pg_collation")}""",
    f"""SELECT 'operator', o.oid::regoperator::text, o.oprcode::text
        FROM pg_operator o JOIN pg_namespace n ON n.oid = o.oprnamespace
        WHERE {_OURS} AND {_own("o.oid", "pg_operator")}""",
    f"""SELECT 'cast', format('%s to %s', format_type(castsource, NULL), format_type(casttarget, NULL)),
        castcontext::text
        FROM pg_cast WHERE oid >= 16384 AND {_own("pg_cast.oid", "pg_cast")}""",
    f"""SELECT 'foreign-server', quote_ident(s.srvname), w.fdwname
        FROM pg_foreign_server s JOIN pg_foreign_data_wrapper w ON w.oid = s.srvfdw
        WHERE {_own("s.oid", "pg_foreign_server")}""",
    f"""SELECT 'event-trigger', quote_ident(evtname), concat(evtevent, ' ', evtfoid::regproc, ' ', evtenabled)
        FROM pg_event_trigger WHERE {_own("pg_event_trigger.oid", "pg_event_trigger")}""",
    "SELECT 'extension', quote_ident(extname), extversion FROM pg_extension",
    """SELECT 'publication', quote_ident(pubname), CASE WHEN puballtables THEN 'all tables' ELSE 'some' END
       FROM pg_publication""",
)

SPELLED_ANEW = frozenset({
    "view", "materialized-view", "table", "column", "constraint", "index", "trigger", "rule", "policy", "statistics",
    "extension",
})  # fmt: skip
"""Of these a dump may bring back another spelling, or the version that is installed here."""
NOT_IN_A_DUMP = frozenset({"publication"})
"""What pg_restore is told to leave out: it would act on the world outside."""


def structure(connection: Connection) -> tuple[str, ...]:
    """Every line, sorted; the same search path for all, so that names are spelled in full."""
    (before,) = rows(connection, "SELECT current_setting('search_path')")
    connection.execute("SELECT set_config('search_path', '', false)")
    try:
        found = [_line(*map(str, row)) for query in _QUERIES for row in rows(connection, query)]
    finally:
        if not connection.broken:
            connection.execute("SELECT set_config('search_path', %s, false)", before)
    return tuple(sorted(found))


def _line(kind: str, name: str, like: str) -> str:
    line = " ".join(f"{kind} {name}: {like}".split())
    if len(line) <= LONGEST:
        return line
    return f"{line[: LONGEST - 20]}… {hashlib.sha256(line.encode()).hexdigest()[:16]}"


def after_a_dump(lines: Iterable[str]) -> tuple[str, ...]:
    """What must be the same again when a dump is restored: of what is spelled anew, the object alone."""
    found: list[str] = []
    for line in lines:
        kind = line.partition(" ")[0]
        if kind not in NOT_IN_A_DUMP:
            found.append(line.partition(": ")[0] if kind in SPELLED_ANEW else line)
    return tuple(sorted(found))
