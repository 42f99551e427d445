"""Vaults of one plan are one family: the same root, id key and epochs. What is sealed for one opens in every other.

So a point is copied as it is, and keeps its id. A vault joins a family when it is made: it gets the signed statements
(who may write, and the epochs' keys as they were wrapped for each reader and writer) from a vault that is a member, and
a header of its own, with an id of its own. Nobody has to open a statement to hand it on: each stands for itself.
"""

import hashlib
from collections.abc import Iterable, Iterator
from datetime import datetime

from backstay.errors import NotSupported, VaultExists, WrongKey
from backstay.ports import Key, Listed, Store
from backstay.vault import names
from backstay.vault.codec import hex_of
from backstay.vault.epochs import Bundle, open_epochs, wrapped
from backstay.vault.keyring import Keyring, Recipient
from backstay.vault.keys import Opened, read_small, read_statement, sign_statement
from backstay.vault.opening import for_reader, has_header, header_body, write_header
from backstay.vault.repository import Repository
from backstay.vault.signers import read_signers

_STATEMENTS = {names.WORDS: "words", names.RETIRED: "retire", names.WRITERS: "writer", names.KEYS: "wrap"}


def join(
    store: Store, member: Repository, *, keys: Keyring, recipients: Iterable[Recipient] = (), now: datetime
) -> None:
    """Make a vault in `store` that is of the family of `member`. Whoever can read there can read here, and `recipients`
    can as well. The header is written last: half a vault is none, and joining again makes it whole.

    Raises VaultExists; WrongKey for a key that is not the root of the family: only the root signs a header.
    """
    opened = member.opened
    if keys.writer != opened.root:
        raise WrongKey(
            f"this key cannot make another vault beside {member.name}",
            detail=f"every vault of a plan has one root, and here it is {opened.root.hex()[:16]}…",
            hint="run `backstay init` with the key file that made the first vault",
        )
    if has_header(store):
        raise VaultExists(f"there is a vault in {store.describe()} already", hint="open it, or choose an empty place")
    spread_statements(member.store, store, opened)
    for key, data in _wraps(member, keys, recipients, now):
        store.put_if_absent(key, data)
    body = header_body(opened.family, opened.plan, now)
    if not store.put_if_absent(names.HEADER, write_header(sign_statement("vault", body, keys))):
        raise VaultExists(f"somebody else made a vault in {store.describe()} at this moment")


def _wraps(
    member: Repository, keys: Keyring, recipients: Iterable[Recipient], now: datetime
) -> Iterator[tuple[Key, bytes]]:
    """The epochs that we can read, for each recipient whom the family has not had as a reader."""
    opened = member.opened
    found = open_epochs(member.store, keys, opened.family, read_signers(member.store, opened.family, opened.root))
    had = {listed.key for listed in member.store.list(names.KEYS)}
    for who in dict.fromkeys(recipients):
        address, words = for_reader(opened.family, who, keys, now)
        yield from words
        for epoch in found.opened.values():
            if epoch.private is None:
                continue
            key, data = wrapped(Bundle(opened.family, found.id_key, epoch), "reader", address, keys, now=now)
            if key not in had:
                yield key, data


_LARGEST_LIST = 256 << 20
"""Bytes in the list of a retired signer: sixteen million objects."""


def spread_statements(source: Store, target: Store, opened: Opened) -> None:
    """Everything that the family states and `target` lacks, as it is: a new signer, one that was retired, a new epoch.
    What is damaged, or of another family, stays where it is. What makes others count comes after them: the list of a
    retired signer before the statement, the wraps of an epoch before it is taken into use."""
    for prefix, kind in _STATEMENTS.items():
        there = {listed.key for listed in target.list(prefix)}
        for listed in sorted(source.list(prefix), key=_makes_real):
            if listed.key not in there and (data := _sound(source, listed, kind, opened)) is not None:
                target.put_if_absent(listed.key, data)


def _makes_real(listed: Listed) -> tuple[bool, bool, Key]:
    return listed.key.endswith("/used"), not names.is_retired_list(listed.key), listed.key


def _sound(source: Store, listed: Listed, kind: str, opened: Opened) -> bytes | None:
    try:
        if names.is_retired_list(listed.key):
            if listed.size_bytes > _LARGEST_LIST:
                return None  # anybody could have put it there
            data = source.get(listed.key)
            return (
                data
                if names.retired_list(listed.key.split("/")[1], hashlib.sha256(data).digest()) == listed.key
                else None
            )
        data = read_small(source, listed)
        body = read_statement("epoch" if listed.key.endswith("/used") else kind, data)
        return data if hex_of(body, "family", 16) == opened.family else None
    except ValueError:
        return None


def same_family(one: Repository, other: Repository) -> bool:
    """Whether what is sealed for one of them opens in the other."""
    return (one.opened.family, one.opened.root) == (other.opened.family, other.opened.root)


def refuse_strangers(one: Repository, other: Repository) -> None:
    """Raises NotSupported for vaults of two families, or when they are one vault that was named twice."""
    if not same_family(one, other):
        raise NotSupported(
            f"the vaults {one.name} and {other.name} are of two families: nothing can be copied between them as it is",
            detail="each was made by itself, with keys of its own; what is sealed for one does not open in the other",
            hint=f"name an empty place for {other.name} in the plan, and `backstay init` makes it one of the family",
        )
    if one.opened.vault == other.opened.vault:
        raise NotSupported(
            f"{one.name} and {other.name} are one and the same vault",
            detail=f"both lead to the vault {one.opened.vault.hex()}",
            hint="give the second one a place of its own: two names of one place are no two copies",
        )
