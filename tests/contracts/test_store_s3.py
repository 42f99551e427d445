"""The contract of a Store on a bucket of a real S3 server, and what only a bucket has."""

import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from backstay.adapters.clock import SystemClock
from backstay.adapters.objectstore import Address, Patience, Reach
from backstay.adapters.objectstore import bucket as buckets
from backstay.adapters.objectstore.bucket import BucketStore
from backstay.adapters.objectstore.leftovers import abort_uploads
from backstay.app import stores
from backstay.errors import AccessDenied, BucketMissing, ObjectMissing, StoreUnreachable, ToolMissing, Usage
from backstay.ports import Key, Store
from fix_buckets import BUCKET, OWNER, PLAIN, READER, SeaweedFS, free_port
from fix_store_contract import StoreContract
from fix_vault import noise


class TestS3(StoreContract):
    RACES = 2  # SeaweedFS lets them wait for seconds

    @pytest.fixture
    def store(self, tmp_path: Path, weed: SeaweedFS) -> Store:
        return weed.store()


def uploads(weed: SeaweedFS, store: BucketStore) -> list[str]:
    found = weed.client().list_multipart_uploads(Bucket=BUCKET, Prefix=store.address.prefix)
    return [upload["Key"] for upload in found.get("Uploads", [])]


# ── sizes ──


def test_a_pack_goes_in_one_request_and_a_longer_object_in_parts(weed: SeaweedFS) -> None:
    store, part = weed.store(), noise(1 << 20)
    store.put(Key("packs/db/pack"), [part] * 18)
    store.put(Key("packs/db/long"), (part for _ in range(40)))
    etags = [weed.client().head_object(Bucket=BUCKET, Key=f"{store.address.prefix}/packs/db/{name}")["ETag"]
             for name in ("pack", "long")]  # fmt: skip
    assert "-" not in etags[0]
    assert etags[1].endswith('-5"')
    assert store.get(Key("packs/db/long")) == part * 40
    assert store.get(Key("packs/db/long"), 39 << 20) == part
    assert store.get(Key("packs/db/long"), 5 << 20, 17 << 20) == part * 17
    assert store.get(Key("packs/db/long"), (39 << 20) + 7, 17 << 20) == part[7:]


def test_a_long_object_whose_source_dies_leaves_no_parts_behind(weed: SeaweedFS) -> None:
    store, part = weed.store(), noise(1 << 20)

    def parts() -> Iterator[bytes]:
        for _ in range(60):
            yield part
        assert uploads(weed, store)
        raise RuntimeError("the source died")

    with pytest.raises(RuntimeError, match="the source died"):
        store.put(Key("packs/db/long"), parts())
    assert uploads(weed, store) == []
    assert list(store.list()) == []


def test_what_a_killed_process_left_of_an_upload_is_taken_back_and_a_strangers_is_not(weed: SeaweedFS) -> None:
    store, stranger, client = weed.store(), weed.store(), weed.client()
    for one in (store, stranger):
        for number in range(3):
            client.create_multipart_upload(Bucket=BUCKET, Key=f"{one.address.prefix}/packs/db/{number}")
    young = store.now() - timedelta(days=1)
    assert list(abort_uploads(store.address, store.reach, begun_before=young)) == []
    late = store.now() + timedelta(minutes=1)
    gone = sorted(abort_uploads(store.address, store.reach, begun_before=late))
    assert gone == [f"packs/db/{number}" for number in range(3)]
    assert uploads(weed, store) == []
    assert len(uploads(weed, stranger)) == 3


def test_a_key_that_is_taken_is_never_overwritten(weed: SeaweedFS, monkeypatch: pytest.MonkeyPatch) -> None:
    store = weed.store()
    store.put(Key("a"), [b"first"])
    with pytest.raises(StoreUnreachable, match="already in"):
        store.put(Key("a"), [b"second"])
    monkeypatch.setattr(buckets, "WHOLE_BYTES", 10)
    with pytest.raises(StoreUnreachable, match="already in"):
        store.put(Key("a"), [b"second " * 5])
    assert store.get(Key("a")) == b"first"


def test_two_vaults_share_a_bucket_and_do_not_see_each_other(weed: SeaweedFS) -> None:
    one, two = weed.store("shared/one"), weed.store("shared/one-more")
    one.put(Key("a"), [b"1"])
    two.put(Key("a"), [b"2"])
    assert (one.get(Key("a")), two.get(Key("a"))) == (b"1", b"2")
    assert [listed.key for listed in one.list()] == ["a"]


def test_what_strangers_put_there_is_not_listed(weed: SeaweedFS) -> None:
    store = weed.store()
    store.put(Key("points/db/1"), [b"x"])
    for name in ("Stranger", "points/db/ä", "points/db/a b", "points/db/2+"):
        weed.client().put_object(Bucket=BUCKET, Key=f"{store.address.prefix}/{name}", Body=b"x")
    assert [listed.key for listed in store.list()] == ["points/db/1"]


# ── refusals ──


