"""The secrets of the plan, sealed into its vaults: keeping them, looking at what is kept, getting them back."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from backstay import vault
from backstay.errors import BackstayError

if TYPE_CHECKING:
    from backstay.app.home import Home


def sealed_values(home: "Home") -> Mapping[str, str]:
    """What the readers of the vaults can know of the plan's secrets, by reference: from letters of this very plan
    first, then from those of others, newest first. Nothing, where no vault opens or our key opens no letters: whoever
    asks has the error of the missing value to raise, which says more."""
    try:
        plan, vaults = home.plan, list(home.vaults.values())
    except BackstayError:
        return {}
    letters: list[tuple[bool, vault.SealedSecrets, vault.Repository]] = []
    for one in vaults:
        try:
            letters += [(sealed.plan == plan.digest, sealed, one) for sealed in vault.sealed_secrets(one)]
        except BackstayError:
            continue  # one that is away: another may have them
    found: dict[str, str] = {}
    wanted = {str(ref) for ref in plan.secrets()}
    for _, sealed, where in sorted(letters, key=lambda one: (one[0], one[1].at), reverse=True):
        if not wanted - found.keys():
            break
        try:
            found = vault.open_secrets(where, sealed) | found
        except BackstayError:
            continue
    return found
