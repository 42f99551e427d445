"""The state machine of a run: what every fact means, and what to do next. Pure.

State is a fold: `fold(facts)` over the run's stream gives a RunState, and `decide(run, now)` the next decision. Nothing
about a run is kept anywhere else, so a driver that dies loses nothing: the next one folds the same facts, finds every
step whose intent has no end (*unsure*), and looks at it before anything else. How the state of a step may change is in
one table, `states.TABLE`; `docs/reference/run-states.md` is drawn from it.

- `states` the table
- `run`    RunState, `evolve`, `fold`, `refusal`
- `people` whose answers count
- `decide` the next decision
"""

from backstay.machine.decide import Act as Act
from backstay.machine.decide import BeginPause as BeginPause
from backstay.machine.decide import Busy as Busy
from backstay.machine.decide import Decision as Decision
from backstay.machine.decide import Do as Do
from backstay.machine.decide import EndPause as EndPause
from backstay.machine.decide import Finish as Finish
from backstay.machine.decide import Judge as Judge
from backstay.machine.decide import Look as Look
from backstay.machine.decide import Move as Move
from backstay.machine.decide import Over as Over
from backstay.machine.decide import Put as Put
from backstay.machine.decide import WaitForPeople as WaitForPeople
from backstay.machine.decide import WaitUntil as WaitUntil
from backstay.machine.decide import current_phase as current_phase
from backstay.machine.decide import decide as decide
from backstay.machine.decide import paused_until as paused_until
from backstay.machine.people import Signed as Signed
from backstay.machine.people import approval_words as approval_words
from backstay.machine.people import counts as counts
from backstay.machine.people import nothing_signed as nothing_signed
from backstay.machine.people import verdict as verdict
from backstay.machine.run import Lease as Lease
from backstay.machine.run import RunState as RunState
from backstay.machine.run import StepState as StepState
from backstay.machine.run import evolve as evolve
from backstay.machine.run import fold as fold
from backstay.machine.run import needs_of as needs_of
from backstay.machine.run import refusal as refusal
from backstay.machine.run import time_limit as time_limit
from backstay.machine.run import unsound as unsound
from backstay.machine.states import MEANING as MEANING
from backstay.machine.states import SETTLED as SETTLED
from backstay.machine.states import TABLE as TABLE
from backstay.machine.states import Event as Event
from backstay.machine.states import State as State
from backstay.machine.states import diagram as diagram
from backstay.machine.states import listing as listing
