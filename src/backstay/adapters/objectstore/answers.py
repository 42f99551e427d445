"""What a bucket's refusal means, in the words of `errors`.

obstore tells a few kinds of error apart; the rest is a text with the provider's own code in it. Only the status and
that code are ever repeated: the text around them holds addresses, and an address of Azure can hold a signature.
"""

import re
from dataclasses import dataclass

from obstore import exceptions

from backstay.adapters.objectstore.addresses import Address
from backstay.errors import (
    AccessDenied,
    BackstayError,
    BucketMissing,
    DiskFull,
    ObjectMissing,
    StoreUnreachable,
    StoreUnsuitable,
)
from backstay.ports import Key

_STATUS = re.compile(r"status code: (\d{3})\b")
_CODE = re.compile(r"<Code>([A-Za-z0-9]{1,60})</Code>|\"reason\": ?\"([A-Za-z0-9]{1,60})\"")
_DEBUG = "\n\nDebug source:"

_NO_BUCKET = {"NoSuchBucket", "ContainerNotFound", "ContainerBeingDeleted", "ContainerDisabled", "InvalidBucketName"}
_FULL = {"QuotaExceeded", "XMinioStorageFull", "InsufficientStorage", "AccountLimitExceeded", "TotalStorageExceeded"}
_ELSEWHERE = {"AuthorizationHeaderMalformed", "PermanentRedirect", "IllegalLocationConstraintException"}
_BUSY = {"ConditionalRequestConflict", "OperationAborted"}
"""Not "it was there": two writers met, and the store says to both, or to one of them, to come again."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What can be said of a refusal."""

    status: int
    """Of HTTP; 0 where nobody answered."""
    code: str
    """The provider's own, like `SlowDown`; or empty."""

    @classmethod
    def of(cls, error: BaseException) -> "Answer":
        text = str(error).partition(_DEBUG)[0]
        status, code = _STATUS.search(text), _CODE.search(text)
        found = (code.group(1) or code.group(2)) if code else ""
        return cls(int(status.group(1)) if status else 0, "" if found.isdecimal() else found)

    def __str__(self) -> str:
        if not self.status:
            return "there was no answer"
        return f"it answered {self.status}" + (f" {self.code}" if self.code else "")


def is_there(error: BaseException) -> bool:
    """Whether a conditional write was refused because the key is taken."""
    known = isinstance(error, exceptions.AlreadyExistsError | exceptions.PreconditionError)
    return known and Answer.of(error).code not in _BUSY


def is_past_the_end(error: BaseException) -> bool:
    """Whether a range was asked for that begins behind the last byte. Azure's client judges by itself."""
    return Answer.of(error).status == 416 or "Wanted range starting at" in str(error)


def in_words(error: BaseException, address: Address, where: str, key: Key | None, asked: str) -> BackstayError:
    """`where`: the store for people. `asked`: what was done, like `get`. `key`: None where it was about the bucket."""
    answer = Answer.of(error)
    known = f"{answer}, when asked to {asked} {key or 'objects'}"
    # Who may not list the bucket, and asks for an object that is not there, is told 403 by S3.
    match answer:
        case _ if answer.code in _NO_BUCKET or (asked not in ("get", "delete") and _is_missing(error, answer)):
            return BucketMissing(
                f"there is no bucket {address.bucket!r} in {where}", detail=known,
                hint="compare the address with the plan, and the region; Backstay makes no buckets",
            )  # fmt: skip
        case _ if _is_missing(error, answer):
            return ObjectMissing(f"{key} is not in {where}")
        case _ if answer.status == 507 or answer.code in _FULL:
            return DiskFull(
                f"no room left in {where}", detail=known,
                hint="make room there or raise the quota, and run the backup again",
            )  # fmt: skip
        case _ if answer.code in _ELSEWHERE or answer.status in (301, 307):
            return BucketMissing(
                f"the bucket {address.bucket!r} is not in this region of {where}", detail=known,
                hint="say its region: `region:` of the vault in the plan, or AWS_REGION",
            )  # fmt: skip
        case _ if answer.code == "RequestTimeTooSkewed":
            return AccessDenied(
                f"{where} refuses us, because our clock differs from its own", detail=known,
                hint="set the clock of this machine",
            )  # fmt: skip
        case _ if answer.status in (401, 403) or isinstance(
            error, exceptions.PermissionDeniedError | exceptions.UnauthenticatedError
        ):
            return AccessDenied(
                f"{where} refuses us", detail=known,
                hint="compare the credentials and their rights with docs/how-to/vault-in-a-bucket.md",
            )  # fmt: skip
        case Answer(status=501) | Answer(code="NotImplemented"):
            return StoreUnsuitable(f"{where} cannot do what a vault needs", detail=known)  # fmt: skip
        case Answer(status=status) if 400 <= status < 500 and status not in (408, 409, 425, 429):
            return AccessDenied(f"{where} refuses what we ask", detail=known)
        case _:
            return StoreUnreachable(f"{where} does not answer", detail=known)


def _is_missing(error: BaseException, answer: Answer) -> bool:
    return isinstance(error, FileNotFoundError) or answer.status == 404
