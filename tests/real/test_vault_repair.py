"""A vault that lost its index and half the names of its packs: what the check says, what can be restored, and that all
of it comes back from the other vault. `pytest -s` shows what an operator sees."""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from backstay.adapters.memory.store import MemoryStore
from backstay.cli import main
from backstay.vault import check, open_vault
from backstay.vault.checks import Asked, Examination
from backstay.vault.copying import copy_point
from backstay.vault.family import join
from backstay.vault.healing import Healing
from backstay.vault.ledger import Ledger
from backstay.vault.rebuilding import rebuild
from fix_buckets import BUCKET, SeaweedFS
from fix_vault import NOW, SMALL, File, back_up, expected, held, keyring, later, new_vault, noise
from fix_vaults import Shop, make_shop


def typed(shop: Shop, words: Sequence[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """What the command line says, and its exit code."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(shop.folder)
        code = 0
        try:
            main(list(words))
        except SystemExit as ended:
            code = int(ended.code or 0)
    said = capsys.readouterr()
    with (shop.folder / "transcript").open("a") as file:
        file.write(f"\n$ backstay {' '.join(words)}\n{said.out}{said.err}(exit {code})\n")
    return code, said.out + said.err


@pytest.fixture
def shop(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Shop]:
    made = make_shop(tmp_path)
    made.init()
    for n in range(200):
        (made.papers / f"letter-{n:03}").write_bytes(f"letter {n}\n".encode() * 500)
    assert typed(made, ["backup"], capsys)[0] == 0
    (made.papers / "letter-new").write_bytes(b"new" * 1000)
    assert typed(made, ["backup"], capsys)[0] == 0
    assert typed(made, ["vault", "check", "local", "--rebuild-index"], capsys)[0] == 0
    yield made
    sys.stdout.write((tmp_path / "transcript").read_text())


def scramble(vault: Path) -> int:
    """The newest index is emptied; every second pack gets another name. Gives how many."""
    newest = sorted((vault / "index/papers").iterdir())[-1]
    for box in newest.iterdir():
        box.chmod(0o600)
        box.write_bytes(b"")
    packs = sorted([*(vault / "packs/papers").iterdir(), *(vault / "nodes/papers").iterdir()])
    for n, pack in enumerate(packs[::2]):
        pack.rename(pack.with_name(f"{n:032x}"))
    return len(packs[::2])


def letters(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_vault_without_its_index_and_half_its_names(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    lost = scramble(shop.folder / "local")
    code, said = typed(shop, ["vault", "check", "local"], capsys)
    assert code == 77
    assert "another pack than its name says" in said
    assert "papers" in said
    assert "of 2 points can still be restored" in said

    # The other vault still gives everything, and what is refuted here is not chosen by itself.
    assert typed(shop, ["restore", "papers", "--to", "aside", "--vault", "off-site"], capsys)[0] == 0
    assert letters(shop.folder / "aside") == letters(shop.papers)

    code, said = typed(shop, ["vault", "repair", "local", "--from", "off-site"], capsys)
    assert code == 0, said
    assert f"{lost} missing pack" in said
    assert "2 of 2 points can still be restored" in said
    assert typed(shop, ["vault", "check", "local", "--read-data"], capsys)[0] == 0
    assert typed(shop, ["restore", "papers", "--to", "back", "--vault", "local"], capsys)[0] == 0
    assert letters(shop.folder / "back") == letters(shop.papers)


def test_what_only_bytes_can_tell_is_found_refuted_and_taken_back(
    shop: Shop, capsys: pytest.CaptureFixture[str]
) -> None:
    pack = max((shop.folder / "local/packs/papers").iterdir(), key=lambda path: path.stat().st_size)
    whole = pack.read_bytes()
    pack.chmod(0o600)
    pack.write_bytes(whole[:500] + bytes([whole[500] ^ 1]) + whole[501:])
    assert typed(shop, ["vault", "check", "local"], capsys)[0] == 0, "no byte was read"
    code, said = typed(shop, ["vault", "check", "local", "--read-data"], capsys)
    assert code == 77
    assert "is refuted from now on" in said
    assert "refuted" in typed(shop, ["points", "--json"], capsys)[1]
    code, said = typed(shop, ["vault", "repair", "local"], capsys)
    assert code == 0, said
    assert "whole again" in said
    assert "refuted" not in typed(shop, ["points", "--json"], capsys)[1]


def test_a_whole_vault_that_was_set_back_is_found_by_the_journal(
    shop: Shop, capsys: pytest.CaptureFixture[str]
) -> None:
    import shutil

    shutil.copytree(shop.folder / "local", shop.folder / "old")
    (shop.papers / "letter-last").write_bytes(b"last")
    assert typed(shop, ["backup"], capsys)[0] == 0
    code, said = typed(shop, ["vault", "check", "local"], capsys)
    head = next(word for word in said.split() if word.startswith("papers/"))
    assert code == 0
    shutil.rmtree(shop.folder / "local")
    (shop.folder / "old").rename(shop.folder / "local")
    code, said = typed(shop, ["vault", "check", "local"], capsys)
    assert code == 77
    assert "shows an older state" in said
    assert "and the vault local does not have it" in typed(shop, ["status"], capsys)[1]
    # Where there is no journal, a head from paper says the same; without one, it is said that nobody knows.
    alone = ["vault", "check", "--vault", "local", "--key", "backstay.key"]
    assert typed(shop, [*alone, "--head", head], capsys)[0] == 77
    code, said = typed(shop, alone, capsys)
    assert code == 35
    assert "freshness not verified" in said


def test_the_same_in_a_bucket_of_a_real_server(weed: SeaweedFS) -> None:
    """With other eyes than ours: boto3 empties the newest index, and moves half of the packs to other names."""
    store, beside, client = weed.store(), MemoryStore("off-site"), weed.client()
    vault = new_vault(store)
    things = {**SMALL, **{f"letters/{n}": File(noise(9_000, n)) for n in range(60)}}
    points = [back_up(vault, SMALL), back_up(vault, things, now=later(1))]
    join(beside, vault, keys=keyring(), now=NOW)
    for point in points:
        copy_point(vault, open_vault(beside, "off-site", keyring()), point)
    with Ledger(None) as ledger:
        looked = Examination(vault, ledger, NOW)
        assert list(looked.findings()) == []
        assert [one.packs for one in rebuild(vault, looked.stock)] == [len(looked.stock)]

    def named(key: str) -> dict[str, str]:
        return {"Bucket": BUCKET, "Key": f"{store.address.prefix}/{key}"}

    for listed in list(store.list("index/")):
        client.put_object(**named(listed.key), Body=b"")
    packs = [listed.key for prefix in ("packs/", "nodes/") for listed in store.list(prefix)]
    for n, key in enumerate(packs[::2]):
        data = store.get(key)
        client.put_object(**named(f"{key.rpartition('/')[0]}/{n:032x}"), Body=data)
        client.delete_object(**named(key))

    hurt = open_vault(store, "bucket", keyring())
    found = list(check(hurt))
    assert {finding.point for finding in found if finding.point} == {point.id for point in points}
    assert any(finding.key.startswith("index/") for finding in found)
    with Ledger(None) as ledger:
        healing = Healing(hurt, [open_vault(beside, "off-site", keyring())], ledger, NOW)
        looked = healing.run(Asked(100))
    assert all(point.is_whole for point in looked.points), healing.findings
    assert sum(healing.healed.packs.values()) == len(packs[::2])
    mended = open_vault(store, "bucket", keyring())
    assert held(mended.open(points[0].id)) == expected(SMALL)
    assert held(mended.open(points[1].id)) == expected(things)


def test_what_a_proof_has_found_is_mended_though_every_check_called_it_whole(
    shop: Shop, capsys: pytest.CaptureFixture[str]
) -> None:
    assert typed(shop, ["vault", "check", "local", "--read-data"], capsys)[0] == 0
    pack = max((shop.folder / "local/packs/papers").iterdir(), key=lambda path: path.stat().st_size)
    whole = pack.read_bytes()
    pack.chmod(0o600)
    pack.write_bytes(whole[:500] + bytes([whole[500] ^ 1]) + whole[501:])
    code, said = typed(shop, ["verify"], capsys)
    assert code == 34
    assert "do not restore it from local" in said
    assert "local has lost bytes of" in typed(shop, ["status"], capsys)[1]
    assert "refuted here by a proof" in typed(shop, ["vault", "check", "local"], capsys)[1]
    code, said = typed(shop, ["vault", "repair", "local"], capsys)
    assert code == 0, said
    assert "every byte is read" in said
    assert "whole again" in said
    assert typed(shop, ["verify"], capsys)[0] == 0
    assert "has lost bytes" not in typed(shop, ["status"], capsys)[1]
