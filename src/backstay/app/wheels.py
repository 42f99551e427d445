"""Backstay and what it stands on as wheel files, made from what is installed here: no network is asked.

What runs here is what will run there: each file is taken from the environment and compared with the digest that its
own installer wrote down (RECORD). A wheel that is put together again installs like the one that it came from
(<https://packaging.python.org/en/latest/specifications/binary-distribution-format/>).
"""

import base64
import csv
import hashlib
import io
import platform
import re
import sys
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from email.parser import Parser
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

import backstay
from backstay.errors import Damaged

EXTRACTOR = "backstay-extract.py"
_EPOCH = (2020, 1, 1, 0, 0, 0)
"""Of every file in a wheel: the same installation gives the same bytes."""
_NAME = re.compile(r"^\s*([A-Za-z0-9][A-Za-z0-9._-]*)\s*(?:\[([^\]]*)\])?")
_EXTRA = re.compile(r"extra\s*==\s*['\"]([^'\"]+)['\"]")


@dataclass(frozen=True, slots=True)
class Packed:
    files: tuple[Path, ...]
    missing: tuple[str, ...]
    """What Backstay would need and what could not be packed, with the reason."""


def platform_name() -> str:
    """For people: whoever unpacks the bag needs the same."""
    libc = " ".join(platform.libc_ver()) or "another libc"
    return f"Python {sys.version_info.major}.{sys.version_info.minor} on Linux {platform.machine()}, {libc}"


def extractor() -> Path | None:
    """The single-file extractor; None where this installation has none."""
    here = Path(backstay.__file__).parent
    found = (here / EXTRACTOR, here.parents[1] / "tools" / EXTRACTOR)
    return next((path for path in found if path.is_file()), None)


def pack(to: Path, extras: Iterable[str]) -> Packed:
    """Wheels of Backstay with these extras, and of pip, into the folder `to`. Raises Damaged where an installed file
    is not what was installed."""
    wanted, missing = _closure({"backstay": frozenset(extras), "pip": frozenset()})
    files = [_pack_ourselves(to, one) if _named(one) == "backstay" else _pack(to, one) for one in wanted]
    return Packed(tuple(files), tuple(missing))


# ── what is needed ───────────────────────────────────────────────────────────────────────────────


def _closure(first: dict[str, frozenset[str]]) -> tuple[list[Distribution], list[str]]:
    """Everything that these need, as far as it is installed."""
    wanted, waiting, found, missing = dict(first), list(first), dict[str, Distribution](), list[str]()
    while waiting:
        name = waiting.pop()
        try:
            found[name] = one = distribution(name)
        except PackageNotFoundError:
            missing.append(f"{name}: it is not installed here")
            continue
        for needed, extras, conditional in _needs(one, wanted[name]):
            if conditional and not is_installed(needed):
                continue  # for another platform or Python: the installer left it out, too
            if needed not in wanted or extras - wanted[needed]:
                wanted[needed] = wanted.get(needed, frozenset()) | extras
                waiting.append(needed)
    return [found[name] for name in sorted(found)], sorted(missing)


def _needs(one: Distribution, extras: frozenset[str]) -> Iterator[tuple[str, frozenset[str], bool]]:
    """Name, extras, and whether a condition other than our extras stands behind it."""
    for line in one.requires or ():
        requirement, _, marker = line.partition(";")
        asked = set(_EXTRA.findall(marker))
        if asked and not asked & extras:
            continue
        if (match := _NAME.match(requirement)) is None:
            continue
        inner = frozenset(extra.strip() for extra in (match[2] or "").split(",") if extra.strip())
        rest = _EXTRA.sub("", marker).replace("and", "").strip(" ()")
        yield _canonical(match[1]), inner, bool(rest)


def whole(extras: Iterable[str]) -> tuple[str, ...]:
    """Those of Backstay's extras of which everything is installed here, so that its wheels can be packed."""
    return tuple(extra for extra in extras if not _closure({"backstay": frozenset({extra})})[1])


def is_installed(name: str) -> bool:
    try:
        distribution(name)
    except PackageNotFoundError:
        return False
    return True


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _named(one: Distribution) -> str:
    return _canonical(one.metadata["Name"])


# ── a wheel ──────────────────────────────────────────────────────────────────────────────────────


def _pack(to: Path, one: Distribution) -> Path:
    contents: dict[str, bytes] = {}
    info = ""
    for file in one.files or ():
        name = file.as_posix()
        if name.startswith("..") or "__pycache__" in name or Path(name).is_absolute():
            continue  # made at installation: scripts from entry points, compiled modules
        folder, _, leaf = name.partition("/")
        if folder.endswith(".dist-info"):
            info = folder
            if leaf in ("RECORD", "INSTALLER", "REQUESTED", "direct_url.json"):
                continue
        data = Path(str(one.locate_file(file))).read_bytes()
        if file.hash is not None and file.hash.mode == "sha256" and _digest(data) != file.hash.value:
            raise Damaged(
                f"{name} of {one.metadata['Name']} is not what was installed",
                detail="it was changed after its installation, so it is not packed",
                hint="install it anew",
            )
        contents[name] = data
    return _write(to, one, info, contents)


def _pack_ourselves(to: Path, one: Distribution) -> Path:
    """From the package itself: an editable installation has no files of its own."""
    root = Path(backstay.__file__).parent
    contents = {
        f"backstay/{path.relative_to(root).as_posix()}": path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts
    }
    if (tool := extractor()) is not None:
        contents[f"backstay/{EXTRACTOR}"] = tool.read_bytes()
    info = f"backstay-{one.version}.dist-info"
    for name in ("METADATA", "WHEEL", "entry_points.txt"):
        if (text := one.read_text(name)) is not None:
            contents[f"{info}/{name}"] = text.encode()
    return _write(to, one, info, contents)


def _write(to: Path, one: Distribution, info: str, contents: dict[str, bytes]) -> Path:
    name = re.sub(r"[-_.]+", "_", one.metadata["Name"])
    path = to / f"{name}-{one.version}-{_tag(one)}.whl"
    record = io.StringIO()
    rows = csv.writer(record, lineterminator="\n")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as wheel:
        for inner, data in contents.items():
            # Programs in a package stay programs; a wheel says so in the upper half of the attributes.
            mode = 0o100755 if data[:4] == b"\x7fELF" or data[:2] == b"#!" else 0o100644
            _add(wheel, inner, data, mode)
            rows.writerow((inner, f"sha256={_digest(data)}", len(data)))
        rows.writerow((f"{info}/RECORD", "", ""))
        _add(wheel, f"{info}/RECORD", record.getvalue().encode(), 0o100644)
    return path


def _add(wheel: zipfile.ZipFile, name: str, data: bytes, mode: int) -> None:
    entry = zipfile.ZipInfo(name, _EPOCH)
    entry.compress_type, entry.external_attr = zipfile.ZIP_DEFLATED, mode << 16
    wheel.writestr(entry, data)


def _tag(one: Distribution) -> str:
    """As the file's name has it: `cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64`."""
    said = Parser().parsestr(one.read_text("WHEEL") or "Tag: py3-none-any")
    tags = [tag.strip().split("-") for tag in said.get_all("Tag") or ["py3-none-any"]]
    return "-".join(".".join(dict.fromkeys(tag[place] for tag in tags)) for place in range(3))


def _digest(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
