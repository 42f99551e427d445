"""The journal's own key: Ed25519, made on first use, kept beside the journal and readable by its owner only."""

import os
from pathlib import Path
from secrets import token_hex

from backstay.errors import AccessDenied, Damaged
from backstay.facts import Spine, signed_part

KEY_FILE = "journal.key"


class SigningKey:
    """Signs spines. The private half never leaves this object."""

    def __init__(self, seed: bytes) -> None:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        self.public: str = self._key.public_key().public_bytes_raw().hex()

    @staticmethod
    def of(folder: Path) -> "SigningKey":
        """The key in `folder`; made there if there is none. Raises Damaged, AccessDenied."""
        path = folder / KEY_FILE
        try:
            if not path.exists():
                _make(path)
            seed = path.read_bytes()
        except OSError as error:
            raise AccessDenied(f"the journal's key cannot be read: {path}", detail=error.strerror or "") from error
        if len(seed) != 32:
            raise Damaged(f"the journal's key is damaged: {path}", detail=f"{len(seed)} bytes, not 32")
        return SigningKey(seed)

    def sign(self, data: bytes) -> str:
        """Hexadecimal."""
        return self._key.sign(data).hex()


def holds(public: str, data: bytes, signature: str) -> bool:
    """Is this the signature of `data` by that key (both hexadecimal)? Anything malformed is a no."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        Ed25519PublicKey.from_public_bytes(bytes.fromhex(public)).verify(bytes.fromhex(signature), data)
    except (ValueError, InvalidSignature):
        return False
    return True


def signed(spine: Spine, public: str) -> bool:
    """Is the spine signed by this journal's own key? One that merely names a key of its own could be anybody's: whoever
    can write into the vault could silence the journal with it."""
    return spine.signer == public and holds(public, signed_part(spine), spine.signature)


def _make(path: Path) -> None:
    making = path.with_name(f".{path.name}.{token_hex(6)}")
    try:
        opened = os.open(making, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        with os.fdopen(opened, "wb") as file:
            file.write(os.urandom(32))
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(making, path)
        except FileExistsError:
            return  # another process was first: its key is the key
    finally:
        making.unlink(missing_ok=True)
