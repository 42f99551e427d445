"""Passwords and tokens, from the standard library alone.

A password is kept as `scrypt$n$r$p$salt$hash`, so that the cost can be raised later and old hashes still be read.
A token is `user.expires.signature`, signed with the key in the settings: nothing to store, nothing to clean up.
"""

import base64
import hashlib
import hmac
import secrets

N, R, P = 2**14, 8, 5
"""OWASP Password Storage Cheat Sheet: 16 MiB of memory, five rounds."""

TOKEN_LASTS_SECONDS = 12 * 3600


def _scrypt(password: str, salt: bytes, n: int, r: int, p: int) -> bytes:
    return hashlib.scrypt(password.encode(), salt=salt, n=n, r=r, p=p, maxmem=64 << 20, dklen=32)


def hashed(password: str) -> str:
    salt = secrets.token_bytes(16)
    return f"scrypt${N}${R}${P}${salt.hex()}${_scrypt(password, salt, N, R, P).hex()}"


def matches(password: str, kept: str) -> bool:
    """Whether this is the password. False, never an error, for a hash that is not one of ours."""
    match kept.split("$"):
        case ["scrypt", n, r, p, salt, expected]:
            try:
                found = _scrypt(password, bytes.fromhex(salt), int(n), int(r), int(p))
                return hmac.compare_digest(found, bytes.fromhex(expected))
            except ValueError:
                return False
        case _:
            return False


NOBODY = hashed(secrets.token_hex(16))
"""Compared with when there is no such user, so that an answer takes as long whether or not there is one."""


def _signature(key: str, text: str) -> str:
    mac = hmac.new(bytes.fromhex(key), text.encode(), hashlib.sha256).digest()
    return base64.urlsafe_b64encode(mac).decode().rstrip("=")


def signed(key: str, user_id: int, *, now: float) -> str:
    text = f"{user_id}.{int(now) + TOKEN_LASTS_SECONDS}"
    return f"{text}.{_signature(key, text)}"


def holder(key: str, token: str, *, now: float) -> int | None:
    """The user id that this token was given to; None if it is not ours or too old."""
    text, _, signature = token.rpartition(".")
    if not hmac.compare_digest(_signature(key, text).encode(), signature.encode()):
        return None
    user_id, _, expires = text.partition(".")
    return int(user_id) if int(expires) > now else None
