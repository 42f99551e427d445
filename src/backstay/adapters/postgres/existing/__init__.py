"""Backups of PostgreSQL that other programs take and hold, as points: pgBackRest's sets, and what pg_dump wrote.

Such a point has an identity (`pgbackrest-main-20261128-024205F`), stands in the journal with its proofs like any other,
and is in no vault: where a vault's name would stand, it says who holds it (`pgbackrest:main`). It is read and never
changed. `shelf` offers them as a vault would; `pgbackrest` and `dumps` know the two formats, `scripts` plain SQL.
"""

from backstay.adapters.postgres.existing.asking import existing_sandbox as existing_sandbox
from backstay.adapters.postgres.existing.dumps import DumpPoint as DumpPoint
from backstay.adapters.postgres.existing.pgbackrest import PgBackRestPoint as PgBackRestPoint
from backstay.adapters.postgres.existing.shelf import ExistingShelf as ExistingShelf
from backstay.adapters.postgres.existing.shelf import Wanted as Wanted
