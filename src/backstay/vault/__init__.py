"""The backup repository: recovery points in a store, sealed with the keys we hold.

`docs/reference/vault-format.md` spells out every byte. From the bottom: `codec`, `names` (where things lie), `keyring`,
`keys`, `roles`, `signers` and `epochs` (who may do what), `frames`, `packs` and `boxes` (what is sealed how), `nodes`
and `trees` (what a point consists of), `lanes` and `writer` (making one), `reader` and `extract` (getting it back),
`repository` (the Vault), `letters` (the plan's secrets).
"""

from backstay.vault.backed import Backed as Backed
from backstay.vault.checks import Finding as Finding
from backstay.vault.checks import check as check
from backstay.vault.family import join as join
from backstay.vault.family import refuse_strangers as refuse_strangers
from backstay.vault.keyring import Keyring as Keyring
from backstay.vault.keyring import Passphrase as Passphrase
from backstay.vault.keyring import Recipient as Recipient
from backstay.vault.keyring import new_key as new_key
from backstay.vault.letters import SealedSecrets as SealedSecrets
from backstay.vault.letters import is_sealed as is_sealed
from backstay.vault.letters import open_secrets as open_secrets
from backstay.vault.letters import seal_secrets as seal_secrets
from backstay.vault.letters import sealed_secrets as sealed_secrets
from backstay.vault.opening import lay_foundation as create
from backstay.vault.repository import Repository as Repository
from backstay.vault.repository import open_vault as open_vault

__all__ = [
    "Backed", "Finding", "Keyring", "Passphrase", "Recipient", "Repository", "SealedSecrets", "check", "create",
    "is_sealed", "join", "new_key", "open_secrets", "open_vault", "refuse_strangers", "seal_secrets", "sealed_secrets",
]  # fmt: skip
