"""Backstay: disaster recovery as code.

Read the modules in the order of DESIGN.md's house: the words (what can be said), the story (what it
means), the world (what it does), the doors (how you ask).
"""

__version__ = "0.1.0"
