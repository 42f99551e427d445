"""Keys through the command line: hosts that only write, provers, recoverers, sheets and passphrases that are typed at a
terminal; and changes that die at any point."""

import os
import pty
import select
import subprocess
import termios
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from backstay.adapters.memory.store import MemoryStore
from backstay.adapters.objectstore import FolderStore
from backstay.errors import UnknownName, WrongKey
from backstay.ports import Store
from backstay.vault import Keyring, admission, create, join, open_vault
from backstay.vault.admission import Public
from backstay.vault.register import differences, holders, read_register
from backstay.vault.roles import Role
from fix_estate import Done, program
from fix_vault import NOW, SMALL, Mortal, back_up, copy_of, keyring

PLAN = """\
backstay: 1
system: {name: shop, title: Shop}
objectives: {rto: 1h, rpo: 24h}
sites:
  primary: {}
vaults:
  local: {url: ./vault, keep: 30d}
  off-site: {url: ./vault-2, keep: 30d}
components:
  settings:
    files: ./src
    protect: {full: "02:00"}
people:
  me: {name: Me, email: me@example.com}
declaration:
  authority: {alone: [me]}
"""
CANARY = "canary-7f3a9c1d-never-to-be-seen"


@dataclass
class Shop:
    """A folder with a plan, a key and two vaults; `key` and `state` may be another host's."""

    folder: Path
    key: str = "backstay.key"
    state: str = ".backstay"

    @property
    def environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PG", "BACKSTAY_"))}
        return kept | {"COLUMNS": "160", "SHOP_TOKEN": CANARY}

    def words(self, *words: str | Path) -> list[str]:
        return [*program(), *map(str, words), "--key", self.key, "--state", self.state]

    def __call__(self, *words: str | Path, typed: str = "", env: dict[str, str] | None = None) -> Done:
        ended = subprocess.run(
            self.words(*words), cwd=self.folder, env=self.environment if env is None else env, input=typed,
            capture_output=True, text=True, check=False, timeout=120,
        )  # fmt: skip
        done = Done(tuple(map(str, words)), ended.returncode, ended.stdout, ended.stderr)
        assert "Traceback" not in done.said, done.said
        assert "a defect in Backstay" not in done.said, done.said
        return done

    def as_(self, key: str) -> "Shop":
        """Another host: its own key, its own journal."""
        return replace(self, key=key, state=f".state-{Path(key).stem}")

    def admitted(self, name: str, role: str) -> "Shop":
        line = self("key", "new", f"{name}.key", "--for", role, "--trust", self.root).good().out.strip()
        self("key", "add", line, "--role", role).good()
        return self.as_(f"{name}.key")

    @property
    def root(self) -> str:
        return self("key", "list", "--json").good().json["vaults"][0]["root"]

    @contextmanager
    def terminal(self, *words: str) -> "Generator[Typing]":
        ours, theirs = pty.openpty()
        process = subprocess.Popen(
            self.words(*words), cwd=self.folder, env=self.environment, stdin=theirs, stdout=theirs, stderr=theirs,
            start_new_session=True,
        )  # fmt: skip
        try:
            yield Typing(process, ours, theirs)
        finally:
            process.kill()
            process.wait()
            os.close(ours)
            os.close(theirs)


@dataclass
class Typing:
    """Somebody at a terminal. The other end is kept open, to see whether it echoes."""

    process: subprocess.Popen[bytes]
    ours: int
    theirs: int
    said: str = ""

    def answer(self, prompt: str, line: str) -> None:
        """Wait for the prompt; type once nothing is echoed any more, as a person who sees no letters appear."""
        at = len(self.said)
        while prompt not in self.said[at:]:
            self._read()
        while termios.tcgetattr(self.theirs)[3] & termios.ECHO:
            assert self.process.poll() is None, self.said
        os.write(self.ours, f"{line}\n".encode())

    def _read(self) -> None:
        ready, _, _ = select.select([self.ours], [], [], 60.0)
        assert ready, f"the terminal is silent after: {self.said}"
        self.said += os.read(self.ours, 65536).decode(errors="replace")

    def rest(self) -> str:
        self.process.wait(timeout=60)
        while select.select([self.ours], [], [], 0.2)[0]:
            self._read()
        return self.said


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "one").write_text("one")
    (tmp_path / "src" / "large").write_bytes(os.urandom(300_000))
    (tmp_path / "backstay.yaml").write_text(PLAN)
    made = Shop(tmp_path)
    made("init").good()
    return made


# ── other hosts ──────────────────────────────────────────────────────────────────────────────────


