"""Backups that other programs hold: where they are."""

from backstay.config.forms import Either, Made
from backstay.config.sections.words import TEXT
from backstay.config.tables import Fields, Table, default, optional, required
from backstay.plan import Existing, PgBackRest, PgDump

STANZA = required("stanza", TEXT, "what pgBackRest calls the cluster", "main")
REPOSITORY = optional(
    "where",
    TEXT,
    "a configuration file of pgBackRest, or the folder of a repository",
    "/etc/pgbackrest/pgbackrest.conf",
    "what `pgbackrest` finds by itself",
)
SUPERUSER = default("superuser", TEXT, "postgres", "the superuser of the cluster", "postgres", "`postgres`")
PGBACKREST = Table(
    "pgbackrest",
    "a pgBackRest repository",
    "A repository of pgBackRest, restored by `pgbackrest` itself. A text alone is its `stanza`.",
    (STANZA, REPOSITORY, SUPERUSER),
    lambda fields: PgBackRest(fields[STANZA], fields[REPOSITORY], fields[SUPERUSER]),
)
DUMP = required("where", TEXT, "a file or folder of pg_dump; with `*`, the newest that fits", "/backups/shop-*.dump")
ROLES = optional("roles", TEXT, "what pg_dumpall --roles-only wrote", "/backups/roles.sql", "the dump's own")
PG_DUMP = Table(
    "pg-dump",
    "a dump of pg_dump",
    "What pg_dump or pg_dumpall wrote: plain, custom, directory or tar, told by its content. A text alone is `where`.",
    (DUMP, ROLES),
    lambda fields: PgDump(fields[DUMP], fields[ROLES]),
)
HELD_PGBACKREST = optional(
    "pgbackrest",
    Either(
        "the name of a stanza, or the settings of a pgBackRest repository",
        text=Made(TEXT, lambda _, stanza: PgBackRest(stanza)),
        entries=PGBACKREST,
    ),
    "a pgBackRest repository",
    "main",
    "none",
)
HELD_PG_DUMP = optional(
    "pg_dump",
    Either("the path of a dump, or its settings", text=Made(TEXT, lambda _, where: PgDump(where)), entries=PG_DUMP),
    "dumps of pg_dump",
    "/backups/shop-*.dump",
    "none",
)


def _existing(fields: Fields) -> dict[str, Existing]:
    given: dict[str, Existing | None] = {
        HELD_PGBACKREST.name: fields[HELD_PGBACKREST],
        HELD_PG_DUMP.name: fields[HELD_PG_DUMP],
    }
    found: dict[str, Existing] = {name: value for name, value in given.items() if value is not None}
    if not fields.places:
        fields.at.wrong("names nothing: write `pgbackrest: STANZA` or `pg_dump: PATH`, or take the line out")
    return found


EXISTING_TABLE = Table(
    "existing",
    "backups that exist",
    "Backups of a PostgreSQL database that other programs take and hold: `backstay verify --from` proves them, and a "
    "`choose` step may name them (`from: pgbackrest`). Backstay never changes them.",
    (HELD_PGBACKREST, HELD_PG_DUMP),
    _existing,
)

EXISTING = default(
    "existing",
    EXISTING_TABLE,
    dict[str, Existing](),
    "backups of it that other programs hold",
    "{pgbackrest: main}",
    "none that Backstay should know of",
)
