"""Child processes that never outlive us: limits, deadlines, whole process trees, streams that tell the truth.

Theory of operation. `Command` says what to start; `run` starts it and waits; `start` gives a `Running` to talk to;
`reading` gives a tool's output as a file. Each program runs under a small `warden` process, which holds one end of a
socket whose other end is ours: when we are gone, however that came about, the warden kills the program and all its
descendants. (`apart` is for our own commands, which mind theirs.) Four rules follow the programs:

1. No shell, a small environment, secrets never in argv and never in what we say about a failure.
2. A deadline is kept by the warden, not by us: stop signal, grace, SIGKILL, for the whole tree.
3. Memory is bounded: the last `keep_bytes` of output and errors are kept, the rest goes through or by.
4. A stream ends only if the program ended well: reading to the end raises ToolFailed, TimedOut or Cancelled otherwise,
   so that half a dump can never pass for a whole one; and a stream that *we* could not finish writing is not closed
   but killed, so that the program cannot take it for complete.

Linux only: subreapers, /proc, and user namespaces for `unprivileged`.
"""

from backstay.processes.apart import apart as apart
from backstay.processes.command import Command as Command
from backstay.processes.command import Limits as Limits
from backstay.processes.isolation import cut_off as cut_off
from backstay.processes.leftovers import sweep as sweep
from backstay.processes.leftovers import working_folder as working_folder
from backstay.processes.locks import holding as holding
from backstay.processes.running import Finished as Finished
from backstay.processes.running import Running as Running
from backstay.processes.running import kill_all as kill_all
from backstay.processes.running import reading as reading
from backstay.processes.running import run as run
from backstay.processes.running import start as start
