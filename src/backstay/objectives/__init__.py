"""Target, actual and forecast, for every component and for the whole: kept, broken, unproven or unknown."""

from backstay.objectives.promises import Judged as Judged
from backstay.objectives.promises import Rpo as Rpo
from backstay.objectives.promises import Rto as Rto
from backstay.objectives.promises import Standing as Standing
from backstay.objectives.promises import judge_duration as judge_duration
from backstay.objectives.promises import judge_loss as judge_loss
from backstay.objectives.promises import last_run as last_run
from backstay.objectives.promises import over as over
from backstay.objectives.promises import say_loss as say_loss
from backstay.objectives.promises import say_mode as say_mode
from backstay.objectives.promises import worst as worst
from backstay.objectives.status import CAN as CAN
from backstay.objectives.status import ComponentStatus as ComponentStatus
from backstay.objectives.status import Status as Status
from backstay.objectives.status import component_status as component_status
from backstay.objectives.status import status as status
from backstay.objectives.unheeded import unheeded as unheeded
