"""What the store of a vault costs, where that is not the list price."""

from backstay.config import grammar
from backstay.config.forms import Word
from backstay.config.tables import Table, required
from backstay.plan import Prices


def _price(text: str) -> float:
    price = float(grammar.number(text))
    if price < 0:
        raise ValueError("a price is not below zero")
    return price


_PRICE = Word("a price, like 0.023", _price, types=("number", "string"))

STORAGE = required("storage", _PRICE, "of a GB for a month", "0.012")
PUT = required("put", _PRICE, "of a thousand writes or listings", "0.005")
GET = required("get", _PRICE, "of a thousand reads", "0.0004")
EGRESS = required("egress", _PRICE, "of a GB that leaves the cloud", "0.01")

PRICES = Table(
    "prices",
    "prices",
    "What `backstay cost` counts with, in any currency.",
    (STORAGE, PUT, GET, EGRESS),
    lambda fields: Prices(fields[STORAGE], fields[PUT], fields[GET], fields[EGRESS]),
)
