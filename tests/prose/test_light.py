"""`backstay --help` must not wait for a database driver: what the command line loads before it knows what is asked."""

import subprocess
import sys

HEAVY = ("psycopg", "cryptography", "pyrage", "zstandard", "blake3", "ruamel", "httpx2", "sqlite3", "rich", "jinja2")
SCRIPT = "import backstay.cli, sys; print('\\n'.join(name.partition('.')[0] for name in sys.modules))"


def test_the_doors_load_nothing_that_takes_long() -> None:
    ended = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True, timeout=60)
    loaded = set(ended.stdout.split())
    assert "cyclopts" in loaded
    assert loaded.isdisjoint(HEAVY), loaded & set(HEAVY)
