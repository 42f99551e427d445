"""From facts to documents: the plan, the report of a run, evidence, the post-mortem, the timeline.

Every document is a tree (`tree`), made by pure functions of plan, history and time, and rendered by two others:
`markdown(document)` and `html(document)`. Nothing that is written here is ever read back.
"""

from backstay.review.auditing import evidence as evidence
from backstay.review.grab_bag import Bag as Bag
from backstay.review.grab_bag import BaggedKey as BaggedKey
from backstay.review.grab_bag import BaggedVault as BaggedVault
from backstay.review.grab_bag import grab_bag as grab_bag
from backstay.review.grab_bag import table_of_heads as table_of_heads
from backstay.review.plan_document import plan_document as plan_document
from backstay.review.postmortem import post_mortem as post_mortem
from backstay.review.practised import checks_table as checks_table
from backstay.review.practised import drill_table as drill_table
from backstay.review.practised import rpo_table as rpo_table
from backstay.review.practised import rto_table as rto_table
from backstay.review.run_report import phases_table as phases_table
from backstay.review.run_report import rows_back as rows_back
from backstay.review.run_report import run_report as run_report
from backstay.review.run_report import steps_table as steps_table
from backstay.review.telling import Entry as Entry
from backstay.review.telling import entry as entry
from backstay.review.telling import timeline as timeline
from backstay.review.to_html import html as html
from backstay.review.to_markdown import markdown as markdown
from backstay.review.tree import Document as Document