def test_a_write_only_host_backs_up_again_and_again_and_nothing_on_it_opens_the_data(shop: Shop) -> None:
    host = shop.admitted("db1", "writer")
    stored: list[int] = []
    for number in range(3):
        (shop.folder / "src" / f"new-{number}").write_text(f"new {number}")
        (taken,) = host("backup", "--json").good().json["backups"]
        stored.append(taken["point"]["stored_bytes"])
    assert stored[0] > 300_000 > 20_000 > max(stored[1:]), "what was there is not stored again"
    refused = host("restore", "settings", "--to", "out")
    assert refused.code == 23, refused.said
    assert "cannot read data back" in refused.said
    assert host("verify").code == 35

    # Whoever has all of the host's files has its key file, and its journal's: neither opens a data pack.
    keys = Keyring.load(shop.folder / "db1.key")
    for folder in ("vault", "vault-2"):
        vault = open_vault(FolderStore(shop.folder / folder), "local", keys)
        assert all(epoch.private is None for epoch in vault.opened.epochs.values())
        for point in vault.points():
            with pytest.raises(WrongKey):
                b"".join(vault.open(point.id).read("large"))
    shop("restore", "settings", "--to", "out-of-owner").good()
    assert (shop.folder / "out-of-owner" / "large").read_bytes() == (shop.folder / "src" / "large").read_bytes()


def test_a_prover_proves_what_a_writer_made_and_makes_no_point(shop: Shop) -> None:
    host, prover = shop.admitted("db1", "writer"), shop.admitted("prover", "prover")
    host("backup").good()
    prover("verify").good()
    (point,) = host("points", "--json").good().json["points"]
    assert (point["proof"], point["vaults"]["local"]) == ("proven", "proven")
    refused = prover("backup")
    assert refused.code == 23, refused.said
    assert "enrolled as a prover" in refused.said
    host("backup").good()


def test_a_recoverer_reads_goes_on_with_the_journal_and_makes_no_point(shop: Shop) -> None:
    shop("backup").good()
    recoverer = shop.admitted("anna", "recoverer")
    recoverer("restore", "settings", "--to", "out").good()
    recoverer("verify").good()
    assert "enrolled as a recoverer" in recoverer("backup").said
    assert shop("backup").code == 51, "the recoverer took over: that is what he is for"


def test_a_host_that_was_taken_out_seals_nothing_more_and_its_points_stay(shop: Shop) -> None:
    host = shop.admitted("db1", "writer")
    host("backup").good()
    assert shop("key", "remove", "db1").code == 2, "the name has to be typed"
    said = shop("key", "remove", "db1", "--confirm", "db1").good().said
    assert "epoch 2 is in use" in said
    assert "protects what is sealed from now on" in said
    assert host("backup").code == 23
    (point,) = shop("points", "--json").good().json["points"]
    assert point["vaults"].keys() == {"local", "off-site"}
    shop("restore", "settings", "--to", "out").good()
    listing = shop("key", "list", "--json").good().json["vaults"]
    assert {one["epoch"] for one in listing} == {2}
    assert [(who["name"], who["retired"]) for who in listing[0]["holders"]] == [("owner", False), ("db1", True)]


def test_a_vault_that_is_away_stops_a_change_and_the_next_run_makes_it(shop: Shop) -> None:
    (shop.folder / "vault-2").rename(shop.folder / "away")
    line = shop("key", "new", "db1.key", "--for", "writer").good().out.strip()
    refused = shop("key", "add", line, "--role", "writer")
    assert refused.code == 75, refused.said
    assert "nothing was changed" in refused.said
    (shop.folder / "away").rename(shop.folder / "vault-2")
    shop("key", "add", line, "--role", "writer").good()
    shop("key", "list").good()


def test_init_adds_the_readers_that_a_plan_names_later(shop: Shop) -> None:
    line = shop("key", "new", "anna.key").good().out.strip()
    address = line.split(":")[3]
    (shop.folder / "backstay.yaml").write_text(PLAN.replace("./vault,", f"./vault, readers: [{address}],"))
    assert f"added the reader {address}" in shop("init").good().out
    assert "added" not in shop("init").good().out
    shop("backup").good()
    shop.as_("anna.key")("restore", "settings", "--to", "out", "--vault", "vault").good()


@pytest.mark.parametrize("line", ["", "age1x", "backstay-key-1:a:b", "AGE-SECRET-KEY-1QQQ"])
def test_what_is_no_public_half_is_refused(shop: Shop, line: str) -> None:
    refused = shop("key", "add", line, "--name", "x")
    assert refused.code in (2, 23), refused.said


# ── words ────────────────────────────────────────────────────────────────────────────────────────


