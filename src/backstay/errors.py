"""What can go wrong, in three parts and a number: the only table of exit codes.

Every error says what happened, what is known and what to try. `code` is both the number people read
(`E31`) and the exit status of the command line. A code is never given a second meaning: scripts and
runbooks hold on to them. `docs/reference/errors.md` has a page for each, and a test compares the two.

Codes by tens: 2 the command line, 1x the plan, 2x the vault, 3x points and targets, 4x databases and tools, 5x the
journal, 6x runs, 7x stores and what is done with a whole vault, 8x PostgreSQL's log. 0 is success, 1 a defect in
Backstay itself.
"""


class BackstayError(Exception):
    """What happened (`message`), what is known (`detail`), what to try (`hint`).

    No part ever holds a secret, a row of somebody's data, or a connection string with a password in it.
    """

    code = 1

    def __init__(self, message: str, *, detail: str = "", hint: str = "") -> None:
        super().__init__(message)
        self.message, self.detail, self.hint = message, detail, hint

    def __str__(self) -> str:
        lines = [f"E{self.code:02d}  {self.message}"]
        # Of several lines, the later ones stand below the first.
        lines += ["  known: " + self.detail.replace("\n", "\n" + " " * 9)] if self.detail else []
        lines += ["  try:   " + self.hint.replace("\n", "\n" + " " * 9)] if self.hint else []
        return "\n".join(lines)


# ── 2: the command line ──────────────────────────────────────────────────────────────────────────


class Usage(BackstayError):
    """The command line does not make sense."""

    code = 2


# ── 1x: the plan ─────────────────────────────────────────────────────────────────────────────────


class PlanInvalid(BackstayError):
    """The plan file has problems; the detail lists every one with its place."""

    code = 10


class PlanMissing(BackstayError):
    """There is no plan file where one was looked for."""

    code = 11


class SecretMissing(BackstayError):
    """A `${env:…}` or `${file:…}` reference has no value here."""

    code = 12


class UnknownName(BackstayError):
    """A component, scenario, vault or person that the plan does not have."""

    code = 13


class NotSupported(BackstayError):
    """The plan asks for something that this version or this installation cannot do."""

    code = 14


# ── 2x: the vault ────────────────────────────────────────────────────────────────────────────────


class VaultMissing(BackstayError):
    """There is no vault at this address."""

    code = 20


class VaultExists(BackstayError):
    """A vault is already there, and it is not overwritten."""

    code = 21


class VaultNewer(BackstayError):
    """The vault was written by a newer format than this version reads."""

    code = 22


class WrongKey(BackstayError):
    """No key that we hold opens this."""

    code = 23


class Damaged(BackstayError):
    """Stored bytes are not what was written: changed, cut short, or swapped."""

    code = 24


class ObjectMissing(BackstayError):
    """An object that the vault needs is not in its store."""

    code = 25


class DiskFull(BackstayError):
    """No room: for the backup, or for the restore."""

    code = 26


class StoreUnreachable(BackstayError):
    """The store did not answer, or refused us. Transient: trying again may help."""

    code = 27


class Lapsed(BackstayError):
    """A reservation in the vault was expired by somebody else before it was sealed."""

    code = 28


# ── 3x: points and targets ───────────────────────────────────────────────────────────────────────


class TargetNotEmpty(BackstayError):
    """Something is already where the restore would write."""

    code = 30


class TargetAlive(BackstayError):
    """A running system is already where the restore would write."""

    code = 31


class NoProvenPoint(BackstayError):
    """No recovery point may be used: none exists, none is proven, or none is clean."""

    code = 32


class NoSuchPoint(BackstayError):
    """The recovery point that was named is not in the vault."""

    code = 33


class PointRefuted(BackstayError):
    """The point was restored and did not pass its checks."""

    code = 34


class PointNotVerified(BackstayError):
    """A check could not run, so the point counts neither as good nor as bad."""

    code = 35


class PointStale(BackstayError):
    """The newest point is older than the plan allows."""

    code = 36


class PathEscapes(BackstayError):
    """A stored path would be written outside the folder that was given."""

    code = 37


