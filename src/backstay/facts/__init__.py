"""Everything that can have happened: the journal is append-only streams of these facts.

`runs` and `others` say what a fact is, `points` what a recovery point, a proof and a hold are; `stored` spells out how
each is written, by hand and with a version; `chain` links them so that a change cannot go unseen, `audit` looks for
one, `segments` is how they are kept in the vaults.
"""

from backstay.facts.chain import NO_FACTS as NO_FACTS
from backstay.facts.chain import Head as Head
from backstay.facts.chain import Recorded as Recorded
from backstay.facts.chain import Spine as Spine
from backstay.facts.chain import genesis as genesis
from backstay.facts.chain import link as link
from backstay.facts.chain import log_after as log_after
from backstay.facts.chain import read_spine as read_spine
from backstay.facts.chain import signed_part as signed_part
from backstay.facts.chain import spine_digest as spine_digest
from backstay.facts.chain import write_spine as write_spine
from backstay.facts.others import AnswerGiven as AnswerGiven
from backstay.facts.others import CheckSeen as CheckSeen
from backstay.facts.others import CommandTaken as CommandTaken
from backstay.facts.others import ComponentsClaimed as ComponentsClaimed
from backstay.facts.others import DisasterDeclared as DisasterDeclared
from backstay.facts.others import HoldPlaced as HoldPlaced
from backstay.facts.others import JournalOpened as JournalOpened
from backstay.facts.others import LineageBegan as LineageBegan
from backstay.facts.others import LogKept as LogKept
from backstay.facts.others import MessageSent as MessageSent
from backstay.facts.others import Noted as Noted
from backstay.facts.others import OtherFact as OtherFact
from backstay.facts.others import PlanAdopted as PlanAdopted
from backstay.facts.others import PointCopied as PointCopied
from backstay.facts.others import PointEnded as PointEnded
from backstay.facts.others import PointMissing as PointMissing
from backstay.facts.others import PointTaken as PointTaken
from backstay.facts.others import ProofGiven as ProofGiven
from backstay.facts.others import RecoveryDeclared as RecoveryDeclared
from backstay.facts.others import RoutineBegan as RoutineBegan
from backstay.facts.others import RoutineFailed as RoutineFailed
from backstay.facts.others import RunAttached as RunAttached
from backstay.facts.others import SearchBegan as SearchBegan
from backstay.facts.others import SearchEnded as SearchEnded
from backstay.facts.points import CheckResult as CheckResult
from backstay.facts.points import Hold as Hold
from backstay.facts.points import NotVerified as NotVerified
from backstay.facts.points import Point as Point
from backstay.facts.points import Proof as Proof
from backstay.facts.points import Proven as Proven
from backstay.facts.points import Refuted as Refuted
from backstay.facts.points import Result as Result
from backstay.facts.points import Rung as Rung
from backstay.facts.points import Verdict as Verdict
from backstay.facts.runs import CannotTell as CannotTell
from backstay.facts.runs import DidNot as DidNot
from backstay.facts.runs import Driving as Driving
from backstay.facts.runs import Ended as Ended
from backstay.facts.runs import Happened as Happened
from backstay.facts.runs import Impossible as Impossible
from backstay.facts.runs import Intended as Intended
from backstay.facts.runs import Looked as Looked
from backstay.facts.runs import Lost as Lost
from backstay.facts.runs import Outcome as Outcome
from backstay.facts.runs import PersonAnswered as PersonAnswered
from backstay.facts.runs import PersonAsked as PersonAsked
from backstay.facts.runs import Released as Released
from backstay.facts.runs import RunCancelled as RunCancelled
from backstay.facts.runs import RunEnded as RunEnded
from backstay.facts.runs import RunFact as RunFact
from backstay.facts.runs import RunStarted as RunStarted
from backstay.facts.runs import Sight as Sight
from backstay.facts.runs import StepRetried as StepRetried
from backstay.facts.runs import StepSkipped as StepSkipped
from backstay.facts.runs import Succeeded as Succeeded
from backstay.facts.runs import TryLater as TryLater
from backstay.facts.stored import Fact as Fact
from backstay.facts.stored import canonical as canonical
from backstay.facts.stored import read_fact as read_fact
from backstay.facts.stored import write_fact as write_fact
