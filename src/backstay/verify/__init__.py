"""What proves a point, when a proof goes stale, and which point is the last known good.

`answers` compares a value with an expectation, `checks` makes a proof of what a sandbox gave, `ladder` says how much
each check weighs, `structure` shows drift as a diff, `suspicion` says what a person has to judge, `choice` picks the
point to recover from and says why not a newer one; `bisect` finds the last at which a question was answered right.
"""

from backstay.verify.answers import Answer as Answer
from backstay.verify.answers import evaluate as evaluate
from backstay.verify.answers import exact as exact
from backstay.verify.answers import say_answer as say_answer
from backstay.verify.answers import say_expectation as say_expectation
from backstay.verify.checks import CODES as CODES
from backstay.verify.checks import Structure as Structure
from backstay.verify.checks import Tried as Tried
from backstay.verify.checks import Unanswered as Unanswered
from backstay.verify.checks import age as age
from backstay.verify.checks import bytes_passed as bytes_passed
from backstay.verify.checks import content as content
from backstay.verify.checks import judge as judge
from backstay.verify.checks import late as late
from backstay.verify.checks import mending as mending
from backstay.verify.checks import of_bytes as of_bytes
from backstay.verify.checks import only_bytes_failed as only_bytes_failed
from backstay.verify.checks import stopped as stopped
from backstay.verify.checks import volume as volume
from backstay.verify.choice import Candidates as Candidates
from backstay.verify.choice import Chosen as Chosen
from backstay.verify.choice import Fresh as Fresh
from backstay.verify.choice import NoneGood as NoneGood
from backstay.verify.choice import PassedOver as PassedOver
from backstay.verify.choice import Stale as Stale
from backstay.verify.choice import barred as barred
from backstay.verify.choice import candidates as candidates
from backstay.verify.choice import choose as choose
from backstay.verify.choice import choose_held as choose_held
from backstay.verify.choice import decisive as decisive
from backstay.verify.choice import held_kind as held_kind
from backstay.verify.choice import last_known_good as last_known_good
from backstay.verify.choice import spoilt_in as spoilt_in
from backstay.verify.choice import stale as stale
from backstay.verify.ladder import SEVERITIES as SEVERITIES
from backstay.verify.ladder import Severity as Severity
from backstay.verify.ladder import severity as severity
from backstay.verify.sampling import SAMPLE as SAMPLE
from backstay.verify.sampling import sampled as sampled
from backstay.verify.structure import Drift as Drift
from backstay.verify.structure import Reference as Reference
from backstay.verify.structure import drift as drift
from backstay.verify.structure import judge_structure as judge_structure
from backstay.verify.suspicion import Suspected as Suspected
from backstay.verify.suspicion import suspect as suspect
