"""What the clouds answer when they refuse, as their clients show it, and what we make of it."""

from types import SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import ClientError
from obstore import exceptions

from backstay.adapters.objectstore import Address, Reach
from backstay.adapters.objectstore.answers import in_words, is_past_the_end, is_there
from backstay.adapters.objectstore.s3 import S3, Refused, reached
from backstay.errors import (
    AccessDenied,
    BackstayError,
    BucketMissing,
    DiskFull,
    ObjectMissing,
    StoreUnreachable,
    StoreUnsuitable,
    Usage,
)
from backstay.ports import Key

ADDRESS = Address("s3", "bucket", "prefix")


def xml(status: str, code: str) -> str:
    return (
        "Generic S3 error: Error performing PUT https://bucket.s3.amazonaws.com/prefix/a?sig=SECRET in 83ms - Server "
        f'returned non-2xx status code: {status}: <?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code>'
        "<Message>SECRET</Message><AWSAccessKeyId>SECRET</AWSAccessKeyId></Error>\n\nDebug source:\nGeneric { 404 }"
    )


GENERIC = exceptions.GenericError
ANSWERS: list[tuple[BaseException, str, type[BackstayError], str]] = [
    (FileNotFoundError(xml("404 Not Found", "NoSuchKey")), "get", ObjectMissing, ""),
    (FileNotFoundError(xml("404 Not Found", "NoSuchBucket")), "get", BucketMissing, "NoSuchBucket"),
    (FileNotFoundError(xml("404 Not Found", "NoSuchBucket")), "put", BucketMissing, "NoSuchBucket"),
    (GENERIC(xml("404 Not Found", "NoSuchBucket")), "list", BucketMissing, "NoSuchBucket"),
    (FileNotFoundError(xml("404 Not Found", "ContainerNotFound")), "delete", BucketMissing, "ContainerNotFound"),
    (GENERIC(xml("301 Moved Permanently", "PermanentRedirect")), "get", BucketMissing, "301"),
    (GENERIC(xml("400 Bad Request", "AuthorizationHeaderMalformed")), "get", BucketMissing, "400"),
    (exceptions.PermissionDeniedError(xml("403 Forbidden", "AccessDenied")), "put", AccessDenied, "403 AccessDenied"),
    (exceptions.UnauthenticatedError(xml("401 Unauthorized", "AuthRequired")), "put", AccessDenied, "401"),
    (exceptions.PermissionDeniedError(xml("403 Forbidden", "RequestTimeTooSkewed")), "put", AccessDenied, "403"),
    (GENERIC(xml("400 Bad Request", "ExpiredToken")), "get", AccessDenied, "400 ExpiredToken"),
    (exceptions.PermissionDeniedError(xml("403 Forbidden", "QuotaExceeded")), "put", DiskFull, "QuotaExceeded"),
    (GENERIC(xml("507 Insufficient Storage", "XMinioStorageFull")), "put", DiskFull, "507"),
    (GENERIC(xml("501 Not Implemented", "NotImplemented")), "put", StoreUnsuitable, "501"),
    (GENERIC(xml("503 Service Unavailable", "SlowDown")), "put", StoreUnreachable, "503 SlowDown"),
    (GENERIC(xml("429 Too Many Requests", "TooManyRequests")), "put", StoreUnreachable, "429"),
    (GENERIC("Generic S3 error: HTTP error: error sending request"), "get", StoreUnreachable, "no answer"),
    (exceptions.AlreadyExistsError(xml("409 Conflict", "ConditionalRequestConflict")), "put", StoreUnreachable, "409"),
]  # fmt: skip


@pytest.mark.parametrize(("error", "asked", "kind", "known"), ANSWERS, ids=range(len(ANSWERS)))
def test_a_refusal_is_said_in_our_words_and_nothing_secret_is_repeated(
    error: BaseException, asked: str, kind: type[BackstayError], known: str
) -> None:
    said = in_words(error, ADDRESS, str(ADDRESS), Key("a"), asked)
    assert type(said) is kind
    assert known in said.detail
    assert "SECRET" not in str(said)


def test_a_key_that_is_taken_is_told_from_two_writers_that_met() -> None:
    assert is_there(exceptions.AlreadyExistsError(xml("412 Precondition Failed", "PreconditionFailed")))
    assert is_there(exceptions.AlreadyExistsError(xml("409 Conflict", "BlobAlreadyExists")))
    # S3 says this to a writer that met another one, and no one may have won yet.
    assert not is_there(exceptions.AlreadyExistsError(xml("409 Conflict", "ConditionalRequestConflict")))
    assert not is_there(GENERIC(xml("500 Internal Server Error", "InternalError")))


def test_what_lies_behind_the_end_is_told_from_other_refusals() -> None:
    assert is_past_the_end(GENERIC(xml("416 Range Not Satisfiable", "InvalidRange")))
    assert is_past_the_end(GENERIC("Wanted range starting at 10, but object was only 10 bytes long"))
    assert not is_past_the_end(GENERIC(xml("403 Forbidden", "AccessDenied")))


@pytest.mark.parametrize("status", [400, 403, 500])
def test_what_a_server_says_back_is_not_repeated(status: int) -> None:
    """One that only speaks like S3 may answer with what we sent: a session's token among it."""

    def ask(**asked: Any) -> Any:
        said = {"Code": "Strange\x1b[2J TOKEN", "Message": "you sent TOKEN"}
        raise ClientError(
            {"Error": said, "ResponseMetadata": {"HTTPStatusCode": status}}, "GetObject"
        )  # fmt: skip

    with pytest.raises(Refused) as caught:
        S3(SimpleNamespace(get_object=ask), ADDRESS).ask("get_object", Key("a"))
    said = str(caught.value.in_words(ADDRESS.bucket, "a"))
    assert "TOKEN" not in said
    assert str(status) in said


def test_an_address_that_boto_refuses_is_not_repeated() -> None:
    with pytest.raises(Usage) as caught:
        reached(ADDRESS, Reach(endpoint="http://user:PASSWORD@[nowhere"))
    assert "PASSWORD" not in str(caught.value)


def test_a_listing_that_never_ends_is_given_up() -> None:
    def ask(**asked: Any) -> Any:
        return {"IsTruncated": True, "NextKeyMarker": "a", "ResponseMetadata": {"HTTPHeaders": {"date": "never"}}}

    with pytest.raises(StoreUnreachable, match="does not end"):
        list(S3(SimpleNamespace(list_object_versions=ask), ADDRESS).entries(""))
