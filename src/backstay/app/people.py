"""People and their keys: whose word is behind an answer, and whether a signature holds.

An approval is signed with the ssh-ed25519 key that the plan names for a person, as `ssh-keygen -Y sign` does or by
Backstay itself. The words that are signed are `machine.approval_words`: they can be carried to another machine.
"""

import base64
import binascii
import struct

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from backstay.errors import NotAuthorised, Usage
from backstay.facts import PersonAnswered
from backstay.machine import Signed
from backstay.plan import Plan
from backstay.values import PersonName, listed


def signature_holds(plan: Plan) -> Signed:
    """The engine's check of signed answers, by the keys of the plan."""

    def holds(words: bytes, answered: PersonAnswered) -> bool:
        person = plan.people.get(answered.who)
        if person is None or person.key is None:
            return False
        try:
            public = Ed25519PublicKey.from_public_bytes(public_bytes(person.key))
            public.verify(base64.b64decode(answered.signature, validate=True), words)
        except (InvalidSignature, ValueError, binascii.Error):
            return False
        return True

    return holds


def public_bytes(key: str) -> bytes:
    """The 32 bytes of an OpenSSH public key line (RFC 8709, section 4). Raises ValueError."""
    kind, _, rest = key.strip().partition(" ")
    blob = base64.b64decode(rest.split(" ")[0], validate=True)
    parts: list[bytes] = []
    while blob:
        (length,) = struct.unpack_from(">I", blob)
        if length > len(blob) - 4:
            raise ValueError("cut short")
        parts.append(blob[4 : 4 + length])
        blob = blob[4 + length :]
    if kind != "ssh-ed25519" or len(parts) != 2 or parts[0] != b"ssh-ed25519" or len(parts[1]) != 32:
        raise ValueError("not an ssh-ed25519 key")
    return parts[1]


def somebody(plan: Plan, by: str | None) -> PersonName:
    """The person of the plan who acts. Raises Usage where it was not said, NotAuthorised for a stranger."""
    known = listed(plan.people, "or") or "nobody: add people to the plan"
    if by is None:
        example = next(iter(plan.people), "NAME")
        hint = f"add --by {example}, or set BACKSTAY_PERSON={example} in your shell"
        raise Usage("nobody said who you are", detail=f"the plan knows {known}", hint=hint)
    if PersonName(by) not in plan.people:
        raise NotAuthorised(
            f"the plan does not know {by!r}",
            detail=f"it knows {known}",
            hint="name one of them with --by; who you really are is written down with what you do",
        )
    return PersonName(by)
