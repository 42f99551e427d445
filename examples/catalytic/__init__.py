"""Catalytic Computing: a small but real SaaS, the system that Backstay protects in its demo, drills and tests.

It knows nothing of Backstay, and imports nothing from it. Tenants, users and lattices live in PostgreSQL
(`database`, `schema.sql`), settings in SQLite (`settings`); `app` is the HTTP service. Around it: `seed` fills it,
`writer` keeps it busy and keeps an independent log of every committed row, `wreck` destroys it.
"""


class Refused(Exception):
    """An operator asked for something that cannot or must not be done. The text says what, and what to try."""
