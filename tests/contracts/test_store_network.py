"""A bucket behind the networks that there are: a bad line, one that hangs, a private authority, a company's proxy."""

import secrets
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from backstay.adapters.around import Patient, paced
from backstay.adapters.clock import SystemClock
from backstay.adapters.objectstore import Address, Patience, Reach
from backstay.adapters.objectstore.bucket import BucketStore
from backstay.adapters.objectstore.s3 import reached
from backstay.app import stores
from backstay.errors import SecretMissing, StoreUnreachable
from backstay.ports import Key, Store
from fix_buckets import BUCKET, PLAIN, SeaweedFS
from fix_network import Authority, Fate, Line, Proxy, bad_luck, ending
from fix_store_contract import StoreContract
from fix_vault import SMALL, back_up, expected, held, new_vault, noise

SECOND = timedelta(seconds=1)
SEEDS = range(3)


def behind(line: Line, prefix: str, *, total: timedelta = 60 * SECOND, patience: Patience | None = None) -> Store:
    reach = Reach(endpoint=line.url, region="us-east-1", credentials=PLAIN, patience=patience or Patience(5, 10, 20))
    store = BucketStore(Address("s3", BUCKET, prefix), reach)
    return Patient(store, SystemClock(), total=total, unmet=total, first=timedelta(milliseconds=2), longest=SECOND / 5)


@pytest.fixture(params=SEEDS, scope="module")
def bad_line(request: pytest.FixtureRequest, weed: SeaweedFS) -> Iterator[Line]:
    with ending(Line(weed.url, bad_luck(request.param))) as line:
        yield line


class TestS3BehindABadLine(StoreContract):
    """Connections are refused, slowed and cut, in the middle of bodies too: everything holds that a store promises."""

    RACES = 1

    @pytest.fixture
    def store(self, tmp_path: Path, bad_line: Line) -> Store:
        return behind(bad_line, f"bad/{secrets.token_hex(8)}")

    def test_put_if_absent_never_overwrites(self, store: Store) -> None:
        # The contract of every store also puts the same bytes again. Who asks twice cannot tell them from his own.
        assert store.put_if_absent(Key("points/db/1"), b"first")
        assert not store.put_if_absent(Key("points/db/1"), b"second")
        assert store.get(Key("points/db/1")) == b"first"

    def test_a_large_object_comes_back(self, store: Store) -> None:
        part = noise(1 << 20)  # a stream cannot be sent again; a list, and a pack, can
        store.put(Key("packs/db/large"), [part] * 9)
        assert store.get(Key("packs/db/large"), 0, 9 << 20) == part * 9
        assert [listed.size_bytes for listed in store.list()] == [9 << 20]


def test_a_vault_behind_a_bad_line_keeps_what_it_is_given(bad_line: Line) -> None:
    vault = new_vault(behind(bad_line, f"vault/{secrets.token_hex(8)}"))
    points = [back_up(vault, SMALL) for _ in range(3)]
    assert vault.points() == sorted(points, key=lambda point: (point.ended, point.id))
    for point in points:
        assert held(vault.open(point.id)) == expected(SMALL)
    assert sum(fate != Fate() for fate in bad_line.fates) > 3, "the line was bad"


# ── a line that hangs ──


@pytest.mark.parametrize("fate", [Fate(asked_bytes=1, hangs=True), Fate(answered_bytes=2000, hangs=True)])
def test_a_line_that_hangs_ends_at_the_deadline(weed: SeaweedFS, fate: Fate) -> None:
    whole = weed.store("hangs")
    if not list(whole.list()):
        whole.put(Key("large"), [noise(9 << 20)])
    with ending(Line(weed.url, lambda: fate)) as line:
        store = behind(line, "hangs", total=SECOND / 5, patience=Patience(0.3, 0.2, 0.4))
        asked = [lambda: store.get(Key("large"), 0, 9 << 20), lambda: store.get(Key("large"))]
        if fate.asked_bytes == 1:
            asked += [
                lambda: store.get(Key("large"), 1, 1),
                lambda: b"".join(one.key.encode() for one in store.list()),
                lambda: str(store.put(Key("new"), [noise(9 << 20)])).encode(),
                lambda: bytes(store.put_if_absent(Key("b"), b"")),
                lambda: str(store.now()).encode(),
                lambda: str(store.delete(Key("x"))).encode(),
            ]
        for ask in asked:
            began = time.monotonic()
            with pytest.raises(StoreUnreachable):
                ask()
            assert time.monotonic() - began < 5, "well below any limit of the library that is used"


