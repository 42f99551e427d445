"""What to start, and how it may behave: a value, so that it can be shown, compared and tested without starting it."""

import os
import resource
import shlex
import shutil
import signal
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from backstay.errors import ToolMissing, Usage

PASSED = ("HOME", "LOGNAME", "PATH", "SSL_CERT_DIR", "SSL_CERT_FILE", "TMPDIR", "TZ", "USER")
"""What a program sees of our own environment. Nothing that changes what a tool does (`PGDATABASE`, `LD_PRELOAD`,
`AWS_PROFILE`) and no secret that was meant for somebody else."""

USUAL_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""Where programs are looked for when we were started with an empty environment."""

AS_NOBODY = ("unshare", "--user", "--map-user=65534", "--map-group=65534")
"""Not root in its own eyes, but the same user to the disk: a user namespace (unshare(1)). PostgreSQL's server refuses
to run as root; this needs no second account and no chown. 65534 is `nobody`, which has to be in /etc/passwd."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one process may use (setrlimit(2)); None: as much as we may. Never more than we may ourselves."""

    memory_bytes: int | None = None
    """Address space. Not for programs that map more than they use, such as a database server or a Go program."""
    processor: timedelta | None = None
    """Seconds of CPU, rounded up; then SIGXCPU."""
    open_files: int | None = None
    nice: int = 0
    """0 to 19: how readily it makes way for others."""

    def spelled(self) -> list[tuple[int, int]]:
        """Pairs for setrlimit. No core files, ever: they hold other people's data and our keys."""
        found = [(resource.RLIMIT_CORE, 0)]
        if self.memory_bytes is not None:
            found.append((resource.RLIMIT_AS, self.memory_bytes))
        if self.processor is not None:
            found.append((resource.RLIMIT_CPU, -int(-self.processor.total_seconds() // 1)))
        if self.open_files is not None:
            found.append((resource.RLIMIT_NOFILE, self.open_files))
        return found


@dataclass(frozen=True, slots=True)
class Command:
    """One program to start. Never a shell: `argv` is what the program gets, word by word.

    Raises Usage when a word cannot be handed over, or holds a secret: every user of the machine can read the arguments
    of every process.
    """

    argv: tuple[str, ...]
    deadline: timedelta | None
    """From its start; then it is stopped, and the answer is TimedOut. None only for what runs until it is told."""
    env: Mapping[str, str] = field(default_factory=dict[str, str])
    """Beside `PASSED` and `LC_ALL=C.UTF-8` (so that messages can be read by programs)."""
    secrets: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    """More environment, kept out of everything that we say, whatever the program says."""
    cwd: Path | None = None
    accept: frozenset[int] = frozenset({0})
    """The exit statuses that mean that it worked."""
    stop: signal.Signals = signal.SIGTERM
    """How it is asked to end: SIGINT for a PostgreSQL server (fast shutdown)."""
    grace: timedelta = timedelta(seconds=5)
    """Between asking it to end and killing it."""
    limits: Limits = Limits()
    unprivileged: bool = False
    """Where we are root, run it under `AS_NOBODY`. A plain user's programs run as they are."""
    lasting: bool = False
    """Its work outlives us: a daemon that it leaves behind when it ends well (`pg_ctl start`), or the program itself,
    once `Running.let_go` was called. Until then it dies with us like any other."""
    inherit: tuple[int, ...] = ()
    """Open files that it and its descendants hold too: a lock from `holding`, so that whoever comes after us can wait
    for an orphan. What is `lasting` does not get them."""
    keep_bytes: int = 64 << 10
    """How much of the end of its output, and of its errors, is kept in memory."""
    log: Path | None = None
    """Append output and errors to this file (0600) instead. What is let go needs it: our pipes end with us."""

    def __post_init__(self) -> None:
        assert self.argv, "a command without a program"
        if any("\0" in word for word in (*self.argv, *self.env, *self.env.values(), *self.secrets.values())):
            raise Usage(f"an argument of {self.name} holds a zero byte", hint="remove it from the plan")
        for secret in self.secrets.values():
            if any(_shows(word, secret) for word in self.argv):
                raise Usage(
                    f"a secret stands among the arguments of {self.name}, where every user of this machine can read it",
                    hint="hand it over in the environment, or in a file that only you can read",
                )

    @property
    def name(self) -> str:
        """What people call it: `pg_dump`."""
        return Path(self.argv[0]).name

    def spelled(self) -> str:
        """As one would type it. Holds no secret: those are not in argv."""
        return shlex.join(self.argv)

    def environment(self) -> dict[str, str]:
        """All that the program sees."""
        passed = {name: os.environ[name] for name in PASSED if name in os.environ}
        return {"PATH": USUAL_PATH, "LC_ALL": "C.UTF-8"} | passed | dict(self.env) | dict(self.secrets)

    def exact(self) -> list[str]:
        """The words for exec. Raises ToolMissing."""
        path = self.environment()["PATH"]
        prefix = AS_NOBODY if self.unprivileged and os.geteuid() == 0 else ()
        programs = [self.argv[0], *prefix[:1]]
        for program in programs:
            if shutil.which(program, path=path) is None and not (self.cwd and (self.cwd / program).is_file()):
                raise missing(program)
        return [*prefix, *self.argv]

    def last_words(self, said: bytes, most_lines: int = 10) -> str:
        """The end of what it said, fit to be shown: no secrets, no control characters, no line without end."""
        lines = [line for line in self.clean(said).splitlines() if line.strip()]
        return "\n".join(line if len(line) <= 300 else line[:299] + "…" for line in lines[-most_lines:])

    def clean(self, said: bytes) -> str:
        """Text without our secrets, and without what would steer a terminal."""
        text = said.decode("utf-8", "replace")
        for secret in sorted(self.secrets.values(), key=len, reverse=True):
            if len(secret) >= 3:
                text = text.replace(secret, "***")
        return "".join(c if c.isprintable() or c in "\n\t" else " " for c in text.replace("\r\n", "\n"))


def missing(program: str) -> ToolMissing:
    return ToolMissing(
        f"there is no program {program} here",
        detail="it is not in PATH" if "/" not in program else "no file of that name can be executed",
        hint="install the package that brings it, or name its folder in the plan",
    )


def _shows(word: str, secret: str) -> bool:
    """Weak passwords are words (`postgres`): those may stand alone, but not where a password stands."""
    if len(secret) >= 12:
        return secret in word
    return bool(secret) and any(place in word for place in _places(secret))


def _places(secret: str) -> Iterator[str]:
    yield f":{secret}@"
    yield f"password={secret}"
    yield f"password={secret!r}"
