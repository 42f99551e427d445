"""The five built-in scenarios, as data: one YAML file each, in the grammar of a plan's own scenarios.

`config` lays the scenarios of a plan over them. `the database` and `the application` stand for the plan's only database
and its only process; a plan with several says which a scenario `uses`.
"""
