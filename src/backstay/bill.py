"""What the vaults of a plan cost in a month: what they hold, what is added, the requests, what leaves the cloud.

Everything comes from what was measured (the listing of a vault, its points) and from the plan's schedules. What is not
known is a line that says so, and is not counted as nothing. Prices are list prices unless the plan has its own.

Requests are counted as the vault makes them: a pack of 16 MiB is one write; a backup reads one node for each 64 MiB of
a file that it compares, a restore reads runs of up to 8 MiB. A law counts them at a store and holds the two together.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from backstay.facts import Point
from backstay.plan import Component, Prices, Schedule
from backstay.protect import next_after
from backstay.values import count, say_size, say_span

MONTH = timedelta(days=30)
GB = 1e9
PACK_BYTES, LEAF_BYTES, RUN_BYTES = 16 << 20, 64 << 20, 8 << 20
BATCH_BYTES, BATCH_FILES = 32 << 20, 1024
FILES_ON_A_PAGE = 200
LISTED_AT_ONCE = 1000
BOXES = 12
"""Small objects around one backup: reservation, point, node pack, facts, spine; written and read."""


@dataclass(frozen=True, slots=True)
class ListPrices:
    of: Prices
    source: str


LIST = {
    "s3": ListPrices(
        Prices(storage=0.023, put=0.005, get=0.0004, egress=0.09),
        "US$, list prices of 2025: Amazon S3 Standard, us-east-1 (aws.amazon.com/s3/pricing)",
    ),
    "gs": ListPrices(
        Prices(storage=0.020, put=0.005, get=0.0004, egress=0.12),
        "US$, list prices of 2025: Cloud Storage Standard, us-central1 (cloud.google.com/storage/pricing)",
    ),
    "az": ListPrices(
        Prices(storage=0.018, put=0.0055, get=0.00044, egress=0.087),
        "US$, list prices of 2025: Blob, hot, LRS, East US (azure.microsoft.com/pricing/details/storage/blobs)",
    ),
}
"""In US dollars: a GB for a month, a thousand writes (and listings), a thousand reads, a GB that leaves the cloud.
Without free tiers, discounts for volume, taxes, early deletion fees."""


@dataclass(frozen=True, slots=True)
class Held:
    """What one vault has, as it was listed."""

    stored_bytes: int
    objects: int


@dataclass(frozen=True, slots=True)
class Kept:
    """One component in one vault."""

    component: Component
    points: tuple[Point, ...]
    needed_bytes: int | None
    """What a restore of the newest point reads of the vault. None: not known."""


@dataclass(frozen=True, slots=True)
class Line:
    """`amount` in the currency of the prices; None: not known, and `says` tells why."""

    what: str
    says: str
    amount: float | None


@dataclass(frozen=True, slots=True)
class Bill:
    lines: tuple[Line, ...]
    once: tuple[Line, ...]
    """What is not paid each month: a restore on the day."""
    source: str

    @property
    def total(self) -> float:
        return sum(line.amount or 0 for line in self.lines)

    @property
    def is_whole(self) -> bool:
        return all(line.amount is not None for line in self.lines)


def bill(held: Held, kept: Iterable[Kept], prices: ListPrices, now: datetime, tz: str) -> Bill:
    """The month that comes, when everything goes on as it did."""
    each, lines, once = tuple(kept), list[Line](), list[Line]()
    price = prices.of
    now_says = f"{say_size(held.stored_bytes)} in {count(held.objects, 'object')}"
    lines.append(Line("storage of what is there", now_says, held.stored_bytes / GB * price.storage))
    for one in each:
        name = one.component.name
        points = points_in_a_month(one.component, now, tz)
        lines.append(_growth(one, price))
        lines.append(_backups(one, points, price))
        lines.append(_monthly_proof(one, price))
        once.append(_out(f"one restore of {name}", one, price))
    return Bill(tuple(lines), tuple(once), prices.source)


def points_in_a_month(component: Component, now: datetime, tz: str) -> int | None:
    """How many points the schedules ask for. None: there is no schedule."""
    schedules = [s for s in (component.protect.full, component.protect.incremental) if s is not None]
    return sum(_times(schedule, now, tz) for schedule in schedules) if schedules else None


def _times(schedule: Schedule, now: datetime, tz: str) -> int:
    number, at = 0, next_after(schedule, now, tz)
    while at is not None and at <= now + MONTH and number < 100_000:
        number, at = number + 1, next_after(schedule, at, tz)
    return number


def _growth(one: Kept, price: Prices) -> Line:
    """Half of what is added lies there for the month, on the average. Retention takes something away again: when the
    first points expire, this is an upper bound."""
    what, name = f"storage of what {one.component.name} adds", one.component.name
    points = sorted(one.points, key=lambda point: point.ended)
    span = points[-1].ended - points[0].ended if points else timedelta()
    if span < timedelta(days=1):
        return Line(what, f"not known: less than a day of points of {name}", None)
    added = sum(point.stored_bytes for point in points[1:]) / (span / MONTH)
    says = f"{say_size(added)} a month, from {count(len(points), 'point')} over {say_span(span)}, if nothing expires"
    return Line(what, says, added / 2 / GB * price.storage)


def _backups(one: Kept, points: int | None, price: Prices) -> Line:
    what = f"backups of {one.component.name}"
    if points is None:
        return Line(what, "not known: no schedule says how often", None)
    if not one.points:
        return Line(what, "not known: there is no point yet", None)
    newest = max(one.points, key=lambda point: point.ended)
    writes, reads = requests_of_backup(newest)
    says = f"{count(points, 'point')} a month, each about {writes:,} writes and {reads:,} reads"
    return Line(what, says, points * (writes / 1000 * price.put + reads / 1000 * price.get))


def requests_of_backup(point: Point) -> tuple[int, int]:
    """Writes (with listings) and reads that a point like this one costs after the first."""
    writes = BOXES + -(-point.stored_bytes // PACK_BYTES)
    return writes, BOXES + -(-point.size_bytes // LEAF_BYTES) + -(-point.files // FILES_ON_A_PAGE)


def requests_of_restore(needed_bytes: int, point: Point) -> int:
    """Reads. Every pack's head is read once; frames in runs, which end with a batch; and the nodes of the tree and of
    each long file."""
    packs = -(-needed_bytes // PACK_BYTES)
    runs = -(-needed_bytes // RUN_BYTES) + -(-point.size_bytes // BATCH_BYTES) + 2 * -(-point.files // BATCH_FILES)
    nodes = -(-point.size_bytes // LEAF_BYTES) + -(-point.files // FILES_ON_A_PAGE)
    return BOXES + packs + runs + nodes


def _monthly_proof(one: Kept, price: Prices) -> Line:
    return _out(f"one proof of {one.component.name}, run outside the cloud", one, price)


def _out(what: str, one: Kept, price: Prices) -> Line:
    if not one.points or one.needed_bytes is None:
        return Line(what, "not known: no point says what a restore reads", None)
    newest = max(one.points, key=lambda point: point.ended)
    reads = requests_of_restore(one.needed_bytes, newest)
    amount = one.needed_bytes / GB * price.egress + reads / 1000 * price.get
    return Line(what, f"{say_size(one.needed_bytes)} out, about {reads:,} reads", amount)
