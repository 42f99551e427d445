"""PostgreSQL: taking, proving and restoring points of a database server.

Where to begin: `keeper` (the port), then for files `local` (taking), `laying` and `private` (a server that only we can
reach), `sandbox` (proving), `recovery` (at the site); for dumps `logical`, `logical_room`, `logical_recovery`.
`docs/explanation/postgres.md` says what must not go wrong, and where that is seen to.
"""

from typing import TYPE_CHECKING

from backstay.adapters.postgres.place import PostgresPlace as PostgresPlace
from backstay.adapters.postgres.plain import lay_down_data as lay_down_data
from backstay.adapters.postgres.plain import lay_down_dump as lay_down_dump

if TYPE_CHECKING:
    from backstay.adapters.postgres.keeper import PostgresKeeper as PostgresKeeper


def __getattr__(name: str) -> object:
    """The keeper needs psycopg; laying a point down as files needs nothing, and must work on an empty machine."""
    if name != "PostgresKeeper":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        from backstay.adapters.postgres import keeper
    except ImportError as error:
        from backstay.errors import ToolMissing

        raise ToolMissing(
            "the client library of PostgreSQL is not installed",
            detail=str(error),
            hint="in Backstay's clone: pip install '.[postgres]'",
        ) from None
    return keeper.PostgresKeeper
