"""A job of the service: a process of its own, which nothing that we do or fail to do holds up."""

import os
import sys
import threading
from datetime import timedelta
from pathlib import Path

from backstay.processes import apart


def test_a_job_goes_on_when_nobody_can_say_what_it_prints(tmp_path: Path) -> None:
    heard = list[str]()

    def say(line: str) -> None:
        heard.append(line)
        raise UnicodeEncodeError("latin-1", line, 0, 1, "no such letter")

    prints = "print('é' * 5000 + '\\n' + ('x' * 99 + '\\n') * 3000)"
    until = threading.Event()
    timer = threading.Timer(20, until.set)
    timer.start()
    status = apart(
        [sys.executable, "-c", prints],
        env=os.environ,
        cwd=tmp_path,
        say=say,
        stop=until.is_set,
        grace=timedelta(minutes=1),
    )
    timer.cancel()
    assert (status, len(heard)) == (0, 3003)
    assert max(map(len, heard)) <= 4096
