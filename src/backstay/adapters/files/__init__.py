"""A folder of files as a component: taken by walking it, restored beside and swapped by rename.

`walking` finds what there is and what has changed, `asking` counts and compares, `swapping` moves folders so that a
crash at any point can be told, `keeper` puts them together.
"""

from backstay.adapters.files.keeper import FilesKeeper as FilesKeeper
