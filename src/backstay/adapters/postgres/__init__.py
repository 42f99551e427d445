"""PostgreSQL: taking, proving and restoring points of a database server."""

from backstay.adapters.postgres.keeper import PostgresKeeper as PostgresKeeper
from backstay.adapters.postgres.place import PostgresPlace as PostgresPlace