# ── a private authority ──


def test_a_server_of_a_private_authority_is_believed_where_its_certificate_is_named(
    weed: SeaweedFS, authority: Authority
) -> None:
    with ending(Line(weed.url, tls=authority.server)) as line:
        reach = Reach(endpoint=line.url, region="us-east-1", credentials=PLAIN, ca=authority.ca.read_bytes())
        store = BucketStore(Address("s3", BUCKET, "tls"), reach)
        store.put(Key("a"), [b"x"])
        assert store.get(Key("a")) == b"x"
        assert [listed.key for listed in store.list()] == ["a"]
        assert abs(store.now() - SystemClock().now()) < 5 * SECOND
        s3 = reached(store.address, reach)
        assert s3.ask("head_object", Key("a"))["ContentLength"] == 1
        strangers = BucketStore(store.address, Reach(endpoint=line.url, credentials=PLAIN))
        for ask in (lambda: strangers.get(Key("a")), strangers.now):
            with pytest.raises(StoreUnreachable):
                ask()


def test_the_certificates_that_the_environment_names_are_believed(
    weed: SeaweedFS, authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ending(Line(weed.url, tls=authority.server)) as line:
        monkeypatch.setenv("AWS_ENDPOINT_URL", line.url)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", PLAIN["access_key_id"])
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", PLAIN["secret_access_key"])
        monkeypatch.setenv("AWS_CA_BUNDLE", str(authority.ca))
        store = stores.at(f"s3://{BUCKET}/environment", tmp_path, SystemClock())
        store.put(Key("a"), [b"x"])
        assert store.get(Key("a")) == b"x"
        monkeypatch.setenv("AWS_CA_BUNDLE", str(tmp_path / "none.pem"))
        with pytest.raises(SecretMissing, match=r"none\.pem"):
            stores.at(f"s3://{BUCKET}/environment", tmp_path, SystemClock())


# ── a proxy ──


def test_a_bucket_is_reached_through_the_proxy_that_is_named(weed: SeaweedFS) -> None:
    with ending(Proxy()) as proxy:
        reach = Reach(endpoint=weed.url, region="us-east-1", credentials=PLAIN, proxy=proxy.url)
        store = BucketStore(Address("s3", BUCKET, "proxy"), reach)
        assert_kept(store)
        assert set(proxy.asked) == {f"GET {weed.url[7:]}", f"PUT {weed.url[7:]}", f"HEAD {weed.url[7:]}"} & set(
            proxy.asked
        )
        assert len(proxy.asked) >= 2, "one connection to ask, one for the clock"


def test_a_tunnel_through_a_proxy_leads_to_a_server_with_tls(weed: SeaweedFS, authority: Authority) -> None:
    with ending(Proxy()) as proxy, ending(Line(weed.url, tls=authority.server)) as line:
        reach = Reach(
            endpoint=line.url, region="us-east-1", credentials=PLAIN, proxy=proxy.url, ca=authority.ca.read_bytes()
        )
        assert_kept(BucketStore(Address("s3", BUCKET, "tunnel"), reach))
        assert set(proxy.asked) == {f"CONNECT {line.url[8:]}"}


def test_the_proxy_of_the_environment_is_used_where_none_is_named(
    weed: SeaweedFS, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ending(Proxy()) as proxy:
        for name in ("HTTP_PROXY", "http_proxy"):
            monkeypatch.setenv(name, proxy.url)
        for name in ("NO_PROXY", "no_proxy"):
            monkeypatch.delenv(name, raising=False)
        assert_kept(BucketStore(Address("s3", BUCKET, "environment-proxy"), weed.reach()))
        assert len(proxy.asked) >= 2


def assert_kept(store: BucketStore) -> None:
    if not list(store.list()):
        store.put(Key("a"), [b"x"])
    assert store.get(Key("a")) == b"x"
    assert abs(store.now() - SystemClock().now()) < 5 * SECOND


# ── a limit ──


def test_a_limit_holds_on_a_real_line(weed: SeaweedFS) -> None:
    store = paced(weed.store(), SystemClock(), rate=10_000_000)
    began = time.monotonic()
    for number in range(4):
        store.put(Key(f"packs/{number}"), [noise(1_000_000)])
    assert store.get(Key("packs/0"), 0, 1_000_000)
    assert time.monotonic() - began >= 0.4