def test_sheets_for_the_safe_give_an_owner_back(shop: Shop) -> None:
    shop("backup").good()
    refused = shop("key", "split")
    assert refused.code == 2, "not into a log"
    shop("key", "split", "--shares", "5", "--needed", "3", "--to", "sheets").good()
    sheets = sorted((shop.folder / "sheets").iterdir())
    assert [path.stat().st_mode & 0o777 for path in sheets] == [0o600] * 5
    few = shop("key", "join", "safe.key", "--from", sheets[0], "--from", sheets[4])
    assert few.code == 76, few.said
    assert "2 shares of the 3 that are needed" in few.said
    given = [word for path in (sheets[4], sheets[1], sheets[2]) for word in ("--from", str(path))]
    shop("key", "join", "safe.key", *given, "--trust", shop.root).good()
    assert (shop.folder / "safe.key").stat().st_mode & 0o777 == 0o600
    safe = shop.as_("safe.key")
    safe("restore", "settings", "--to", "out").good()
    safe.admitted("new-host", "writer")("backup").good()


def test_words_of_sheets_are_typed_at_a_terminal_and_never_shown(shop: Shop) -> None:
    with shop.terminal("key", "split", "--shares", "3", "--needed", "2") as typing:
        for number in (1, 2, 3):
            typing.answer(f"sheet {number} of 3", "")
        printed = typing.rest()
        assert typing.process.returncode == 0, printed
    sheets = printed.split("BACKSTAY: ")[1:]
    words = [" ".join(word for word in _words(sheet)) for sheet in sheets]
    assert [len(one.split()) for one in words] == [33, 33, 33]
    with shop.terminal("key", "join", "safe.key", "--trust", shop.root) as typing:
        typing.answer("words of sheet 1", words[2])
        typing.answer("words of sheet 2", words[0].replace(words[0].split()[9], "xyzzy"))
        typing.answer("words of sheet 2", words[0])
        said = typing.rest()
        assert typing.process.returncode == 0, said
    assert "share 2 has words that are in no share" in said
    assert not any(" ".join(one.split()[:3]) in said for one in words), "nothing was echoed"
    shop.as_("safe.key")("points", "--vault", "vault").good()


def _words(sheet: str) -> list[str]:
    import re

    return re.findall(r"\d+\. +([a-z]+)", sheet)


def test_a_passphrase_is_asked_twice_and_opens_everything_with_what_it_unlocks(shop: Shop) -> None:
    phrase = "correct horse battery staple"
    with shop.terminal("key", "add", "--passphrase") as typing:
        typing.answer("passphrase", phrase)
        typing.answer("once more", phrase + "!")
        assert "two different passphrases" in typing.rest()
        assert typing.process.returncode == 76
    with shop.terminal("key", "add", "--passphrase") as typing:
        typing.answer("passphrase", phrase)
        typing.answer("once more", phrase)
        said = typing.rest()
        assert typing.process.returncode == 0, said
    assert phrase not in said
    shop("key", "epoch").good()
    shop("backup").good()
    assert shop("key", "unlock", "safe.key", typed="wrong horse battery staple\n").code == 76
    shop("key", "unlock", "safe.key", typed=phrase + "\n").good()
    shop.as_("safe.key")("restore", "settings", "--to", "out").good()


def test_words_come_from_a_file_that_is_private_and_never_from_the_command_line(shop: Shop) -> None:
    (shop.folder / "words").write_text("correct horse battery staple\n")
    (shop.folder / "words").chmod(0o600)
    assert shop("key", "add", "--passphrase-from", "correct horse battery staple").code == 2
    shop("key", "add", "--passphrase-from", "${file:words}", "--name", "board").good()
    (shop.folder / "words").chmod(0o644)
    assert shop("key", "unlock", "k.key", "--passphrase-from", "${file:words}").code == 12
    (shop.folder / "words").write_text("short\n")
    (shop.folder / "words").chmod(0o600)
    assert shop("key", "add", "--passphrase-from", "${file:words}", "--name", "two").code == 76


# ── secrets ──────────────────────────────────────────────────────────────────────────────────────


def with_secrets(shop: Shop) -> None:
    plan = PLAN.replace(
        "people:", "smoke:\n  it: {run: ['true'], env: {A: '${env:SHOP_TOKEN}', B: '${file:token}'}}\npeople:"
    )
    (shop.folder / "backstay.yaml").write_text(plan)
    (shop.folder / "token").write_text(f"{CANARY}-in-a-file\n")
    (shop.folder / "token").chmod(0o600)


