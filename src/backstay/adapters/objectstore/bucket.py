"""An object store in a bucket: Amazon S3 and what speaks like it, Google Cloud Storage, Azure Blob.

**One request for an object.** What is put is gathered and sent in a single request, up to 32 MiB; packs have 18 at
most. A multipart upload would need two requests more and one for each 5 MiB, all of them paid for, and a process that
is killed in the middle leaves parts behind that nobody lists and somebody pays for. A single request leaves nothing. It
is conditional, too: the store itself refuses to overwrite, and no right to overwrite is needed. Longer objects are
streamed in parts, with bounded memory; the parts of an upload that fails are taken back.

**Nothing is tried twice here.** Every call is one request with an end (`addresses.Patience`), or a handful of them;
`around.Patient` asks again.
"""

import ssl
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cached_property
from itertools import chain
from typing import Any

import httpx2
import obstore

from backstay.adapters.objectstore.addresses import Address, Reach
from backstay.adapters.objectstore.answers import in_words, is_past_the_end, is_there
from backstay.adapters.objectstore.clouds import Clients, connect, settled
from backstay.adapters.objectstore.s3 import Refused, reached
from backstay.errors import BackstayError, ObjectMissing, StoreUnreachable, StoreUnsuitable
from backstay.ports import Key, Listed, StoreTraits, checked_key, is_key

WHOLE_BYTES = 32 << 20
"""Up to so much is sent in one request."""
PART_BYTES = 8 << 20
"""Of a multipart upload. Stores take 10,000 parts: 80 GB, and a pack is limited to 4."""
_PARTS_AT_ONCE = 4
_SMALL_BYTES = 256 << 10
"""So little is on its way at once: a store that says nothing for a while is hanging."""
PIECE_BYTES = 4 << 20
"""A longer read is split into ranges of at least so much: a connection to a cloud is slower than the line."""
_PIECES_AT_ONCE = 4


