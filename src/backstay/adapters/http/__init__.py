"""Smoke checks over HTTP, and by command: the Prober of a real site.

`prober` runs a check and says what it saw, `exchange` makes one request within its bounds, `paths` finds `$.path` in an
answer.
"""

from backstay.adapters.http.prober import HttpProber as HttpProber
