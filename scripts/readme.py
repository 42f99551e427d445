"""Write the help of the command line into README.md, wherever a block of code begins with `$ backstay … --help`.

.venv/bin/python scripts/readme.py            write
.venv/bin/python scripts/readme.py --check    say what differs; 1 if anything does
"""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
BLOCK = re.compile(r"^```[a-z]*\n\$ backstay (?P<words>(?:.* )?--help)\n(?P<text>.*?)^```$", re.M | re.S)


def helped(words: str) -> str:
    """What `backstay WORDS` prints, without colours, 100 columns wide."""
    environment = os.environ | {"COLUMNS": "100", "NO_COLOR": "1", "TERM": "dumb", "PYTHONPATH": str(ROOT / "src")}
    program = [sys.executable, "-m", "backstay", *shlex.split(words)]
    ended = subprocess.run(program, capture_output=True, text=True, env=environment, timeout=60, check=True)
    return "".join(line.rstrip() + "\n" for line in ended.stdout.strip("\n").splitlines())


def renewed(text: str) -> str:
    return BLOCK.sub(lambda block: block[0].replace(block["text"], helped(block["words"])), text)


def main() -> int:
    before = README.read_text()
    after = renewed(before)
    if "--check" in sys.argv:
        if after != before:
            print("README.md shows another help than the program: .venv/bin/python scripts/readme.py")
        return int(after != before)
    README.write_text(after)
    return 0


if __name__ == "__main__":
    sys.exit(main())
