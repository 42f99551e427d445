"""A passphrase opens a vault. Deriving a key from words is slow on purpose (scrypt): too slow for the fast part."""

import pytest

from backstay.adapters.memory.store import MemoryStore
from backstay.errors import WrongKey
from backstay.vault import Keyring, Passphrase, create, open_vault
from fix_vault import NOW, SMALL, back_up, expected, held, keyring

OWNER = keyring(0)


def test_a_passphrase_opens_a_vault_and_another_does_not() -> None:
    store = MemoryStore()
    recipients = [OWNER.recipient or "", Passphrase("correct horse battery", "safe")]
    create(store, plan_name="p", keys=OWNER, recipients=recipients, now=NOW)
    point = back_up(open_vault(store, "local", OWNER), SMALL)
    by_words = open_vault(store, "local", Keyring(passphrases=("correct horse battery",)))
    assert held(by_words.open(point.id)) == expected(SMALL)
    with pytest.raises(WrongKey) as caught:
        open_vault(store, "local", Keyring(passphrases=("incorrect horse",)))
    assert "(safe)" in caught.value.detail
