"""The engine: the only loop that acts.

Theory of operation. A run is a stream of facts. `drive` folds it, asks the state machine what comes next, writes the
intent, acts, and writes the outcome; then again. A driver may die anywhere. Whoever drives next finds each step whose
intent has no end, and *looks* before it acts: so each effect happens exactly once, or, where looking is impossible and
its author did not call it repeatable, a person is asked.

Two drivers never act together, because a driver acts only under a lease. Why that is safe: `leases`. Two runs never
have one component, because what a run touches it claims in one stream. Why that is safe: `claims`.

- `driver`    Driver (who, and on what terms), and what a drive comes to: Done, Waiting, WaitingFor
- `drive`     `drive(driver, world, run)`
- `shift`     the loop, and what runs under it
- `desk`      the run's stream, folded, written to only under the lease
- `leases`    taking, renewing, guarding, losing the lease
- `claims`    `start`, what people say to a run (`tell`), and who has which component
- `routine`   backups and proofs: two facts in their component's stream
- `reconcile` points that the journal speaks of and the vault lacks
- `crew`      threads
"""

from backstay.engine.claims import claim as claim
from backstay.engine.claims import holder as holder
from backstay.engine.claims import open_runs as open_runs
from backstay.engine.claims import refuse_if_busy as refuse_if_busy
from backstay.engine.claims import start as start
from backstay.engine.claims import tell as tell
from backstay.engine.crew import Crew as Crew
from backstay.engine.crew import Threads as Threads
from backstay.engine.desk import stream_of as stream_of
from backstay.engine.drive import drive as drive
from backstay.engine.driver import Done as Done
from backstay.engine.driver import Driver as Driver
from backstay.engine.driver import Ending as Ending
from backstay.engine.driver import Terms as Terms
from backstay.engine.driver import Waiting as Waiting
from backstay.engine.driver import WaitingFor as WaitingFor
from backstay.engine.reconcile import missing_points as missing_points
from backstay.engine.reconcile import reconcile as reconcile
from backstay.engine.routine import RoutineEnd as RoutineEnd
from backstay.engine.routine import component_stream as component_stream
from backstay.engine.routine import open_routines as open_routines
from backstay.engine.routine import routine as routine
