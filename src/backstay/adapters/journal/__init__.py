"""The journal on disk.

- `sqlite`  streams of facts in one SQLite file, compare-and-append, hash chain
- `opened`  its epoch at the witness: which of several journals may write
- `sending` the facts themselves, sealed into the vaults
- `spines`  the state of the whole, signed and sealed into the vaults; verifying against it
- `arriving` going on with a journal that only the vaults still have
- `signing` the journal's own key
"""

from backstay.adapters.journal.arriving import Found as Found
from backstay.adapters.journal.arriving import find_history as find_history
from backstay.adapters.journal.arriving import lay_history as lay_history
from backstay.adapters.journal.arriving import take_over as take_over
from backstay.adapters.journal.opened import NotVerified as NotVerified
from backstay.adapters.journal.opened import OpenJournal as OpenJournal
from backstay.adapters.journal.opened import Overtaken as Overtaken
from backstay.adapters.journal.opened import Standing as Standing
from backstay.adapters.journal.opened import Verified as Verified
from backstay.adapters.journal.opened import Witness as Witness
from backstay.adapters.journal.opened import open_journal as open_journal
from backstay.adapters.journal.spines import Audit as Audit
from backstay.adapters.journal.spines import Sealed as Sealed
from backstay.adapters.journal.spines import seal_spine as seal_spine
from backstay.adapters.journal.spines import seal_when_due as seal_when_due
from backstay.adapters.journal.spines import spine_due as spine_due
from backstay.adapters.journal.spines import verify_journal as verify_journal
from backstay.adapters.journal.sqlite import SqliteJournal as SqliteJournal
