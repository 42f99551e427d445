"""What happened, folded: the journal's facts and the vaults' lists as one immutable value.

Each question has one truth. The vaults decide which recovery points exist; the journal says what was done. `history`
puts both together, and everything above (estimates, objectives, documents) reads this value and nothing else. It is a
fold that can be thrown away: nothing here is ever stored.

`runs`, `incidents`, `searches` and `lines` are its parts, `whole` puts them together, `measures` says what a run cost.
What a run may do next is for `machine`.
"""

from backstay.history.incidents import IncidentSeen as IncidentSeen
from backstay.history.incidents import incident_after as incident_after
from backstay.history.lines import Line as Line
from backstay.history.lines import Segment as Segment
from backstay.history.lines import line_of as line_of
from backstay.history.lines import taken_order as taken_order
from backstay.history.measures import Loss as Loss
from backstay.history.measures import PhaseTime as PhaseTime
from backstay.history.measures import component_rto as component_rto
from backstay.history.measures import components_restored as components_restored
from backstay.history.measures import newest_back as newest_back
from backstay.history.measures import phase_times as phase_times
from backstay.history.measures import rpo_actual as rpo_actual
from backstay.history.measures import rto_actual as rto_actual
from backstay.history.runs import RunFold as RunFold
from backstay.history.runs import RunSeen as RunSeen
from backstay.history.runs import StepSeen as StepSeen
from backstay.history.runs import seen_run as seen_run
from backstay.history.searches import SearchSeen as SearchSeen
from backstay.history.searches import searches as searches
from backstay.history.whole import History as History
from backstay.history.whole import InVault as InVault
from backstay.history.whole import active_holds as active_holds
from backstay.history.whole import history as history
from backstay.history.whole import newest_held as newest_held
