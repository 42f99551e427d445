"""Write the help of the command line into the pages that show it: README.md, and the reference of all commands.

.venv/bin/python scripts/readme.py            write
.venv/bin/python scripts/readme.py --check    say what differs; 1 if anything does

In README.md, every block of code that begins with `$ backstay … --help` is filled; docs/reference/commands.md is
written whole: every verb, as the program itself explains it.
"""

import os
import re
import shlex
import sys
from contextlib import redirect_stdout, suppress
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cyclopts import App

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
COMMANDS = ROOT / "docs/reference/commands.md"
BLOCK = re.compile(r"^```[a-z]*\n\$ backstay (?P<words>(?:.* )?--help)\n(?P<text>.*?)^```$", re.M | re.S)
TOP = """\
# Commands

Every verb, as `backstay VERB --help` explains it. Written by `scripts/readme.py`; a test compares it with the program.
Exit codes are in [errors.md](errors.md).
"""

os.environ |= {"COLUMNS": "100", "NO_COLOR": "1", "TERM": "dumb"}
for name in [name for name in os.environ if name.startswith("BACKSTAY_")]:
    del os.environ[name]
sys.path.insert(0, str(ROOT / "src"))


def helped(words: str) -> str:
    """What `backstay WORDS` prints, without colours, 100 columns wide."""
    from backstay.cli import app

    said = StringIO()
    with redirect_stdout(said), suppress(SystemExit):
        app(shlex.split(words))
    return "".join(line.rstrip() + "\n" for line in said.getvalue().strip("\n").splitlines())


def verbs(of: "App", before: str = "") -> list[str]:
    """Every command below `of`, depth first: `backup`, `journal`, `journal show`…"""
    listed: list[str] = []
    for name in sorted(name for name in of if not name.startswith("-")):
        words = f"{before} {name}".strip()
        listed += [words, *verbs(of[name], words)]
    return listed


def commands() -> str:
    from backstay.cli import app

    parts = [TOP, "```\n$ backstay --help\n" + helped("--help") + "```\n"]
    parts += [
        f"## backstay {words}\n\n```\n$ backstay {words} --help\n{helped(words + ' --help')}```\n"
        for words in verbs(app)
    ]
    return "\n".join(parts)


def main() -> int:
    pages = {
        README: BLOCK.sub(lambda b: b[0].replace(b["text"], helped(b["words"])), README.read_text()),
        COMMANDS: commands(),
    }
    stale = [path for path, text in pages.items() if not path.exists() or path.read_text() != text]
    for path in stale:
        if "--check" in sys.argv:
            print(f"{path.relative_to(ROOT)} shows another help than the program: .venv/bin/python scripts/readme.py")
        else:
            path.write_text(pages[path])
    return int(bool(stale)) if "--check" in sys.argv else 0


if __name__ == "__main__":
    sys.exit(main())
