"""A part of a point: some tables, one database, or the rows of one tenant with what they reference.

The point is restored into a sandbox, as a proof does, but only as much of it as the part needs (`partial`); there, what
was asked for is written to a file, or brought into another server, by PostgreSQL's own programs (`writing`), and rows
are found by following foreign keys (`rows`).
"""

from backstay.adapters.postgres.rescue.partial import Partial as Partial
from backstay.adapters.postgres.rescue.partial import part_of as part_of
from backstay.adapters.postgres.rescue.partial import tables_in_toc as tables_in_toc
from backstay.adapters.postgres.rescue.rows import Wanted as Wanted
from backstay.adapters.postgres.rescue.writing import Written as Written
from backstay.adapters.postgres.rescue.writing import into_file as into_file
from backstay.adapters.postgres.rescue.writing import into_server as into_server
