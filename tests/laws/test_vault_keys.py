"""Who may do what: readers, writers, strangers, and whoever can write to the store."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from backstay.adapters.memory.store import MemoryStore
from backstay.adapters.objectstore import FolderStore
from backstay.errors import AccessDenied, TargetNotEmpty, VaultExists, VaultMissing, WrongKey
from backstay.ports import Cutter, Key
from backstay.vault import Keyring, Passphrase, Repository, create, new_key, open_vault
from backstay.vault.epochs import Bundle, new_epoch, wrapped
from backstay.vault.roles import Role
from backstay.vault.signers import enrolment
from fix_vault import DB, NOW, PLAN, SMALL, File, back_up, expected, held, keyring, later, new_vault, noise

OWNER, HOST, STRANGER = keyring(0), keyring(1), keyring(2)


def _address(keys: Keyring) -> str:
    assert keys.recipient is not None
    return keys.recipient


# ── the file ─────────────────────────────────────────────────────────────────────────────────────


def test_a_new_key_is_for_its_owner_only_and_comes_back_as_it_was(tmp_path: Path) -> None:
    made = new_key(tmp_path / "key")
    assert (tmp_path / "key").stat().st_mode & 0o777 == 0o600
    assert Keyring.load(tmp_path / "key") == made
    assert f"# reader: {made.recipient}" in (tmp_path / "key").read_text()


def test_a_full_disk_leaves_no_half_of_a_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(AccessDenied, match="No space left"):
        new_key(tmp_path / "key")
    monkeypatch.undo()
    assert not (tmp_path / "key").exists()
    new_key(tmp_path / "key")


def test_a_key_is_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("precious")
    with pytest.raises(TargetNotEmpty, match="key"):
        new_key(tmp_path / "key")
    assert (tmp_path / "key").read_text() == "precious"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644, 0o610])
def test_a_key_file_that_others_may_read_is_refused(tmp_path: Path, mode: int) -> None:
    new_key(tmp_path / "key")
    (tmp_path / "key").chmod(mode)
    with pytest.raises(WrongKey, match="can be read by others") as caught:
        Keyring.load(tmp_path / "key")
    assert "chmod 600" in caught.value.hint


@pytest.mark.parametrize(
    "text",
    ["", "# nothing\n", "hello\n", "AGE-SECRET-KEY-1QQQQ\n", "BACKSTAY-WRITER-KEY-1 12\n", "\0\xff", "x" * 70_000],
)
def test_what_is_no_key_file_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "key").write_text(text, encoding="latin-1")
    (tmp_path / "key").chmod(0o600)
    with pytest.raises(WrongKey):
        Keyring.load(tmp_path / "key")


def test_a_key_file_that_is_not_there_or_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WrongKey, match="no key file"):
        Keyring.load(tmp_path / "none")
    with pytest.raises(WrongKey):
        Keyring.load(tmp_path)


def test_a_keyring_never_shows_its_secrets() -> None:
    shown = repr(replace(OWNER, passphrases=("correct horse",)))
    assert OWNER.identity is not None
    assert OWNER.identity not in shown
    assert "correct" not in shown
    assert repr(OWNER.seed) not in shown
    assert "horse" not in repr(Passphrase("correct horse"))


# ── opening ──────────────────────────────────────────────────────────────────────────────────────


def test_a_wrong_key_says_whom_the_vault_opens_for() -> None:
    store = MemoryStore()
    new_vault(store, OWNER)
    with pytest.raises(WrongKey, match="no key that we hold opens") as caught:
        open_vault(store, "local", STRANGER)
    assert _address(OWNER) in caught.value.detail


def test_where_there_is_no_vault_none_is_opened(tmp_path: Path) -> None:
    with pytest.raises(VaultMissing, match="no vault"):
        open_vault(FolderStore(tmp_path / "none"), "local", OWNER)
    assert not (tmp_path / "none").exists()


def test_a_vault_is_made_once() -> None:
    store = MemoryStore()
    new_vault(store)
    before = dict(store.objects)
    with pytest.raises(VaultExists):
        create(store, plan_name="other", keys=STRANGER, now=NOW)
    assert store.objects == before


def test_a_vault_can_be_read_by_every_recipient() -> None:
    store = MemoryStore()
    create(store, plan_name="p", keys=OWNER, recipients=[_address(OWNER), _address(HOST)], now=NOW)
    point = back_up(open_vault(store, "local", OWNER), SMALL)
    assert held(open_vault(store, "local", HOST).open(point.id)) == expected(SMALL)


def test_an_address_that_is_none_is_refused() -> None:
    with pytest.raises(WrongKey, match="not an age recipient"):
        create(MemoryStore(), plan_name="p", keys=OWNER, recipients=["age1nonsense"], now=NOW)


def test_a_key_that_cannot_sign_makes_no_vault() -> None:
    with pytest.raises(WrongKey):
        create(MemoryStore(), plan_name="p", keys=replace(OWNER, seed=None), now=NOW)


# ── writing without reading ──────────────────────────────────────────────────────────────────────


def _write_only() -> tuple[MemoryStore, Repository]:
    """A vault made on a host whose own key is no recipient."""
    store = MemoryStore()
    create(store, plan_name="p", keys=HOST, recipients=[_address(OWNER)], now=NOW)
    return store, open_vault(store, "local", HOST)


def test_a_write_only_host_can_back_up_again_and_again_and_cannot_read_back() -> None:
    store, vault = _write_only()
    first = back_up(vault, SMALL)
    second = back_up(vault, {**SMALL, "new": File(noise(200_000))}, now=later(1))
    assert second.stored_bytes < 210_000
    assert vault.points() == [first, second]
    assert {entry.path for entry in vault.open(first.id).entries()} >= SMALL.keys()
    for path in ("PG_VERSION", "base/1/1259", "dump/tenants"):
        with pytest.raises(WrongKey, match=f"{path!r} in point") as caught:
            list(vault.open(first.id).read(path))
        assert "cannot read data back" in caught.value.detail
    reader = open_vault(store, "local", replace(OWNER, trusted=frozenset({HOST.writer or b""})))
    assert held(reader.open(second.id)) == expected({**SMALL, "new": File(noise(200_000))})


def test_what_a_writer_holds_does_not_open_data_however_it_is_asked() -> None:
    _, vault = _write_only()
    assert [epoch.private for epoch in vault.opened.epochs.values()] == [None]


def test_who_only_reads_cannot_write() -> None:
    store = MemoryStore()
    new_vault(store, OWNER)
    reader = open_vault(store, "local", replace(OWNER, seed=None))
    with pytest.raises(WrongKey, match="not write"):
        reader.begin(DB, plan=PLAN, now=NOW)
    with pytest.raises(WrongKey):
        reader.keep_note("a", b"x")


def test_a_recipient_who_is_not_enrolled_cannot_write_until_he_is() -> None:
    store = MemoryStore()
    create(store, plan_name="p", keys=OWNER, recipients=[_address(OWNER), _address(HOST)], now=NOW)
    host = open_vault(store, "local", HOST)
    assert not host.root_known
    with pytest.raises(WrongKey, match="not enrolled"):
        back_up(host, SMALL)
    already_open = open_vault(store, "local", OWNER)
    key, data = enrolment(HOST.writer or b"", Role.WRITER, OWNER, family=host.opened.family, now=NOW)
    assert store.put_if_absent(key, data)
    with pytest.raises(WrongKey, match="does not know the root"):
        back_up(open_vault(store, "local", HOST), SMALL)
    host = open_vault(store, "local", replace(HOST, trusted=frozenset({OWNER.writer or b""})))
    assert host.root_known
    point = back_up(host, SMALL)
    assert already_open.points() == [point], "one who opened the vault before learns of the new writer"


def test_a_writer_who_is_no_owner_enrols_nobody() -> None:
    store = MemoryStore()
    create(store, plan_name="p", keys=OWNER, recipients=[_address(HOST), _address(OWNER)], now=NOW)
    family = open_vault(store, "local", OWNER).opened.family
    for who, role, by in ((HOST, Role.WRITER, OWNER), (STRANGER, Role.OWNER, HOST)):
        key, data = enrolment(who.writer or b"", role, by, family=family, now=NOW)
        store.put_if_absent(key, data)
    writers = open_vault(store, "local", OWNER).opened.writers
    assert writers == {OWNER.writer: "owner", HOST.writer: "writer"}


# ── somebody who can write to the store ──────────────────────────────────────────────────────────


def test_an_epoch_that_somebody_slips_in_is_not_used() -> None:
    """Else the writer would seal the next backup to a key of the thief's."""
    store = MemoryStore()
    family = new_vault(store, OWNER).opened.family
    key, data = wrapped(Bundle(family, bytes(32), new_epoch(9)), "writer", _address(OWNER), STRANGER, now=NOW)
    store.put_if_absent(key, data)
    vault = open_vault(store, "local", OWNER)
    assert vault.opened.newest.number == 1
    assert "nobody whom the root knows" in vault.passed_over[key]


