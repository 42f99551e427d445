"""The edge to `pyrage`, which has no types: age (X25519, scrypt) for small secrets.

It holds Python's lock while it works: not for data.
"""

from typing import Any, cast

import pyrage

_age: Any = pyrage


def new_identity() -> tuple[str, str]:
    """A fresh identity, and its public address."""
    made = _age.x25519.Identity.generate()
    return str(made), str(made.to_public())


def address_of(identity: str) -> str:
    """`age1…`. Raises ValueError for a text that is no identity."""
    try:
        return str(_age.x25519.Identity.from_str(identity).to_public())
    except _age.IdentityError:
        raise ValueError("not an age identity") from None


def encrypt(data: bytes, address: str) -> bytes:
    """Raises ValueError for an address that is none."""
    try:
        return cast("bytes", _age.encrypt(data, [_age.x25519.Recipient.from_str(address)]))
    except _age.RecipientError:
        raise ValueError("not an age address") from None


def decrypt(sealed: bytes, identity: str) -> bytes | None:
    """None when it is not for this identity, or damaged."""
    try:
        return cast("bytes", _age.decrypt(sealed, [_age.x25519.Identity.from_str(identity)]))
    except _age.DecryptError:
        return None


def encrypt_with_words(data: bytes, words: str) -> bytes:
    """By scrypt: takes about a second, on purpose."""
    return cast("bytes", _age.passphrase.encrypt(data, words))


def decrypt_with_words(sealed: bytes, words: str) -> bytes | None:
    """None when these are not the words, or it is damaged."""
    try:
        return cast("bytes", _age.passphrase.decrypt(sealed, words))
    except _age.DecryptError:
        return None
