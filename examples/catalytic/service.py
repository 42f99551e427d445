"""What the service does, without HTTP: accounts and lattices, each call one short transaction or two.

Every call may raise psycopg.Error or Busy (no database), and SettingsAway.
"""

import time
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import psycopg
from psycopg.types.json import Jsonb

from catalytic import lattice, passwords
from catalytic.database import Connection, Database
from catalytic.settings import Settings


class Taken(Exception):
    """Somebody else has this e-mail address or this tenant's name."""


class Closed(Exception):
    """The settings do not allow registration now."""


class NotLoggedIn(Exception):
    """Wrong password, no valid token, or a user who is gone."""


class TooLarge(Exception):
    """A lattice with more nodes than the settings allow."""


@dataclass(frozen=True, slots=True)
class User:
    id: int
    tenant_id: int


@dataclass(frozen=True, slots=True)
class Lattice:
    id: UUID
    dimensions: int
    size: int
    nodes: int
    result: dict[str, object]
    created_at: datetime


class Service:
    """Safe to use from several threads."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self.database, self.settings = database, settings

    def register(self, email: str, password: str, tenant: str | None, address: str | None) -> User:
        """A new tenant with this user as its owner: nobody walks into somebody else's. Raises Taken, Closed."""
        if self.settings.get("registration") != "open":
            raise Closed("registration is closed")
        secret = passwords.hashed(password)
        try:
            with self.database.transaction() as connection:
                row = connection.execute(
                    "WITH t AS (INSERT INTO tenants (name) VALUES (%s) RETURNING id)"
                    " INSERT INTO users (tenant_id, email, role, password_hash) SELECT id, %s, 'owner', %s FROM t"
                    " RETURNING id, tenant_id",
                    (tenant or email, email, secret),
                ).fetchone()
                assert row is not None
                user = User(*row)
                _note(connection, user, "register", address)
        except psycopg.errors.UniqueViolation as error:
            of_tenant = tenant is not None and error.diag.constraint_name == "tenants_name"
            raise Taken(f"this {'tenant' if of_tenant else 'e-mail address'} is taken") from None
        self.settings.count("register")
        return user

    def log_in(self, email: str, password: str, address: str | None) -> str:
        """A token. Raises NotLoggedIn, after the same time whether or not there is such a user."""
        with self.database.transaction() as connection:
            row = connection.execute(
                "SELECT id, tenant_id, password_hash FROM users WHERE lower(email) = lower(%s)", (email,)
            ).fetchone()
        # Between two transactions: nobody holds a connection while a hash is computed.
        right = passwords.matches(password, passwords.NOBODY if row is None else row[2])
        if row is None or not right:
            raise NotLoggedIn("wrong e-mail address or password")
        user = User(row[0], row[1])
        with self.database.transaction() as connection:
            if connection.execute("UPDATE users SET last_login_at = now() WHERE id = %s", (user.id,)).rowcount == 0:
                raise NotLoggedIn("wrong e-mail address or password")
            _note(connection, user, "login", address)
        self.settings.count("login")
        return passwords.signed(self.settings.get("signing_key"), user.id, now=time.time())

    def holder(self, token: str) -> User:
        """Whose token this is. Raises NotLoggedIn."""
        user_id = passwords.holder(self.settings.get("signing_key"), token, now=time.time())
        if user_id is None:
            raise NotLoggedIn("this token is not valid; log in again")
        with self.database.transaction() as connection:
            row = connection.execute("SELECT id, tenant_id FROM users WHERE id = %s", (user_id,)).fetchone()
        if row is None:
            raise NotLoggedIn("this user is gone")
        return User(*row)

    def remove(self, user: User) -> None:
        """The user and its lattices (by cascade); the tenant too when this was its last user."""
        with self.database.transaction() as connection:
            connection.execute("DELETE FROM users WHERE id = %s", (user.id,))
            connection.execute(
                "DELETE FROM tenants t WHERE id = %s AND NOT EXISTS (SELECT FROM users u WHERE u.tenant_id = t.id)",
                (user.tenant_id,),
            )
        self.settings.count("removal")

    def create_lattice(self, user: User, dimensions: int, size: int, address: str | None) -> Lattice:
        """Raises TooLarge, NotLoggedIn."""
        most = int(self.settings.get("max_nodes"))
        if size**dimensions > most:
            raise TooLarge(f"a lattice may have {most} nodes, not {size**dimensions}")
        result = lattice.study(dimensions, size)
        try:
            with self.database.transaction() as connection:
                row = connection.execute(
                    "INSERT INTO lattices (tenant_id, created_by, dimensions, size, payload)"
                    " VALUES (%s, %s, %s, %s, %s) RETURNING uuid, dimensions, size, nodes, payload, created_at",
                    (user.tenant_id, user.id, dimensions, size, Jsonb(result)),
                ).fetchone()
                assert row is not None
                _note(connection, user, "lattice", address)
        except psycopg.errors.ForeignKeyViolation:
            raise NotLoggedIn("this user is gone") from None
        self.settings.count("lattice")
        return Lattice(*row)

    def lattices(self, user: User, limit: int) -> list[Lattice]:
        """Of the user's tenant, newest first."""
        with self.database.transaction() as connection:
            rows = connection.execute(
                "SELECT uuid, dimensions, size, nodes, payload, created_at FROM lattices WHERE tenant_id = %s"
                " ORDER BY created_at DESC LIMIT %s",
                (user.tenant_id, limit),
            ).fetchall()
        return [Lattice(*row) for row in rows]

    def counts(self) -> dict[str, int]:
        """Rows by table, counted now."""
        with self.database.transaction() as connection:
            row = connection.execute(
                "SELECT (SELECT count(*) FROM tenants), (SELECT count(*) FROM users), (SELECT count(*) FROM lattices)"
            ).fetchone()
        assert row is not None
        return dict(zip(("tenants", "users", "lattices"), row))


def _note(connection: Connection, user: User, kind: str, address: str | None) -> None:
    connection.execute(
        "INSERT INTO events (tenant_id, user_id, kind, address) VALUES (%s, %s, %s, %s::inet)",
        (user.tenant_id, user.id, kind, address),
    )
