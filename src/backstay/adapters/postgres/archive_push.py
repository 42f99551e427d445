"""What `archive_command` runs: hands one open file to the archive service, and answers PostgreSQL.

Called as `python -I -S archive_push.py SOCKET %p || exit 1`, in the data directory, once for each segment: it must
start in milliseconds, so it imports only what the interpreter has built in or in one shared object (`socket` would
take as long again as all of it). The file goes over as a descriptor (SCM_RIGHTS): the service reads what the server's
own user may read and nothing else, and no path has to mean the same to both.

Exit 0: the service says that it is durable. Everything else is 1, also what nobody thought of: PostgreSQL tries again
after any code up to 125, and ends its archiver after a higher one (pgarch_archiveXlog in pgarch.c); `|| exit 1` makes
1 of whatever the interpreter may die of. What went wrong goes to the server's log, with the number of files that wait:
a full pg_wal is a server that stands still.
"""

import _socket
import posix
import sys

ANSWER_WITHIN = 90.0
"""Seconds. Whoever gives up here tries again: what the service has stored meanwhile is found stored."""
CONNECT_WITHIN = 5.0
LONGEST_ANSWER = 4096


def waiting() -> str:
    """How many files the server has ready for us; we are started in its data directory."""
    try:
        number = sum(name.endswith(".ready") for name in posix.listdir("pg_wal/archive_status"))
    except OSError:
        return ""
    return f"; {number} {'file waits' if number == 1 else 'files wait'} in pg_wal"


def push(address: str, path: str) -> str:
    """What the service answered. Raises OSError."""
    file = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC)
    line = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    line.settimeout(CONNECT_WITHIN)
    line.connect(address)
    name = path.rpartition("/")[2]
    # One message: the descriptor goes with the first byte, as a C int.
    passed = [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, file.to_bytes(4, sys.byteorder))]
    line.sendmsg([b"backstay-archive/1 " + name.encode("utf-8", "surrogateescape") + b"\n"], passed)
    line.settimeout(ANSWER_WITHIN)
    answer = b""
    while not answer.endswith(b"\n") and len(answer) < LONGEST_ANSWER:
        if not (more := line.recv(LONGEST_ANSWER)):
            return "it went away before it had answered"
        answer += more
    return answer.decode("utf-8", "replace").rstrip("\n")


def main() -> int:
    """0 or 1."""
    name = sys.argv[-1].rpartition("/")[2]
    try:
        address, path = sys.argv[1:]
        answer = push(address, path)
        if answer == "ok":
            return 0
        why = answer.removeprefix("no ")
    except BaseException as error:  # noqa: BLE001 - whatever it is, PostgreSQL must hear 1 and try again
        why = f"the archive service does not answer: {error}"
    try:
        sys.stderr.write(f"backstay: {name} is not archived: {why}{waiting()}\n")
    except BaseException:  # noqa: BLE001, S110 - nobody reads it: the exit code is what counts
        pass
    return 1


if __name__ == "__main__":
    sys.exit(main())
