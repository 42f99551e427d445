"""A declared disaster: who may declare it and why, when it struck, which clocks run, and what people are told.

`authority` has the right to declare and its criteria, `moments` the disaster's moment and the clocks, `messages` the
words.
"""

from backstay.incident.authority import Alone as Alone
from backstay.incident.authority import Authorised as Authorised
from backstay.incident.authority import CannotSay as CannotSay
from backstay.incident.authority import Colour as Colour
from backstay.incident.authority import Evaluated as Evaluated
from backstay.incident.authority import MayNot as MayNot
from backstay.incident.authority import Met as Met
from backstay.incident.authority import NeedsApproval as NeedsApproval
from backstay.incident.authority import NotMet as NotMet
from backstay.incident.authority import Readings as Readings
from backstay.incident.authority import evaluate as evaluate
from backstay.incident.authority import may_declare as may_declare
from backstay.incident.authority import measure as measure
from backstay.incident.authority import readings as readings
from backstay.incident.authority import say_authority as say_authority
from backstay.incident.messages import Blanks as Blanks
from backstay.incident.messages import Message as Message
from backstay.incident.messages import Situation as Situation
from backstay.incident.messages import emergency as emergency
from backstay.incident.messages import initial as initial
from backstay.incident.messages import resolved as resolved
from backstay.incident.messages import restored as restored
from backstay.incident.messages import update as update
from backstay.incident.moments import Clock as Clock
from backstay.incident.moments import clocks as clocks
from backstay.incident.moments import looks as looks
from backstay.incident.moments import moment as moment
from backstay.incident.moments import next_internal as next_internal
from backstay.incident.moments import said as said
from backstay.incident.moments import say_between as say_between
from backstay.incident.moments import say_clock as say_clock
