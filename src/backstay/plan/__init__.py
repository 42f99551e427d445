"""The plan: what is protected, what was promised, who may decide, and how each disaster is survived.

A Plan is immutable once loaded and has a digest (of the file's bytes): a run freezes the digest when it starts, so
editing the file never changes a run. `config` makes a Plan from text, and reports every problem at once; nothing here
reads a file, a variable or a clock. Secrets are never in a plan: it holds Templates, with references to them.
"""

from backstay.plan.parts import KIND_OF_SOURCE as KIND_OF_SOURCE
from backstay.plan.parts import PRIMARY as PRIMARY
from backstay.plan.parts import Check as Check
from backstay.plan.parts import Cluster as Cluster
from backstay.plan.parts import CommandCheck as CommandCheck
from backstay.plan.parts import CommandSource as CommandSource
from backstay.plan.parts import Component as Component
from backstay.plan.parts import Dns as Dns
from backstay.plan.parts import FilesSource as FilesSource
from backstay.plan.parts import GitSource as GitSource
from backstay.plan.parts import GrafanaSource as GrafanaSource
from backstay.plan.parts import HttpCheck as HttpCheck
from backstay.plan.parts import ImageSource as ImageSource
from backstay.plan.parts import Json as Json
from backstay.plan.parts import KubernetesSource as KubernetesSource
from backstay.plan.parts import PerSite as PerSite
from backstay.plan.parts import PostgresSource as PostgresSource
from backstay.plan.parts import PostgresWay as PostgresWay
from backstay.plan.parts import ProcessSpec as ProcessSpec
from backstay.plan.parts import PrometheusSource as PrometheusSource
from backstay.plan.parts import Protect as Protect
from backstay.plan.parts import Prove as Prove
from backstay.plan.parts import Request as Request
from backstay.plan.parts import Site as Site
from backstay.plan.parts import Source as Source
from backstay.plan.parts import SqliteSource as SqliteSource
from backstay.plan.parts import VaultPlace as VaultPlace
from backstay.plan.parts import Watch as Watch
from backstay.plan.people import Audience as Audience
from backstay.plan.people import Authority as Authority
from backstay.plan.people import Criterion as Criterion
from backstay.plan.people import FollowUp as FollowUp
from backstay.plan.people import Person as Person
from backstay.plan.people import Role as Role
from backstay.plan.people import Vendor as Vendor
from backstay.plan.procedure import VERB_NAME as VERB_NAME
from backstay.plan.procedure import Approve as Approve
from backstay.plan.procedure import Ask as Ask
from backstay.plan.procedure import AskPerson as AskPerson
from backstay.plan.procedure import CallHttp as CallHttp
from backstay.plan.procedure import Choose as Choose
from backstay.plan.procedure import DrillRule as DrillRule
from backstay.plan.procedure import Level as Level
from backstay.plan.procedure import Mode as Mode
from backstay.plan.procedure import Phase as Phase
from backstay.plan.procedure import Preserve as Preserve
from backstay.plan.procedure import Restore as Restore
from backstay.plan.procedure import RunCommand as RunCommand
from backstay.plan.procedure import Scale as Scale
from backstay.plan.procedure import Scenario as Scenario
from backstay.plan.procedure import Smoke as Smoke
from backstay.plan.procedure import Step as Step
from backstay.plan.procedure import Tell as Tell
from backstay.plan.procedure import Verb as Verb
from backstay.plan.procedure import Wait as Wait
from backstay.plan.whole import Excluded as Excluded
from backstay.plan.whole import Plan as Plan
from backstay.plan.whole import System as System
from backstay.plan.wording import Compare as Compare
from backstay.plan.wording import Cron as Cron
from backstay.plan.wording import DailyAt as DailyAt
from backstay.plan.wording import Every as Every
from backstay.plan.wording import Expectation as Expectation
from backstay.plan.wording import Objectives as Objectives
from backstay.plan.wording import OneOf as OneOf
from backstay.plan.wording import Question as Question
from backstay.plan.wording import Ref as Ref
from backstay.plan.wording import Schedule as Schedule
from backstay.plan.wording import Space as Space
from backstay.plan.wording import Template as Template
from backstay.plan.wording import Within as Within
