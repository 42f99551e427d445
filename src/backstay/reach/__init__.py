"""Which moments can be reached: points, the write-ahead log that was kept, and the timelines between them.

The log of a cluster is a tree. A promotion, and every recovery to a moment, begins a new *timeline*; its history says
where it left the one before it. What the vault has of a timeline is a set of *stretches*; between two of them may be a
gap, and over a gap nothing is replayed. All of it follows from a listing: nothing else remembers what was kept.

`words` says what there is, `histories` reads what a server wrote about its timelines, `ways` goes from a point along
the log, `leading` says whether a point leads to a target, and `gaps` finds what is missing and what that costs.
"""

from backstay.reach.gaps import Dark as Dark
from backstay.reach.gaps import dark as dark
from backstay.reach.gaps import gaps as gaps
from backstay.reach.gaps import unjoined as unjoined
from backstay.reach.histories import read_histories as read_histories
from backstay.reach.histories import read_history as read_history
from backstay.reach.leading import Route as Route
from backstay.reach.leading import Within as Within
from backstay.reach.leading import route as route
from backstay.reach.leading import settled as settled
from backstay.reach.leading import within as within
from backstay.reach.standings import GapSeen as GapSeen
from backstay.reach.standings import Standing as Standing
from backstay.reach.standings import TimelineSeen as TimelineSeen
from backstay.reach.standings import age as age
from backstay.reach.standings import name_gap as name_gap
from backstay.reach.standings import say_age as say_age
from backstay.reach.standings import say_cost as say_cost
from backstay.reach.standings import standing as standing
from backstay.reach.standings import tree as tree
from backstay.reach.ways import Leg as Leg
from backstay.reach.ways import NoWay as NoWay
from backstay.reach.ways import Reach as Reach
from backstay.reach.ways import Way as Way
from backstay.reach.ways import line_to as line_to
from backstay.reach.ways import nearest as nearest
from backstay.reach.ways import reach as reach
from backstay.reach.ways import reaches as reaches
from backstay.reach.ways import way_to as way_to
from backstay.reach.words import Base as Base
from backstay.reach.words import Gap as Gap
from backstay.reach.words import Left as Left
from backstay.reach.words import Log as Log
from backstay.reach.words import Moments as Moments
from backstay.reach.words import Span as Span
from backstay.reach.words import Stretch as Stretch
from backstay.reach.words import base_of as base_of
