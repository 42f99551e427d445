"""Programs that Backstay stops and starts on a host: the application, where no cluster runs it.

The application is the protected system. It must outlive us, whatever becomes of us: it runs in a session of its own,
writes to its own log, and holds none of our files. (Under systemd, give Backstay `KillMode=process`: a stop of the unit
would otherwise take everything along that it ever started.)

Theory of operation. A pid file says which process is the workload. Numbers are given out again, so a number alone
proves nothing: ours also holds when the process was started (`/proc/<pid>/stat`, field 22, in clock ticks since boot)
and the boot's id, and what does not match is not the workload. A pid file of somebody else's making has only the
number: there the process must be older than the file that speaks of it.

Starting is safe against a crash at any point: until the pid file is on disk the program dies with us, and afterwards it
can be found. Stopping too: the pid file goes last. How many were wanted before a run's first change stands in a file
beside the pid file. Two callers are kept apart by a lock file, which ends with its holder.
"""

from backstay.adapters.process.workloads import ProcessWorkloads as ProcessWorkloads
