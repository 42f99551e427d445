"""The composition root: what the doors ask for, put together from concrete parts. Only this package knows classes.

- `home`       where everything is, opened when first asked for
- `estate`     the ports of one plan at one site
- `driving`    who drives, and evidence that another driver has ended
- `people`     who somebody is, and whether a signature holds
- `planning`   the plan file, and `init`
- `protecting` backups, proofs, points
- `laying`     a point as files in a folder
- `recovering` declare, run, resume; `rooms` the sealed room of a drill; `answering` what people decide about a run
- `bootstrapping` beginning on an empty machine, from a vault and a key
- `grabbing` one folder for the safe; `wheels` what is installed here, packed again
- `watching`   smoke checks, written down
- `telling`    how things stand; `under_way` the runs that have not ended
- `documents`  the plan document, and the report of a run
"""
