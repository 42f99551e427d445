"""The verbs of a run, performed with real ports. `world` has the table; a module for each group does the work.

    estate = Estate(plan, site, ...)                 # ports, put together by `app`
    world = Guarded(PortWorld(estate), estate)       # what the engine acts through
    world = Dry(PortWorld(estate), estate, print)    # says what it would do

`routine` has the two that need no procedure: taking a point, and proving one.
"""

from backstay.verbs.dry import Dry as Dry
from backstay.verbs.estate import Estate as Estate
from backstay.verbs.estate import Placed as Placed
from backstay.verbs.guard import Guarded as Guarded
from backstay.verbs.routine import Routine as Routine
from backstay.verbs.routine import prove_point as prove_point
from backstay.verbs.routine import take_point as take_point
from backstay.verbs.words import Words as Words
from backstay.verbs.world import VERBS as VERBS
from backstay.verbs.world import PortWorld as PortWorld
