"""Who may sign what: one table, and nothing else decides.

A vault is full of small signed objects, and each kind of them is some signers' business only. A host that proves
points has no reason to make one; whoever stole its key could otherwise put a point of his own beside the true ones.
What is signed by somebody who may not is refused as if a stranger had signed it.

    owner      everything, and enrols others
    writer     makes points, and everything around them
    prover     seals proofs; makes no points
    recoverer  takes the journal's next epoch, seals facts, plans, proofs and holds; makes no points

Whether somebody *reads* data back is not decided here, but by what was wrapped for him (`keys`): reading needs no
signature.
"""

from enum import Enum


class Role(Enum):
    OWNER = "owner"
    WRITER = "writer"
    PROVER = "prover"
    RECOVERER = "recoverer"

    @property
    def said(self) -> str:
        return f"{'an' if self is Role.OWNER else 'a'} {self.value}"


_MAKERS = frozenset({Role.OWNER, Role.WRITER})
_AT_RECOVERY = _MAKERS | {Role.RECOVERER}

MAY_SIGN: dict[str, frozenset[Role]] = {
    "reserved/": _MAKERS,
    "points/": _MAKERS,
    "marks/": _MAKERS,
    "index/": _MAKERS,
    "locks/": _MAKERS,
    "wal/": _MAKERS,
    "proofs/": frozenset(Role),
    "holds/": _AT_RECOVERY,
    "secrets/": _MAKERS,
    "notes/": _MAKERS,
    "notes/proofs/": _MAKERS | {Role.PROVER},
    # On the day somebody else goes on: with a journal of his own, and a plan that names the new addresses.
    "notes/journal/": _AT_RECOVERY,
    "notes/facts/": _AT_RECOVERY,
    "notes/spine/": _AT_RECOVERY,
    "notes/plan/": _AT_RECOVERY,
}
"""The beginning of a key, and who may sign below it; the longest beginning counts."""


def may_sign(role: Role, key: str) -> bool:
    """Whether `role` may sign a box under `key`. Below a name that the table does not have, nobody may."""
    fitting = [prefix for prefix in MAY_SIGN if key.startswith(prefix)]
    return bool(fitting) and role in MAY_SIGN[max(fitting, key=len)]


def role_of(text: str) -> Role | None:
    """None for a role that this version does not know: a later one may have given it, and it may do nothing here."""
    try:
        return Role(text)
    except ValueError:
        return None
