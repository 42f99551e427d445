"""The keys that a person or a host holds: one small file, which only its owner may read.

A key file has an age identity (X25519), which opens, and an Ed25519 key, which signs. What the file may do is
decided by the vault, not by the file: listed among the readers it opens everything; listed among the writers it can
add points and read their trees, and cannot read data back.

    # a comment
    AGE-SECRET-KEY-1…                     the identity
    BACKSTAY-WRITER-KEY-1 <64 digits>     the seed of the signing key
    BACKSTAY-TRUST-1 <64 digits>          any number: roots (public keys) of vaults that this file believes
"""

import os
import re
import secrets
import stat
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from backstay.errors import AccessDenied, TargetNotEmpty, WrongKey
from backstay.vault import age

SECRET_SIZE = 32
_LARGEST = 65_536
_SIGNER = re.compile(r"BACKSTAY-WRITER-KEY-1 ([0-9a-f]{64})\Z")
TRUST = "BACKSTAY-TRUST-1"
_TRUST = re.compile(rf"{TRUST} ([0-9a-f]{{64}})\Z")


@dataclass(frozen=True, slots=True)
class Passphrase:
    """Words that open an epoch, by scrypt. `label` names it in the vault (`safe`, `cto`)."""

    words: str = field(repr=False)
    label: str = "passphrase"


Recipient = str | Passphrase
"""Who can read a vault back: an `age1…` address, or whoever knows the words."""


@dataclass(frozen=True, slots=True)
class Keyring:
    """What we hold. Never shown, never written to a log."""

    identity: str | None = field(default=None, repr=False)
    """`AGE-SECRET-KEY-1…`."""
    seed: bytes | None = field(default=None, repr=False)
    """Of the Ed25519 key that signs."""
    trusted: frozenset[bytes] = frozenset()
    """Roots that this keyring believes, beside its own writer's key. Empty: it reads from any vault, and writes to
    those alone that it made itself."""
    passphrases: tuple[str, ...] = field(default=(), repr=False)
    """Words behind which a vault may keep a key (`epochs.from_words`)."""

    @classmethod
    def of(cls, secret: bytes) -> "Keyring":
        """The key that follows from 32 random bytes: what is split into shares, or kept behind a passphrase, is only
        these."""

        def derived(what: str) -> bytes:
            info = f"backstay 1 key from a secret: {what}".encode()
            return HKDF(algorithm=SHA256(), length=32, salt=None, info=info).derive(secret)

        assert len(secret) == SECRET_SIZE
        return cls(age.identity_of(derived("identity")), derived("signer"))

    @classmethod
    def load(cls, path: Path) -> "Keyring":
        """Read a key file. Raises WrongKey when it is missing, not a key, or open to others than its owner."""
        text = _read_private(path)
        identity, seed, trusted = None, None, set[bytes]()
        for line in text.splitlines():
            if not line or line.startswith("#"):
                continue
            if line.startswith("AGE-SECRET-KEY-1") and identity is None and _is_identity(line):
                identity = line
            elif (found := _SIGNER.match(line)) and seed is None:
                seed = bytes.fromhex(found.group(1))
            elif found := _TRUST.match(line):
                trusted.add(bytes.fromhex(found.group(1)))
            else:
                raise WrongKey(f"{path} is not a key file of Backstay", hint="make one with `backstay init`")
        if identity is None and seed is None:
            raise WrongKey(f"{path} holds no key")
        return cls(identity, seed, frozenset(trusted))

    @property
    def recipient(self) -> str | None:
        """The public address of the identity: `age1…`."""
        return None if self.identity is None else age.address_of(self.identity)

    @property
    def writer(self) -> bytes | None:
        """The public half of the signing key, 32 bytes."""
        return None if self.seed is None else public_of(self.seed)

    def sign(self, message: bytes) -> bytes:
        """64 bytes. Raises WrongKey when this keyring holds no signing key."""
        if self.seed is None:
            raise WrongKey("this key can read, but not write", detail="it holds no signing key")
        return Ed25519PrivateKey.from_private_bytes(self.seed).sign(message)

    def opened(self, sealed: bytes) -> bytes | None:
        """What our identity makes of an age file: None where it is not for us."""
        return None if self.identity is None else age.decrypt(sealed, self.identity)


