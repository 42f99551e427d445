"""What a check says: its verdict, and one sentence."""

from backstay.facts import Verdict

Said = tuple[Verdict, str]


def passed(said: str) -> Said:
    return Verdict.PASSED, said


def failed(said: str) -> Said:
    return Verdict.FAILED, said


def unknown(said: str) -> Said:
    """Not verified: it could not run, or cannot tell."""
    return Verdict.NOT_VERIFIED, said