def test_secrets_are_sealed_by_a_host_that_cannot_open_them_and_a_recoverer_has_them(shop: Shop) -> None:
    with_secrets(shop)
    host, anna = shop.admitted("db1", "writer"), shop.admitted("anna", "recoverer")
    said = [host("secrets", "seal"), host("secrets", "list"), host("secrets", "list", "--json"), host("ready")]
    assert "is sealed is what is here" in said[3].out
    refused = host("secrets", "open", "--to", "values")
    assert refused.code == 23, refused.said
    assert host("secrets", "open").code == 2

    empty = {name: value for name, value in shop.environment.items() if name != "SHOP_TOKEN"}
    (shop.folder / "token").unlink()
    anna("secrets", "open", "--to", "values", env=empty).good()
    assert (shop.folder / "values").stat().st_mode & 0o777 == 0o600
    script = '. ./values && printf %s "$SHOP_TOKEN" && cat token'
    read = subprocess.run(["sh", "-c", script], cwd=shop.folder, env=empty, capture_output=True, text=True, check=True)
    assert read.stdout == f"{CANARY}{CANARY}-in-a-file"
    (shop.folder / "token").unlink()
    smoke = anna("smoke", env=empty)
    assert smoke.code == 0, smoke.said

    # The canary is in the two places where it was asked for, and nowhere else that these commands have touched.
    (shop.folder / "values").unlink()
    for done in (*said, refused, smoke):
        assert CANARY not in done.said
    for path in shop.folder.rglob("*"):
        assert not path.is_file() or CANARY.encode() not in path.read_bytes(), path


def test_a_secret_that_changed_is_noticed_and_a_forged_reference_is_not_written(shop: Shop) -> None:
    with_secrets(shop)
    shop("secrets", "seal").good()
    changed = shop("ready", env=shop.environment | {"SHOP_TOKEN": "another"})
    assert "changed since it was sealed: ${env:SHOP_TOKEN}" in changed.out
    lacking = {name: value for name, value in shop.environment.items() if name != "SHOP_TOKEN"}
    refused = shop("secrets", "seal", env=lacking)
    assert refused.code == 12, refused.said
    assert "nothing was sealed" in refused.said


# ── dying ────────────────────────────────────────────────────────────────────────────────────────

OWNER, HOST, ANNA = keyring(0), keyring(1), keyring(2)
ROOT = frozenset({OWNER.writer or b""})


def two_vaults() -> list[MemoryStore]:
    stores = [MemoryStore(), MemoryStore()]
    create(stores[0], plan_name="p", keys=OWNER, now=NOW)
    join(stores[1], open_vault(stores[0], "local", OWNER), keys=OWNER, now=NOW)
    return stores


def family(stores: "list[MemoryStore] | list[Store]") -> admission.Family:
    return admission.gather([open_vault(store, f"v{n}", OWNER) for n, store in enumerate(stores)], NOW)


def public(keys: Keyring, name: str) -> Public:
    return Public(name, keys.recipient, keys.writer)


def who(stores: list[MemoryStore]) -> frozenset[object]:
    """What every vault says; fails when they differ."""
    opened = [open_vault(store, "v", OWNER).opened for store in stores]
    registers = [read_register(store, one.family, one.root) for store, one in zip(stores, opened)]
    assert differences((str(n), register) for n, register in enumerate(registers)) == []
    return frozenset((one.short, one.role, one.reads, one.writes, one.retired) for one in holders(registers[0]))


def _add(there: admission.Family) -> None:
    admission.add(there, public(ANNA, "anna"), Role.RECOVERER)


def _remove(there: admission.Family) -> None:
    admission.remove(there, admission.find(there, "db1"))


def _turn(there: admission.Family) -> None:
    admission.turn(there)


CHANGES: dict[str, Callable[[admission.Family], None]] = {"add": _add, "remove": _remove, "turn": _turn}


class Dead(BaseException):
    pass


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("change", CHANGES)
def test_dying_at_any_point_harms_nobody_and_the_same_command_finishes_it(change: str, which: int) -> None:
    start = two_vaults()
    admission.add(family(start), public(HOST, "db1"), Role.WRITER)
    back_up(open_vault(start[0], "v", replace(HOST, trusted=ROOT)), SMALL)
    ended: set[frozenset[object]] = set()
    for breaths in range(1, 400, 2):
        stores = [copy_of(store) for store in start]
        mortal = Mortal(stores[which], breaths, dies=Dead())
        handed: list[Store] = [*stores]
        handed[which] = mortal
        done = False
        with suppress(Dead):
            there = admission.gather([open_vault(store, f"v{n}", OWNER) for n, store in enumerate(handed)], NOW)
            admission.settle(there)
            CHANGES[change](there)
            done = True
        _still_works(stores)
        admission.settle(family(stores))
        with suppress(UnknownName):  # the removal was through
            CHANGES[change](family(stores))
        ended.add(who(stores))
        _still_works(stores)
        if done:
            break
    else:
        raise AssertionError("it never came to its end")
    assert len(ended) == 1, "whenever it died, the end is the same"


def _still_works(stores: list[MemoryStore]) -> None:
    for store in stores:
        vault = open_vault(store, "v", OWNER)
        assert vault.opened.newest.number == vault.opened.latest, "the owner has the epoch that is in use"
        assert not vault.survey()[1]
