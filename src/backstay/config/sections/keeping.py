"""How long points are kept: by age, and a few older ones that stand for their day, week, month or year."""

from backstay.config import grammar
from backstay.config.forms import Either, Made, Word
from backstay.config.sections.words import PERIOD
from backstay.config.tables import Fields, Table, default, optional
from backstay.plan import Keep

_MOST = 10_000
_COUNT = Word("a whole number", grammar.WholeNumber(1, _MOST), types=("integer",))

WITHIN = optional("within", PERIOD, "every point that is younger is kept", "30d", "none for being young")
LAST = default("last", _COUNT, 0, "so many of the newest points are kept", "3", "none")
HOURLY = default("hourly", _COUNT, 0, "the newest point of each of so many hours", "48", "none")
DAILY = default("daily", _COUNT, 0, "the newest point of each of so many days", "14", "none")
WEEKLY = default("weekly", _COUNT, 0, "the newest point of each of so many weeks", "8", "none")
MONTHLY = default("monthly", _COUNT, 0, "the newest point of each of so many months", "12", "none")
YEARLY = default("yearly", _COUNT, 0, "the newest point of each of so many years", "5", "none")
_KEYS = (WITHIN, LAST, HOURLY, DAILY, WEEKLY, MONTHLY, YEARLY)


def _keep(fields: Fields) -> Keep:
    if not fields.places:
        fields.at.wrong("keeps nothing: write how long, like `within: 30d`, or take the line out")
    return Keep(
        fields[WITHIN], fields[LAST], fields[HOURLY], fields[DAILY], fields[WEEKLY], fields[MONTHLY], fields[YEARLY]
    )


KEEP_TABLE = Table(
    "keep",
    "how long points are kept",
    "Which points are kept: one that any of these keys keeps is kept. Only hours, days, weeks, months and years that "
    "have a point are counted, the newest first, by the plan's time zone. A text alone is `within`.",
    _KEYS,
    _keep,
)
KEEP_FORM = Either(
    "a duration like 30d, or what to keep", text=Made(PERIOD, lambda _, within: Keep(within)), entries=KEEP_TABLE
)
