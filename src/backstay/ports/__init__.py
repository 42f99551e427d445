"""What Backstay needs from outside, as small Protocols. Each docstring is the contract.

A contract suite in `tests/contracts` runs on every implementation, the in-memory twin first. Ask a port's
traits what it can do; never ask which class it is. Ports raise classes from `errors`, nothing else.
"""

from backstay.plan import LockMode as LockMode
from backstay.ports.clock import Clock as Clock
from backstay.ports.clock import Progress as Progress
from backstay.ports.clock import unwatched as unwatched
from backstay.ports.journal import Journal as Journal
from backstay.ports.points import CATALOGUE as CATALOGUE
from backstay.ports.points import Cutter as Cutter
from backstay.ports.points import Entry as Entry
from backstay.ports.points import HeldReader as HeldReader
from backstay.ports.points import Kind as Kind
from backstay.ports.points import PointReader as PointReader
from backstay.ports.points import PointWriter as PointWriter
from backstay.ports.points import Replaced as Replaced
from backstay.ports.points import Sealing as Sealing
from backstay.ports.points import Stored as Stored
from backstay.ports.points import Vanished as Vanished
from backstay.ports.points import Vault as Vault
from backstay.ports.store import LOCK_MARGIN as LOCK_MARGIN
from backstay.ports.store import PASSING as PASSING
from backstay.ports.store import Attack as Attack
from backstay.ports.store import Cover as Cover
from backstay.ports.store import Hidden as Hidden
from backstay.ports.store import Key as Key
from backstay.ports.store import Listed as Listed
from backstay.ports.store import Lock as Lock
from backstay.ports.store import Locking as Locking
from backstay.ports.store import Store as Store
from backstay.ports.store import StoreTraits as StoreTraits
from backstay.ports.store import Versioned as Versioned
from backstay.ports.store import checked_key as checked_key
from backstay.ports.store import is_key as is_key
from backstay.ports.store import locking as locking
from backstay.ports.store import versioned as versioned
from backstay.ports.wal import Label as Label
from backstay.ports.wal import Piece as Piece
from backstay.ports.wal import WalShelf as WalShelf
from backstay.ports.wal import log_of as log_of
from backstay.ports.world import Acting as Acting
from backstay.ports.world import Addressed as Addressed
from backstay.ports.world import Alive as Alive
from backstay.ports.world import Answer as Answer
from backstay.ports.world import Answers as Answers
from backstay.ports.world import Heard as Heard
from backstay.ports.world import Keeper as Keeper
from backstay.ports.world import NotAlive as NotAlive
from backstay.ports.world import Notifier as Notifier
from backstay.ports.world import Prober as Prober
from backstay.ports.world import Sampled as Sampled
from backstay.ports.world import Secrets as Secrets
from backstay.ports.world import Seen as Seen
from backstay.ports.world import Structured as Structured
from backstay.ports.world import Taken as Taken
from backstay.ports.world import Workloads as Workloads
from backstay.ports.world import World as World
from backstay.ports.world import refuse_target as refuse_target