@pytest.mark.parametrize("who", [PLAIN | {"secret_access_key": "wrong"}, PLAIN | {"access_key_id": "nobody"}])
def test_wrong_credentials_are_refused_and_never_shown(weed: SeaweedFS, who: dict[str, str]) -> None:
    store = BucketStore(Address("s3", BUCKET), weed.reach(who))
    for ask in (lambda: store.get(Key("a")), lambda: store.put(Key("a"), [b"x"]), lambda: list(store.list())):
        with pytest.raises(AccessDenied, match="refuses us") as caught:
            ask()
        assert "403" in caught.value.detail
        assert not any(secret in str(caught.value) for secret in who.values())


def test_who_may_only_read_can_not_write(weed: SeaweedFS) -> None:
    store = weed.store()
    store.put(Key("a"), [b"x"])
    reader = BucketStore(store.address, weed.reach(READER))
    assert reader.get(Key("a")) == b"x"
    assert [listed.key for listed in reader.list()] == ["a"]
    for write in (lambda: reader.put(Key("b"), [b"x"]), lambda: reader.delete(Key("a"))):
        with pytest.raises(AccessDenied):
            write()


def test_what_the_library_says_is_not_even_a_cause(weed: SeaweedFS) -> None:
    with pytest.raises(ObjectMissing) as caught:
        weed.store().get(Key("nothing"))
    assert caught.value.__suppress_context__


def test_a_bucket_that_is_not_there_is_named(weed: SeaweedFS) -> None:
    store = BucketStore(Address("s3", "not-there"), weed.reach())
    for ask in (lambda: store.get(Key("a")), lambda: list(store.list())):
        with pytest.raises(BucketMissing, match="'not-there'"):
            ask()


def test_nobody_at_the_address_is_out_of_reach() -> None:
    reach = Reach(endpoint=f"http://127.0.0.1:{free_port()}", credentials=PLAIN, patience=Patience(1, 1, 1))
    store = BucketStore(Address("s3", BUCKET), reach)
    for ask in (lambda: store.get(Key("a")), lambda: list(store.list()), store.now, lambda: store.delete(Key("a"))):
        with pytest.raises(StoreUnreachable):
            ask()


def test_where_the_extra_is_not_installed_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "obstore", None)
    for scheme, extra in (("s3", "s3"), ("gs", "gcs"), ("az", "azure")):
        monkeypatch.delitem(sys.modules, "backstay.adapters.objectstore.bucket", raising=False)
        with pytest.raises(ToolMissing) as caught:
            stores.at(f"{scheme}://bucket/x", tmp_path, SystemClock())
        assert "'obstore'" in caught.value.message
        assert f"pip install '.[{extra}]'" in caught.value.hint


def test_without_credentials_it_says_where_it_looked(weed: SeaweedFS) -> None:
    with pytest.raises(AccessDenied, match="no credentials for S3"):
        BucketStore(Address("s3", BUCKET), Reach(endpoint=weed.url))


def test_the_standard_variables_and_files_of_aws_are_read(
    weed: SeaweedFS, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "credentials"
    file.write_text(f"[dr]\naws_access_key_id = {OWNER['access_key_id']}\n"
                    f"aws_secret_access_key = {OWNER['secret_access_key']}\n")  # fmt: skip
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(file))
    monkeypatch.setenv("AWS_PROFILE", "dr")
    monkeypatch.setenv("AWS_ENDPOINT_URL", weed.url)
    store = BucketStore(Address("s3", BUCKET, "by-environment"))
    with pytest.raises(ObjectMissing):
        store.get(Key("nothing"))
    # Which store this is, only the environment says: it is not taken for AWS's own, which lists in order.
    assert not store.traits.put_if_absent
    for key in ("a-b", "a/b"):
        if key not in [listed.key for listed in store.list()]:
            store.put(Key(key), [b"x"])
    assert [listed.key for listed in store.list()] == ["a-b", "a/b"]


# ── addresses ──


@pytest.mark.parametrize("text", ["s3://bucket", "s3://bucket/a/b", "gs://my_bucket/A.1", "az://container/x"])
def test_an_address_is_read_as_it_is_written(text: str) -> None:
    assert str(Address.parse(text)) == text


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("s3://", "does not name a bucket"),
        ("s3://a", "does not name a bucket"),
        ("s3://Bucket/x", "does not name a bucket"),
        ("ftp://bucket", "s3://, gs:// or az://"),
        ("s3://key:secret@bucket/x", "a password has no place there"),
        ("s3://bucket/a//b", "cannot begin the names"),
        ("s3://bucket/../b", "cannot begin the names"),
        ("s3://bucket/a?x=1", "cannot begin the names"),
    ],
)
def test_a_wrong_address_is_refused_without_repeating_what_may_be_secret(text: str, said: str) -> None:
    with pytest.raises(Usage, match=said) as caught:
        Address.parse(text)
    assert "secret" not in str(caught.value)


def test_a_store_shows_its_endpoint_without_credentials() -> None:
    reach = Reach(endpoint="https://user:secret@minio.example.com:9000/x", credentials=PLAIN)
    assert BucketStore(Address("s3", BUCKET), reach).describe() == "s3://tests at minio.example.com:9000"
    assert "secret" not in repr(reach) + str(reach)
