"""From a scenario, proven points and a site to the steps of a recovery, or the reason why there is none.

`compiling` makes the phases, `wording` says what each step does and destroys, `explaining` tells the whole in order.
"""

from backstay.recover.compiling import Good as Good
from backstay.recover.compiling import NoRecovery as NoRecovery
from backstay.recover.compiling import compile as compile  # noqa: A004 the word of the house: `recover.compile`
from backstay.recover.compiling import components_of as components_of
from backstay.recover.compiling import numbered as numbered
from backstay.recover.compiling import slug as slug
from backstay.recover.compiling import slug_of as slug_of
from backstay.recover.compiling import timeout_of as timeout_of
from backstay.recover.compiling import toward as toward
from backstay.recover.compiling import with_point as with_point
from backstay.recover.explaining import explain as explain
from backstay.recover.wording import blast_radius as blast_radius
from backstay.recover.wording import say as say
from backstay.recover.wording import target_of as target_of
