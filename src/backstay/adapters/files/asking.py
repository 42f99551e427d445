"""What a folder of files can be asked: how many files, and whether they are the same."""

import hashlib
import os
import stat
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal

from backstay.errors import NotSupported
from backstay.facts import CheckResult, Rung, Verdict
from backstay.ports import Answer
from backstay.values import count

_PIECE_BYTES = 1 << 20


class FilesAnswers:
    """`files`: how many the point says there are; None for the live folder."""

    def __init__(self, where: str, root: Path, files: int | None = None) -> None:
        self.where, self._root, self._files = where, root, files

    def ask(self, question: str) -> Answer:
        raise NotSupported("a folder of files cannot be asked questions", hint="its files are counted by themselves")

    def counts(self) -> Mapping[str, int]:
        """Files per folder of the first level; `.` for those beside the folders."""
        found: Counter[str] = Counter()
        for path in _files(self._root):
            first, slash, _ = path.partition("/")
            found[first if slash else "."] += 1
        return dict(found)

    def digests(self) -> Mapping[str, str]:
        return {path: _digest(self._root / path) for path in _files(self._root)}

    def inspect(self, tier: Literal["bytes", "sample", "full"]) -> list[CheckResult]:
        if tier == "bytes" or self._files is None:
            return []
        found = sum(1 for _ in _files(self._root))
        whole = found == self._files
        verdict = Verdict.PASSED if whole else Verdict.FAILED
        said = f"{count(found, 'file')} restored" + ("" if whole else f"; the point has {self._files:,}")
        return [CheckResult("R01", Rung.RESTORE, "restore", verdict, said)]


def _files(root: Path) -> Iterator[str]:
    for folder, _, names in os.walk(root):
        for name in names:
            path = Path(folder, name)
            if stat.S_ISREG(path.lstat().st_mode):
                yield path.relative_to(root).as_posix()


def _digest(path: Path) -> str:
    found = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(_PIECE_BYTES):
            found.update(piece)
    return "sha256:" + found.hexdigest()