def public_of(seed: bytes) -> bytes:
    key = Ed25519PrivateKey.from_private_bytes(seed).public_key()
    return key.public_bytes(Encoding.Raw, PublicFormat.Raw)


def wrap(secret: bytes, address: str) -> bytes:
    """An age file that only `address` opens. Raises WrongKey for an address that is none."""
    try:
        return age.encrypt(secret, address)
    except ValueError:
        raise WrongKey(f"{address!r} is not an age recipient", hint="it begins with age1") from None


def wrap_words(secret: bytes, words: str) -> bytes:
    return age.encrypt_with_words(secret, words)


def unwrap_words(sealed: bytes, words: str) -> bytes | None:
    """None when these are not the words."""
    return age.decrypt_with_words(sealed, words)


def fresh() -> Keyring:
    identity, _ = age.new_identity()
    return Keyring(identity, secrets.token_bytes(32))


def new_key(path: Path) -> Keyring:
    """Make a key file, 0600. Raises TargetNotEmpty; nothing is ever overwritten."""
    keys = fresh()
    write_key(path, keys)
    return keys


def write_key(path: Path, keys: Keyring) -> None:
    """Write a key file, 0600, and say what is in it. Raises TargetNotEmpty; nothing is ever overwritten."""
    lines = ["# A key of Backstay. What it may do is written in the vaults: `backstay key list`."]
    lines += ["# Keep a copy where the disaster cannot reach it: without any key, a vault opens for nobody."]
    if keys.identity is not None:
        lines += [f"# reader: {keys.recipient}", keys.identity]
    if keys.seed is not None:
        lines += [f"# signer: {(keys.writer or b'').hex()}", f"BACKSTAY-WRITER-KEY-1 {keys.seed.hex()}"]
    lines += [f"{TRUST} {root.hex()}" for root in sorted(keys.trusted)]
    write_private(path, "\n".join(lines) + "\n", what="key file")


def write_private(path: Path, text: str, *, what: str) -> None:
    """A new file that only its owner may read, durable. Raises TargetNotEmpty, AccessDenied."""
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(handle, "w") as file:
                file.write(text)
                file.flush()
                os.fsync(handle)
        except OSError:
            path.unlink()  # half a key would stand in the way of the next try, and pass for one
            raise
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except FileExistsError:
        raise TargetNotEmpty(f"{path} is there already", detail=f"a {what} is never overwritten") from None
    except OSError as error:
        raise AccessDenied(f"cannot write the {what} {path}: {error.strerror}") from error


def _read_private(path: Path) -> str:
    try:
        with path.open("rb") as file:
            found = os.fstat(file.fileno())
            if not stat.S_ISREG(found.st_mode) or found.st_size > _LARGEST:
                raise WrongKey(f"{path} is not a key file of Backstay")
            if found.st_mode & 0o077:
                raise WrongKey(
                    f"the key file {path} can be read by others",
                    detail=f"its mode is {stat.S_IMODE(found.st_mode):04o}",
                    hint=f"chmod 600 {path}, and think about who may have read it",
                )
            return file.read(_LARGEST).decode("ascii")
    except FileNotFoundError:
        raise WrongKey(f"there is no key file at {path}") from None
    except UnicodeDecodeError:
        raise WrongKey(f"{path} is not a key file of Backstay") from None
    except OSError as error:
        raise WrongKey(f"the key file {path} cannot be read: {error.strerror}") from error


def _is_identity(line: str) -> bool:
    try:
        age.address_of(line)
    except ValueError:
        return False
    return True