class BucketStore:
    """Objects below the prefix of `address`. For several threads. May raise BucketMissing, too."""

    def __init__(self, address: Address, reach: Reach | None = None) -> None:
        """Asks nobody yet. Raises AccessDenied where no credentials are found."""
        self.address, self.reach = address, settled(address, reach or Reach())
        self.clients: Clients = connect(address, self.reach)
        # The three clouds promise it. Of a store that speaks like one of them nobody knows before it was probed.
        self.traits = StoreTraits(put_if_absent=self.reach.endpoint is None, object_lock=False, versions=False)
        self._lock = threading.Lock()
        self._readers: ThreadPoolExecutor | None = None

    def describe(self) -> str:
        return f"{self.address}" + (f" at {self.reach.host}" if self.reach.host else "")

    # ── writing ──

    def put(self, key: Key, parts: Iterable[bytes]) -> None:
        checked_key(key)
        gathered, rest = _gathered(parts)
        if rest is None:
            if not self._create(key, gathered):
                raise self._taken(key)
            return
        if self._is_there(key):  # a multipart upload of obstore cannot be conditional
            raise self._taken(key)
        try:
            obstore.put(
                self.clients.send, key, chain((gathered,), rest), use_multipart=True, chunk_size=PART_BYTES,
                max_concurrency=_PARTS_AT_ONCE,
            )  # fmt: skip
        except (obstore.exceptions.BaseError, FileNotFoundError) as error:
            raise self._said(error, key, "put") from None

    def put_if_absent(self, key: Key, data: bytes) -> bool:
        return self._create(checked_key(key), data)

    def _create(self, key: Key, data: bytes) -> bool:
        """False when the key is taken. The store is asked to see to that itself; where nobody knows whether it does, it
        is looked first: two writers at the same moment could both win then, two a second apart could not."""
        if not self.traits.put_if_absent and self._is_there(key):
            return False
        client = self.clients.ask if len(data) <= _SMALL_BYTES else self.clients.send
        try:
            obstore.put(client, key, data, mode="create", use_multipart=False)
        except (obstore.exceptions.BaseError, FileNotFoundError) as error:
            if is_there(error):
                return False
            raise self._said(error, key, "put") from None
        return True

    def _is_there(self, key: Key) -> bool:
        try:
            self._head(key)
        except ObjectMissing:
            return False
        return True

    def _head(self, key: Key) -> None:
        """Raises ObjectMissing."""
        self._asked(key, lambda: str(obstore.head(self.clients.ask, key)).encode())

    def _taken(self, key: Key) -> StoreUnreachable:
        return StoreUnreachable(f"{key} is already in {self.describe()}", detail="a new object would overwrite it")

    # ── reading ──

    def get(self, key: Key, start: int = 0, length: int | None = None) -> bytes:
        checked_key(key)
        if length is None and start == 0:
            return self._asked(key, lambda: obstore.get(self.clients.ask, key).bytes())
        if length is None:
            options: Any = {"range": {"offset": start}}
            return self._asked(key, lambda: obstore.get(self.clients.ask, key, options=options).bytes())
        if length <= 0:
            self._head(key)
            return b""
        pieces = min(length // PIECE_BYTES, _PIECES_AT_ONCE)
        return self._range(key, start, length) if pieces < 2 else self._ranges(key, start, length, pieces)

    def _range(self, key: Key, start: int, length: int) -> bytes:
        return self._asked(key, lambda: obstore.get_range(self.clients.ask, key, start=start, length=length))

    def _ranges(self, key: Key, start: int, length: int, pieces: int) -> bytes:
        """The same in several requests at once. A piece that is short is the last one that counts."""
        size = -(-length // pieces)
        begins = range(start, start + length, size)
        asked = [
            self._pool().submit(self._range, key, begin, min(size, start + length - begin)) for begin in begins[1:]
        ]
        found = [self._range(key, begins[0], size), *(future.result() for future in asked)]
        return b"".join(found)

    def _pool(self) -> ThreadPoolExecutor:
        with self._lock:
            if self._readers is None:
                self._readers = ThreadPoolExecutor(_PIECES_AT_ONCE * 2, thread_name_prefix="backstay-range")
            return self._readers

    def _asked(self, key: Key, ask: Callable[[], Any]) -> bytes:
        try:
            return bytes(ask())
        except (obstore.exceptions.BaseError, FileNotFoundError) as error:
            if is_past_the_end(error):
                return b""
            raise self._said(error, key, "get") from None

    def list(self, prefix: str = "") -> Iterator[Listed]:
        """In the order of keys. The clouds' own services list in it; others may walk their folders instead (SeaweedFS
        gives `a/0` before `a-b`), so theirs is sorted when all of it is there."""
        if self._lists_in_order:
            return self._listed(prefix)
        found = {listed.key: listed for listed in self._listed(prefix)}
        return iter(sorted(found.values(), key=lambda listed: listed.key))

    @property
    def _lists_in_order(self) -> bool:
        # Directory buckets of S3, and accounts of Azure with a hierarchical namespace, do not.
        return (
            self.reach.endpoint is None and self.address.scheme != "az" and not self.address.bucket.endswith("--x-s3")
        )

    def _listed(self, prefix: str) -> Iterator[Listed]:
        folder = prefix.rpartition("/")[0]  # obstore's prefixes end where a part of a key ends
        if folder:
            checked_key(Key(folder))
        last = ""
        try:
            pages: Any = self.clients.ask.list(folder or None, chunk_size=1000)  # pyright: ignore[reportUnknownMemberType]
            for page in pages:
                for meta in page:
                    key = Key(meta["path"])
                    if key.startswith(prefix) and is_key(key):  # else a stranger's
                        last = key
                        yield Listed(key, meta["size"], meta["last_modified"].astimezone(UTC))
        except obstore.exceptions.InvalidPathError:
            yield from self._listed_anyway(prefix, last if self._lists_in_order else "")
        except (obstore.exceptions.BaseError, FileNotFoundError) as error:
            raise self._said(error, None, "list") from None

    def _listed_anyway(self, prefix: str, after: str) -> Iterator[Listed]:
        """obstore lists nothing where one object has a name like `points//x`, which whoever may write can put there, to
        keep us from everything else. boto3 passes over it."""
        if self.address.scheme != "s3":
            raise StoreUnsuitable(
                f"{self.describe()} holds an object with a name that cannot be read",
                detail="it is none of ours, and it hides everything beside it",
                hint="look with the provider's own tools for a name with //, /./ or /../ in it, and delete that object",
            )
        s3, own = reached(self.address, self.reach), f"{self.address.prefix}/" if self.address.prefix else ""
        asked: dict[str, Any] = {"Prefix": own + prefix}
        try:
            while True:
                page = s3.ask("list_objects_v2", **asked)
                for one in page.get("Contents", ()):
                    key = Key(str(one["Key"]).removeprefix(own))
                    if key > after and is_key(key):
                        yield Listed(key, int(one["Size"]), one["LastModified"].astimezone(UTC))
                if not page.get("IsTruncated"):
                    return
                asked["ContinuationToken"] = page["NextContinuationToken"]
        except Refused as refused:
            raise refused.in_words(self.address.bucket) from None

    # ── the rest ──

    def delete(self, key: Key) -> None:
        try:
            obstore.delete(self.clients.ask, checked_key(key))
        except (obstore.exceptions.BaseError, FileNotFoundError) as error:
            said = self._said(error, key, "delete")
            if not isinstance(said, ObjectMissing):
                raise said from None

    def now(self) -> datetime:
        """The Date of whatever the service answers to somebody unknown: to the second, and free of charge."""
        try:
            with self.browser() as browser:
                answer = browser.head(self.clients.origin)
            moment = parsedate_to_datetime(answer.headers["date"]).replace(tzinfo=UTC)  # it knows no other zone
        except (httpx2.HTTPError, KeyError, ValueError) as error:
            raise StoreUnreachable(
                f"{self.describe()} does not say what time it is", detail=type(error).__name__
            ) from error
        if answer.status_code >= 500 or answer.status_code == 407:
            raise StoreUnreachable(f"{self.describe()} does not say what time it is", detail="a proxy answered for it")
        return moment

    def browser(self) -> httpx2.Client:
        """For what obstore cannot ask."""
        patience = self.reach.patience
        timeout = httpx2.Timeout(patience.silence_s, connect=patience.connect_s)
        return httpx2.Client(verify=self._trusted, proxy=self.reach.proxy, timeout=timeout)

    @cached_property
    def _trusted(self) -> ssl.SSLContext:
        trusted = ssl.create_default_context()
        if self.reach.ca is not None:
            trusted.load_verify_locations(cadata=self.reach.ca.decode())
        return trusted

    def _said(self, error: BaseException, key: Key | None, asked: str) -> BackstayError:
        """Raised `from None`: what the library says may hold a signature, and a trace shows causes."""
        return in_words(error, self.address, self.describe(), key, asked)


def _gathered(parts: Iterable[bytes]) -> tuple[bytes, Iterator[bytes] | None]:
    """The first bytes of `parts`, and what follows them where there is more than `WHOLE_BYTES`."""
    taken, size, rest = list[bytes](), 0, iter(parts)
    for part in rest:
        taken.append(part)
        size += len(part)
        if size > WHOLE_BYTES:
            return b"".join(taken), rest
    return (taken[0] if len(taken) == 1 else b"".join(taken)), None
