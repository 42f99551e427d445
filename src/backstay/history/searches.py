"""Searches for the last known good, folded from the stream of their component."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from backstay.facts import AnswerGiven, Recorded, SearchBegan, SearchEnded, Verdict
from backstay.values import PointId, RunId


@dataclass(frozen=True, slots=True)
class SearchSeen:
    """One search, as far as it came."""

    began: SearchBegan
    at: datetime
    answers: Mapping[tuple[PointId, datetime | None], AnswerGiven] = field(
        default_factory=dict[tuple[PointId, datetime | None], AnswerGiven]
    )
    """Right and wrong ones. What could not be asked may be asked once more: there may be room now."""
    ended: SearchEnded | None = None

    def asks(self, other: SearchBegan) -> bool:
        """Whether the two look for the same."""
        return replace(other, search=self.began.search, by=self.began.by) == self.began


def searches(facts: Iterable[Recorded]) -> tuple[SearchSeen, ...]:
    """In the order in which they began."""
    found: dict[RunId, SearchSeen] = {}
    for recorded in facts:
        match recorded.fact:
            case SearchBegan() as fact:
                found[fact.search] = SearchSeen(fact, recorded.at)
            case AnswerGiven() as fact if fact.search in found and fact.verdict is not Verdict.NOT_VERIFIED:
                seen = found[fact.search]
                found[fact.search] = replace(seen, answers={**seen.answers, (fact.point, fact.at): fact})
            case SearchEnded() as fact if fact.search in found:
                found[fact.search] = replace(found[fact.search], ended=fact)
            case _:
                pass
    return tuple(found.values())
