"""The edge to `pyrage`, which has no types: age (X25519, scrypt) for small secrets.

It holds Python's lock while it works: not for data.
"""

from typing import Any, cast

import pyrage

_age: Any = pyrage
_PREFIX = "age-secret-key-"
_LETTERS = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"


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


def identity_of(secret: bytes) -> str:
    """The identity that has these 32 bytes as its X25519 key: `AGE-SECRET-KEY-1…`, in Bech32 (BIP 173)."""
    words, bits, held = list[int](), 0, 0
    for byte in secret:
        held, bits = held << 8 | byte, bits + 8
        while bits >= 5:
            bits -= 5
            words.append(held >> bits & 31)
    if bits:
        words.append(held << 5 - bits & 31)
    spread = [ord(char) >> 5 for char in _PREFIX] + [0] + [ord(char) & 31 for char in _PREFIX]
    check = _polymod([*spread, *words, 0, 0, 0, 0, 0, 0]) ^ 1
    words += [check >> 5 * (5 - i) & 31 for i in range(6)]
    return f"{_PREFIX}1{''.join(_LETTERS[word] for word in words)}".upper()


def _polymod(words: list[int]) -> int:
    check = 1
    for word in words:
        top = check >> 25
        check = (check & 0x1FFFFFF) << 5 ^ word
        for i, generator in enumerate((0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)):
            check ^= generator if top >> i & 1 else 0
    return check


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
