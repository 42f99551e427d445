"""PostgreSQL: taking, proving and restoring points of a database server.

Where to begin: `keeper` (the port), then for files `local` (taking), `laying` and `private` (a server that only we can
reach), `sandbox` (proving), `recovery` (at the site); for dumps `logical`, `logical_room`, `logical_recovery`.
`docs/explanation/postgres.md` says what must not go wrong, and where that is seen to.
"""

from backstay.adapters.postgres.keeper import PostgresKeeper as PostgresKeeper
from backstay.adapters.postgres.place import PostgresPlace as PostgresPlace
from backstay.adapters.postgres.plain import lay_down_data as lay_down_data
from backstay.adapters.postgres.plain import lay_down_dump as lay_down_dump
