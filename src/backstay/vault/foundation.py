"""Mending what a vault cannot be opened without: its header, enrolments, and wrapped keys.

Enrolments and wrapped keys are the same in every vault of a family: a damaged one is replaced by the copy of another
vault, and where a killed process left none, the copy is put there the next time. The header is each vault's own. Its
signed line may be whole, and only what is around it changed; else the root signs a new one, for a place that is shown
by the keys that lie there to be of the family.
"""

from collections.abc import Iterator, Sequence

from backstay.errors import Damaged, ObjectMissing, VaultMissing
from backstay.ports import Key, Store
from backstay.vault import names
from backstay.vault.codec import hex_of, unpack_json
from backstay.vault.epochs import examine
from backstay.vault.family import spread_statements
from backstay.vault.keyring import Keyring
from backstay.vault.keys import Opened, read_statement, sign_statement
from backstay.vault.opening import header_body, read_header, write_header
from backstay.vault.repository import Repository


def mend_foundation(store: Store, others: Sequence[Repository], keys: Keyring) -> Iterator[str]:
    """Says what was done. Raises Damaged where it cannot be done, VaultNewer, VaultMissing for a place that never was
    a vault of such a family; and what the store raises."""
    if said := _mend_header(store, others, keys):
        yield said
    header = read_header(store.get(names.HEADER), store.describe())
    family, root = hex_of(header, "family", 16), hex_of(header, "by", 32)
    for one in others:
        if (one.opened.family, one.opened.root) != (family, root):
            continue
        doubtful = {passed.key for passed in examine(one.store, family, root)}
        for passed in examine(store, family, root):
            key = Key(passed.key)
            if passed.key in doubtful or (data := _stored(one.store, key)) is None:
                continue  # a stranger's, or damaged there too
            store.delete(key)
            store.put_if_absent(key, data)
            yield f"{passed.key} was replaced by the copy of {one.name}"
        spread_statements(one.store, store, one.opened)


def _stored(store: Store, key: Key) -> bytes | None:
    try:
        return store.get(key)
    except ObjectMissing:
        return None


def _mend_header(store: Store, others: Sequence[Repository], keys: Keyring) -> str:
    """What was done; nothing where it is whole."""
    try:
        found: bytes | None = store.get(names.HEADER)
    except ObjectMissing:
        found = None
    if found is not None:
        try:
            read_header(found, store.describe())
        except Damaged:
            pass
        else:
            return ""
    said, header = _header_again(store, found, others, keys)
    if found is not None:
        store.delete(names.HEADER)
    store.put_if_absent(names.HEADER, header)
    return said


def _header_again(store: Store, found: bytes | None, others: Sequence[Repository], keys: Keyring) -> tuple[str, bytes]:
    for line in (found or b"").split(b"\n"):
        try:
            read_statement("vault", line)
        except ValueError:
            continue
        return "its header was mended: what the root had signed in it was whole", write_header(line)
    for one in others:
        if _belongs(store, one.opened):
            return _signed_anew(store, one, keys)
    where = store.describe()
    if found is None:
        raise VaultMissing(
            f"there is no vault in {where}",
            detail="nothing there belongs to the family of another vault at hand",
            hint="compare the address with the plan, and see whether its disk is mounted",
        )
    raise Damaged(
        f"the header of the vault in {where} is damaged, and nothing at hand can mend it",
        detail="what the root had signed in it is changed, and no other vault of its family is at hand",
        hint="name one with --from",
    )


def _signed_anew(store: Store, one: Repository, keys: Keyring) -> tuple[str, bytes]:
    if keys.writer != one.opened.root:
        raise Damaged(
            f"the header of the vault in {store.describe()} is lost, and this key cannot sign a new one",
            detail=f"only the root can: {one.opened.root.hex()[:16]}…",
            hint="mend it with the key file that made the first vault of the plan",
        )
    body = header_body(one.opened.family, one.opened.plan, store.now())
    return f"it has a new header, of the family of {one.name}", write_header(sign_statement("vault", body, keys))


def _belongs(store: Store, opened: Opened) -> bool:
    """Whether a statement about the keys of the family lies there, and counts."""
    doubtful = {passed.key for passed in examine(store, opened.family, opened.root)}
    return any(
        listed.key not in doubtful and unpack_json(store.get(listed.key)).get("family") == opened.family.hex()
        for listed in store.list(names.KEYS)
    )
