"""SQLite: taking, proving and restoring points of one database file.

Two rules stand above the others. A process that closes *any* descriptor of a database file drops the locks that
SQLite holds on it in the same process (POSIX advisory locks; sqlite.org/howtocorrupt, 2.2): so a live file is never
opened here but through SQLite. And we never checkpoint the application's WAL (a bug of SQLite up to 3.51.2 lets a
second process that does so corrupt the database): so a live file is only ever opened read-only, and no read-only
connection can.
"""

from backstay.adapters.sqlite.keeper import SqliteKeeper as SqliteKeeper
