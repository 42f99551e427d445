"""The service behind `archive_command`: a Unix socket that takes open files and answers when they are durable.

A request is one message, `backstay-archive/1 NAME` and a line feed, with the descriptor of the file beside it; the
answer one line: `ok`, or `no` and the reason. Only the server's own user, root and we ourselves are listened to: the
kernel says who asks (SO_PEERCRED, unix(7)). Files are kept one after the other, as a server archives them; whoever asks
again for what is being kept waits for it. A client that goes away loses nothing: its file is kept all the same, and
found when it is sent again.
"""

import array
import errno
import os
import socket
import stat
import struct
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from backstay.errors import AccessDenied, BackstayError, Usage

GREETING = b"backstay-archive/1 "
LONGEST_REQUEST = 256
LONGEST_ADDRESS = 107
"""Bytes of a path of a socket (sockaddr_un)."""
LONGEST_ANSWER = 1000
ASK_WITHIN_S = 5.0
MOST_AT_ONCE = 8
_CREDENTIALS = struct.Struct("iII")
"""struct ucred: process, user, group."""

Keep = Callable[[str, int], str]
"""Name and descriptor to what was done; raises BackstayError."""


@dataclass(slots=True)
class Service:
    """Listens until `close`. `told` hears of each file: its name, what was done, or why it was refused."""

    address: Path
    owner: int
    """The user whose server asks."""
    keep: Keep
    told: Callable[[str, str | BackstayError], None]
    _one: threading.Lock = field(default_factory=threading.Lock)
    _listening: socket.socket | None = None

    def listen(self) -> None:
        """Take the address; nobody else may hold its lock. Raises Usage, AccessDenied."""
        if len(os.fsencode(self.address)) > LONGEST_ADDRESS:
            raise Usage(
                f"the address {self.address} is longer than a socket may have ({LONGEST_ADDRESS} bytes)",
                hint="name a shorter one with --socket",
            )
        self._listening = line = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            with suppress(FileNotFoundError):
                if not stat.S_ISSOCK(self.address.lstat().st_mode):
                    raise FileExistsError(errno.EEXIST, "something else than a socket lies there")
                self.address.unlink()  # of a service that was killed
            before = os.umask(0o177)
            try:
                line.bind(str(self.address))
            finally:
                os.umask(before)
            if self.owner != os.geteuid():
                os.chown(self.address, self.owner, -1)
        except OSError as error:
            line.close()
            raise AccessDenied(
                f"cannot listen at {self.address}",
                detail=error.strerror or str(error),
                hint="name a socket in a folder that you and the server's user may enter, with --socket",
            ) from None
        line.listen(MOST_AT_ONCE)

    def serve(self) -> None:
        """Until `close` is called, from any thread. Nobody is let in who would only wait: a vault that hangs all night
        must not cost a descriptor for each try of the server."""
        assert self._listening is not None, "listen first"
        room = threading.Semaphore(MOST_AT_ONCE)
        with ThreadPoolExecutor(MOST_AT_ONCE, thread_name_prefix="backstay-archive") as threads:
            while room.acquire():
                try:
                    line, _ = self._listening.accept()
                except OSError:  # closed
                    return
                threads.submit(self._answer, line).add_done_callback(lambda _: room.release())

    def close(self) -> None:
        """What is being kept is still kept."""
        if self._listening is not None:
            with suppress(OSError):
                self._listening.shutdown(socket.SHUT_RDWR)  # wakes whoever accepts
            self._listening.close()
            with suppress(OSError):
                self.address.unlink()

    def _answer(self, line: socket.socket) -> None:
        with line:
            files = list[int]()
            try:
                line.settimeout(ASK_WITHIN_S)
                answer = self._heard(line, files)
                line.sendall(answer.encode("utf-8", "replace")[:LONGEST_ANSWER] + b"\n")
            except OSError:
                pass  # it went away: it asks again
            finally:
                for file in files:
                    os.close(file)

    def _heard(self, line: socket.socket, files: list[int]) -> str:
        _, user, _ = _CREDENTIALS.unpack(line.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
        if user not in (0, os.geteuid(), self.owner):
            return "no this user is not the server's"
        request, passed = _receive(line)
        files += passed
        if not request.startswith(GREETING) or not request.endswith(b"\n") or len(files) != 1:
            return "no this is not a request for the archive of Backstay"
        name = request[len(GREETING) : -1].decode("ascii", "replace")
        return self._kept(name, files[0])

    def _kept(self, name: str, file: int) -> str:
        try:
            with self._one:
                said = self.keep(name, file)
        except BackstayError as error:
            self.told(name, error)
            return "no " + " ".join(f"E{error.code:02d} {error.message}: {error.detail}; {error.hint}".split())
        except Exception as error:  # noqa: BLE001 - the server has to hear that it was not kept, whatever it was
            defect = BackstayError("a defect in Backstay itself", detail=f"{type(error).__name__}: {error}")
            self.told(name, defect)
            return f"no {type(error).__name__} in the archive service"
        self.told(name, said)
        return "ok"


def _receive(line: socket.socket) -> tuple[bytes, list[int]]:
    """The message, and every descriptor that came along. Raises OSError."""
    room = socket.CMSG_SPACE(4 * array.array("i").itemsize)
    request, files = b"", array.array("i")
    while not request.endswith(b"\n") and len(request) < LONGEST_REQUEST:
        more, beside, _, _ = line.recvmsg(LONGEST_REQUEST, room, socket.MSG_CMSG_CLOEXEC)
        for level, kind, data in beside:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                files.frombytes(data[: len(data) - len(data) % files.itemsize])
        if not more:
            break
        request += more
    return request, files.tolist()
