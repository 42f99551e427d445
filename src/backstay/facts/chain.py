"""The hash chain: every fact names the one before it in its stream, so none can change, leave or move unseen.

What a chain alone cannot show is that its end was cut off: for that, the heads of all streams are gathered in a
*spine*, signed, and sealed into the vaults. A journal whose heads are older than a sealed spine was cut or rolled back.
Most spines name only the heads that changed since the one before; `log`, one running digest over every fact in the
order of appending, stands for all the others, and for that order.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from backstay.errors import JournalDamaged
from backstay.facts.shapes import Shape, flag, mapping, moment, record, text, whole
from backstay.facts.stored import Fact, canonical
from backstay.values import Digest, StreamName, digest_of, stamp


@dataclass(frozen=True, slots=True)
class Recorded:
    """One fact as the journal holds it. `seq` counts from 1 in its stream; `at` is the journal's clock, which never
    runs backwards in a stream; `before` and `digest` are links of the chain."""

    stream: StreamName
    seq: int
    at: datetime
    fact: Fact
    before: Digest
    digest: Digest


@dataclass(frozen=True, slots=True)
class Head:
    """The end of a stream."""

    seq: int
    digest: Digest


def genesis(stream: StreamName) -> Digest:
    """What the first fact of a stream stands behind."""
    return digest_of(f"backstay-stream/1\n{stream}".encode())


def link(before: Digest, stream: StreamName, seq: int, at: datetime, body: str) -> Digest:
    """The digest of one fact in its place. `body` is the stored text itself, not its meaning."""
    return digest_of("\n".join(("backstay-fact/1", before, stream, str(seq), stamp(at), body)).encode())


NO_FACTS = digest_of(b"backstay-log/1")
"""The running digest of a journal without facts."""


def log_after(log: Digest, facts: Iterable[Digest]) -> Digest:
    """The running digest after `facts`, in the order in which they were appended, whatever their streams."""
    for digest in facts:
        log = digest_of(f"{log}\n{digest}".encode())
    return log


@dataclass(frozen=True, slots=True)
class Spine:
    """The state of a journal at one moment, signed by the journal's key (Ed25519)."""

    journal: str
    epoch: int
    number: int
    at: datetime
    before: Digest
    """The digest of the spine before it; of nothing, for the first."""
    facts: int
    """How many facts there were, in all streams."""
    log: Digest
    """The running digest of them all."""
    whole: bool
    """Whether `heads` has every stream, or only those that changed since the spine before."""
    heads: Mapping[StreamName, Head]
    signer: str = ""
    """The public key, hexadecimal."""
    signature: str = ""


_head: Shape[Head] = record(Head, seq=whole, digest=text)
spine: Shape[Spine] = record(
    Spine,
    journal=text, epoch=whole, number=whole, at=moment, before=text, facts=whole, log=text, whole=flag,
    heads=mapping(_head), signer=text, signature=text,
)  # fmt: skip


def signed_part(of: Spine) -> bytes:
    """What the signature covers: everything but itself."""
    stored = spine.write(of)
    del stored["signature"]
    return b"backstay-spine/1\n" + canonical(stored).encode()


def spine_digest(of: Spine) -> Digest:
    """What the next spine stands behind: the whole of this one, its signature too."""
    return digest_of(canonical(spine.write(of)).encode())


def write_spine(of: Spine) -> bytes:
    """The stored form: canonical JSON."""
    return canonical(spine.write(of)).encode()


def read_spine(data: bytes) -> Spine:
    """The inverse. Raises JournalDamaged. The signature is not checked here."""
    try:
        return spine.read(json.loads(data))
    except (ValueError, RecursionError, AttributeError) as error:
        raise JournalDamaged("a sealed spine cannot be read", detail=str(error)) from None