def test_a_whole_vault_that_somebody_put_in_its_place_is_not_trusted() -> None:
    forged = MemoryStore()
    create(forged, plan_name="p", keys=STRANGER, recipients=[_address(OWNER)], now=NOW)
    with pytest.raises(WrongKey, match="does not trust"):
        open_vault(forged, "local", replace(OWNER, trusted=frozenset({OWNER.writer or b""})))


def test_a_header_that_names_another_root_does_not_open() -> None:
    store = MemoryStore()
    new_vault(store, OWNER)
    other = MemoryStore()
    new_vault(other, STRANGER)
    store.objects[Key("vault")] = other.objects[Key("vault")]
    with pytest.raises(WrongKey):
        open_vault(store, "local", OWNER)


def test_wraps_show_no_secret_but_the_address() -> None:
    store = MemoryStore()
    vault = new_vault(store, OWNER)
    secrets = {vault.opened.newest.metadata_key.hex(), (vault.opened.newest.private or b"").hex()}
    for listed in store.list("keys/"):
        text = store.get(listed.key).decode()
        assert json.loads(text)["for"] == _address(OWNER)
        assert not any(secret in text for secret in secrets)


def test_no_plaintext_and_no_file_name_is_in_any_object() -> None:
    store = MemoryStore()
    vault = new_vault(store)
    secret = b"a very recognisable row of somebody's data, more than once. "
    back_up(vault, {"recognisable-name": File(secret * 3), "pages": File(secret * 3000, cutter=Cutter.FIXED_64K)})
    vault.keep_note("plan/sha256:00", secret)
    everything = b"".join(store.objects.values())
    assert secret[:20] not in everything
    assert b"recognisable-name" not in everything


def test_the_same_file_in_two_vaults_looks_different() -> None:
    stores = MemoryStore(), MemoryStore()
    for store in stores:
        back_up(new_vault(store), {"a": File(noise(1000))})
    one, two = ({listed.key for listed in store.list("packs/")} for store in stores)
    assert not one & two
