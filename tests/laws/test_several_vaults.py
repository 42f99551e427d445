"""A plan with several vaults: they are one family, whenever each was made, and one that is away stops nobody."""

from pathlib import Path

import pytest

from backstay.errors import BackstayError, StoreUnreachable, WrongKey
from backstay.values import VaultName
from backstay.vault import new_key, refuse_strangers
from fix_vaults import VAULTS, Shop, make_shop

LOCAL, OFF_SITE = VaultName("local"), VaultName("off-site")


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return make_shop(tmp_path)


# ── making them ──────────────────────────────────────────────────────────────────────────────────


def test_init_makes_all_vaults_of_one_family(shop: Shop) -> None:
    said = shop.init()
    assert any("of the family of local" in line for line in said)
    home = shop.home()
    refuse_strangers(home.vault(LOCAL), home.vault(OFF_SITE))
    assert [line for line in shop.init() if "the vault" in line] == [
        f"✔ the vault local is there: {shop.folder}/local",
        f"✔ the vault off-site is there: {shop.folder}/off-site",
    ]


@pytest.mark.parametrize("later_first", [False, True])
def test_a_vault_that_is_added_to_the_plan_later_joins_at_the_next_init(tmp_path: Path, later_first: bool) -> None:
    shop = make_shop(tmp_path, {"local": VAULTS["local"]})
    shop.init()
    shop.write_plan(dict(reversed(VAULTS.items())) if later_first else VAULTS)
    assert any("made the vault off-site" in line and "family of local" in line for line in shop.init())
    refuse_strangers(shop.home().vault(LOCAL), shop.home().vault(OFF_SITE))


def test_vaults_that_were_made_apart_are_said_to_be_strangers_with_the_way_out(tmp_path: Path) -> None:
    shop = make_shop(tmp_path, {"off-site": VAULTS["off-site"]})
    shop.init()
    shop.write_plan({"local": VAULTS["local"]})
    shop.init()
    shop.write_plan()
    (line,) = [line for line in shop.init() if line.startswith("✘")]
    assert "two families" in line
    assert "name an empty place for off-site" in line


def test_while_a_vault_is_away_none_is_made_that_could_be_of_another_family(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = type(shop.home()).open_vault

    def away(self: object, name: VaultName) -> object:
        if name == LOCAL:
            raise StoreUnreachable("local does not answer")
        return real(self, name)  # type: ignore[arg-type]

    new_key(shop.folder / "backstay.key")
    with monkeypatch.context() as patched:
        patched.setattr(type(shop.home()), "open_vault", away)
        with pytest.raises(StoreUnreachable):
            shop.init()
    assert not (shop.folder / "off-site").exists()


def test_a_key_that_did_not_make_the_first_vault_makes_no_second_one(shop: Shop) -> None:
    shop.write_plan({"local": VAULTS["local"]})
    shop.init()
    (shop.folder / "backstay.key").unlink()
    new_key(shop.folder / "backstay.key")
    shop.write_plan()
    with pytest.raises(BackstayError) as caught:
        shop.init()
    assert isinstance(caught.value, WrongKey)
    assert not (shop.folder / "off-site").exists()
