"""Whether a vault is as new as somebody remembers it, and who that is."""

from backstay.facts import PointTaken
from backstay.history import history
from backstay.values import RunId, VaultName
from backstay.verify.freshness import AsNew, Older, Unremembered, freshness, heads, remembered
from fix_story import HOUR, LOCAL, at, point, recorded

OLD, MIDDLE, NEW = point(at("2026-11-20 02:00")), point(at("2026-11-21 02:00")), point(at("02:00"))
POINTS = [OLD, MIDDLE, NEW]
THERE = {point.id: point.component for point in POINTS}


def test_a_vault_is_as_new_as_somebody_remembers() -> None:
    assert freshness(THERE, ()) == Unremembered("nothing here remembers what the vault had: no journal, and no --head")
    assert freshness(THERE, [OLD.id, NEW.id]) == AsNew("the journal (2 points)")
    head = (NEW.component, NEW.id)
    assert heads(POINTS) == (head,)
    assert freshness(THERE, (), [head]) == AsNew("1 head given by hand")
    assert freshness(THERE, (), [(NEW.component, OLD.id)]) == AsNew("1 head given by hand")


def test_a_point_that_is_remembered_and_missing_is_an_alarm() -> None:
    older = {id: of for id, of in THERE.items() if id != NEW.id}
    found = freshness(older, [MIDDLE.id, NEW.id])
    assert found == Older((NEW.id,), f"{NEW.id}: known to the journal (2 points), and not in the vault")
    assert isinstance(freshness(older, (), [(NEW.component, NEW.id)]), Older)
    assert isinstance(freshness({}, [], [(NEW.component, OLD.id)]), Older)
    # An old point may rightly have expired since the head was written down: a newer one of its component stands for it.
    assert isinstance(freshness({NEW.id: NEW.component}, (), [(NEW.component, OLD.id)]), AsNew)


def test_what_was_let_go_is_not_missed() -> None:
    told = history(
        recorded("component/database", *((one.ended, PointTaken(RunId("run-1"), LOCAL, one, HOUR)) for one in POINTS)),
        {},
    )
    assert remembered(told, LOCAL) == tuple(one.id for one in POINTS)
    assert remembered(told, LOCAL, gone=[OLD.id]) == (MIDDLE.id, NEW.id)
    assert remembered(told, VaultName("offsite")) == ()


def test_a_head_of_the_journal_says_it_too() -> None:
    there, gone = {"2/214:9f86": True}, {"2/215:0000": False}
    assert freshness(THERE, (), (), there) == AsNew("1 head given by hand")
    found = freshness(THERE, (), (), {**there, **gone})
    assert found == Older((), "the spine 2/215:0000: known to 2 heads given by hand, and not in the vault")