# ── 4x: databases and tools ──────────────────────────────────────────────────────────────────────


class SourceDown(BackstayError):
    """The component that should be backed up does not answer."""

    code = 40


class AccessDenied(BackstayError):
    """The component refused our credentials or our rights."""

    code = 41


class SourceUnsuitable(BackstayError):
    """The component is set up so that no sound point can be taken from it."""

    code = 42


class ToolMissing(BackstayError):
    """A program or an optional package is not installed here."""

    code = 43


class ToolFailed(BackstayError):
    """A program that we started ended badly; the detail has its last lines."""

    code = 44


class TimedOut(BackstayError):
    """A deadline passed before the work was done."""

    code = 45


# ── 5x: the journal ──────────────────────────────────────────────────────────────────────────────


class JournalDamaged(BackstayError):
    """A fact was changed, removed, reordered or is missing."""

    code = 50


class JournalReadOnly(BackstayError):
    """Another journal with a higher epoch exists: this one may not write any more."""

    code = 51


class JournalConflict(BackstayError):
    """Somebody else appended to this stream first."""

    code = 52


class JournalNewer(BackstayError):
    """The journal holds facts that this version does not know."""

    code = 53


class ClockWentBack(BackstayError):
    """The clock reads earlier than the newest fact in the journal."""

    code = 54


class TailNotVerified(BackstayError):
    """Nothing sealed could be compared with the end of the journal."""

    code = 55


# ── 6x: runs ─────────────────────────────────────────────────────────────────────────────────────


class StepFailed(BackstayError):
    """A step of a run could not be done; the run has stopped."""

    code = 60


class WaitingForPerson(BackstayError):
    """A run cannot go on until a named person answers."""

    code = 61


class RunBusy(BackstayError):
    """Another driver holds the lease of this run, or another run holds this component."""

    code = 62


class NotAuthorised(BackstayError):
    """The plan does not let this person do that, or not alone."""

    code = 63


class SmokeRed(BackstayError):
    """The smoke checks do not pass."""

    code = 64


class PromiseBroken(BackstayError):
    """It worked, but not within what was promised, or the promise cannot be shown to be kept."""

    code = 65


class NoSuchRun(BackstayError):
    """The journal has no run of that name, or none that is open."""

    code = 66


# ── 7x: stores, and what is done with a vault ────────────────────────────────────────────────────


class BucketMissing(BackstayError):
    """The bucket of a vault is not there, or not in this region."""

    code = 70


class StoreUnsuitable(BackstayError):
    """A store does not do what a vault needs of it."""

    code = 71


class ObjectLocked(BackstayError):
    """A lock forbids to delete this before its time."""

    code = 72


class NotPruned(BackstayError):
    """Nothing was deleted, because what may go could not be told for certain."""

    code = 73


class NotCopied(BackstayError):
    """A vault does not have every recovery point that it should have."""

    code = 74


class KeysUnsettled(BackstayError):
    """Who may do what could not be changed in every vault of the plan; what was before still holds."""

    code = 75


class WrongShares(BackstayError):
    """Shares of a key, or words, that give no key."""

    code = 76


class VaultUnsound(BackstayError):
    """A vault is not what it should be: something in it is damaged or missing, or it shows an older state."""

    code = 77


class EpochTaken(BackstayError):
    """Another machine took over the journal first."""

    code = 78


class VaultBehind(BackstayError):
    """The vault shows an older state than somebody remembers."""

    code = 79


# ── 8x: the write-ahead log ──────────────────────────────────────────────────────────────────────


class WalConflict(BackstayError):
    """Other bytes are kept already for the same place in the log: two clusters write as one, or history was forked."""

    code = 80


class Unreachable(BackstayError):
    """No point and no log that are kept lead to the moment that was asked for."""

    code = 81


class LogMissing(BackstayError):
    """Log that a point needs to lead on is missing, and nobody has said that this is known."""

    code = 84


class NoLastGood(BackstayError):
    """No recovery point gave the right answer, where one was looked for."""

    code = 89


class Cancelled(BackstayError):
    """Stopped by a person. What was done is in the journal; `backstay resume` goes on."""

    code = 130
