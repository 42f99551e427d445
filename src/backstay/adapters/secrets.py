"""Secrets from the environment and from files: `${env:NAME}` and `${file:PATH}`.

A value is read when it is used, every time: a rotated secret is found, and nothing here keeps one. What an error says
is the reference, never the value, nor a part of it, nor its length.

Which files are refused. A file that others may *write* is refused anywhere: who can change the password can send us to
another server. A file that others may *read* is refused where somebody could put that right (`chmod o=`), as ssh does
with its keys. On a read-only mount nobody can: there Docker (`/run/secrets`, 0444) and Kubernetes (volumes, 0644)
hand out secrets to a container of one user, and the mode says nothing. Readable by the group is how a service account
shares one with its operators, and is accepted. The key of a vault is refused: no server is asked with one, and a plan
that a thief sealed with a host's key could name it in an address of his own.
"""

import os
import stat
from collections.abc import Callable, Mapping
from pathlib import Path

from backstay.errors import SecretMissing
from backstay.plan import Ref, Space

_KEYS_OF_VAULTS = ("AGE-SECRET-KEY-1", "BACKSTAY-WRITER-KEY-1")
LARGEST_BYTES = 64 << 10
"""Longer is no password, token or key, but the wrong file."""


class EnvironmentAndFiles:
    """`base` is the folder of the plan: relative paths of `${file:…}` start there."""

    def __init__(self, base: Path, environment: Mapping[str, str] | None = None) -> None:
        self._base = base
        self._environment = os.environ if environment is None else environment

    def value(self, ref: Ref) -> str:
        """The text behind the reference; of a file, without one newline at its end. Raises SecretMissing."""
        match ref.space:
            case Space.ENV:
                return self._from_environment(ref)
            case Space.FILE:
                return self._from_file(ref)
            case _:
                raise AssertionError(f"not a secret: {ref}")

    def is_absent(self, ref: Ref) -> bool:
        """Whether nobody gave a value here. A file that is refused, because others may change it, is not absent."""
        if ref.space is Space.ENV:
            return not self._environment.get(ref.path)
        return not os.path.lexists(self._base / ref.path)

    def _from_environment(self, ref: Ref) -> str:
        found = self._environment.get(ref.path)
        if found is None:
            raise SecretMissing(
                f"{ref} has no value here",
                detail="the environment has no variable of that name",
                hint=f"export {ref.path}=…, or name a file in the plan: ${{file:PATH}}",
            )
        if not found:
            raise SecretMissing(f"{ref} is empty", detail="the variable is set, and has no text in it")
        return found

    def _from_file(self, ref: Ref) -> str:
        path = self._base / ref.path
        data = _read_guarded(ref, path)
        try:
            text = data.decode()
        except UnicodeDecodeError:
            raise SecretMissing(f"{ref} cannot be read as text", detail=f"{path} is not UTF-8") from None
        if any(key in text for key in _KEYS_OF_VAULTS):
            raise SecretMissing(
                f"{ref} is not used: it is the key of a vault, and no secret of the plan",
                detail=f"the file {path} opens every backup; nothing that the plan names has a use for it",
            )
        text = text.removesuffix("\n").removesuffix("\r")
        if not text or "\0" in text:
            raise SecretMissing(
                f"{ref} is empty" if not text else f"{ref} holds a zero byte", detail=f"the file {path}"
            )
        return text


class OrSealed:
    """Values from here; and where nobody gave one, from what was sealed into a vault: an empty machine can recover.

    What is here always comes first: a password that was changed is newer than what was sealed. `sealed` is asked once,
    when the first value is missing, and gives values by their reference (`${env:NAME}`); it gives none where there is
    no vault to ask, or our key opens no letters.
    """

    def __init__(self, here: EnvironmentAndFiles, sealed: Callable[[], Mapping[str, str]]) -> None:
        self.here = here
        self.taken: set[str] = set()
        """The references that had to be looked up in the vault, to be said."""
        self._ask = sealed
        self._sealed: Mapping[str, str] | None = None

    def value(self, ref: Ref) -> str:
        """Raises SecretMissing."""
        try:
            return self.here.value(ref)
        except SecretMissing:
            if not self.here.is_absent(ref):
                raise
            if self._sealed is None:
                self._sealed = self._ask()
            if (found := self._sealed.get(str(ref))) is None:
                raise
        self.taken.add(str(ref))
        return found


def _read_guarded(ref: Ref, path: Path) -> bytes:
    try:
        # Not blocking: a pipe in the place of a secret must not hold up a recovery.
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise SecretMissing(
            f"{ref} has no value here",
            detail=f"{path}: {error.strerror}",
            hint="relative paths start at the plan's folder",
        ) from None
    try:
        if why := _unfit(os.fstat(fd), os.fstatvfs(fd)):
            raise SecretMissing(f"{ref} is not used: {why}", detail=f"the file {path}", hint=f"chmod go-w,o= {path}")
        data = os.read(fd, LARGEST_BYTES + 1)
    except OSError as error:
        raise SecretMissing(f"{ref} cannot be read", detail=f"{path}: {error.strerror}") from None
    finally:
        os.close(fd)
    if len(data) > LARGEST_BYTES:
        raise SecretMissing(
            f"{ref} is larger than {LARGEST_BYTES >> 10} KiB: the wrong file", detail=f"the file {path}"
        )
    return data


def _unfit(found: os.stat_result, mount: os.statvfs_result) -> str:
    """Why a file may not be used as a secret; empty: it may."""
    if not stat.S_ISREG(found.st_mode):
        return "it is not a file"
    if mount.f_flag & os.ST_RDONLY:
        return ""
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return "others may change it"
    if found.st_mode & stat.S_IROTH:
        return "every user of this machine may read it"
    return ""
