"""Laws of what a server sends: however it is cut into messages, the same members come of it; whatever is wrong with it
ends in a word of ours, and never in a file outside the point."""

import io
import tarfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backstay.adapters.postgres.increments import MAGIC, head_bytes, numbers_of, read_increment
from backstay.adapters.postgres.unpacking import Manifest, Unpacking
from backstay.errors import BackstayError, Damaged
from fix_vault import noise

FILES = {"PG_VERSION": b"17\n", "base/1/1259": noise(9000, 1), "global/empty": b"", "base/1/2": noise(512, 2)}
MANIFEST = b'{"PostgreSQL-Backup-Manifest-Version": 2}\n' * 50


def archive(files: dict[str, bytes]) -> bytes:
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return held.getvalue()


def messages(sizes: list[int]) -> list[bytes]:
    """Two archives and a manifest, cut at these sizes, again and again; progress in between."""
    found: list[bytes] = []
    fast = archive({"PG_17_1/5/3": b"x" * 700})
    for head, data in ((b"n16400.tar\0/fast\0", fast), (b"nbase.tar\0\0", archive(FILES)), (b"m", MANIFEST)):
        found.append(head)
        at, turn = 0, 0
        while at < len(data):
            size = sizes[turn % len(sizes)]
            found += [b"d" + data[at : at + size], b"p\0\0\0\0\0\0\0\1"]
            at, turn = at + size, turn + 1
    return found


def unpacked(sent: list[bytes]) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for member in Unpacking(iter(map(memoryview, sent))).members():
        if isinstance(member, Manifest):
            found["manifest"] = member.body.read() or b""
        else:
            found[f"{member.archive}:{member.head.name}"] = member.body.exactly(member.head.size)
    return found


EXPECTED = {"16400.tar:PG_17_1/5/3": b"x" * 700, **{f"base.tar:{n}": d for n, d in FILES.items()}, "manifest": MANIFEST}


@given(st.lists(st.integers(1, 5000), min_size=1, max_size=5).filter(lambda sizes: sum(sizes) > 40))
def test_members_do_not_depend_on_how_messages_are_cut(sizes: list[int]) -> None:
    assert unpacked(messages(sizes)) == EXPECTED


@settings(max_examples=200)
@given(st.data())
def test_what_is_wrong_is_said_in_our_words(data: st.DataObject) -> None:
    sent = messages([700])
    at = data.draw(st.integers(0, len(sent) - 1))
    match data.draw(st.sampled_from(["flip", "lose", "add", "swap"])):
        case "flip":
            place = data.draw(st.integers(0, len(sent[at]) - 1))
            changed = bytearray(sent[at])
            changed[place] ^= 1 << data.draw(st.integers(0, 7))
            sent[at] = bytes(changed)
        case "lose":
            del sent[at]
        case "add":
            sent.insert(at, data.draw(st.binary(max_size=600)))
        case _:
            sent[at], sent[0] = sent[0], sent[at]
    try:
        found = unpacked(sent)
    except BackstayError:
        return
    assert all(isinstance(content, bytes) for content in found.values())


def test_a_stream_that_ends_within_a_file_is_damaged() -> None:
    sent = messages([700])
    for end in (2, 3):
        with pytest.raises(Damaged) as error:
            unpacked(sent[:end])
        assert "cannot be read" in str(error.value)


@given(st.binary(min_size=12, max_size=80), st.integers(0, 1 << 20))
def test_an_increment_that_is_none_is_damaged(head: bytes, size: int) -> None:
    with pytest.raises(Damaged, match="increment"):
        number = numbers_of(head[:12], "x")
        whole = head_bytes(number, 8192)
        read_increment(head.ljust(whole, b"\0")[:whole], "x", size * 2 + 1, 8192)


@pytest.mark.parametrize(("blocks", "fits"), [([3, 7], True), ([7, 3], False), ([3, 3], False), ([1 << 25], False)])
def test_the_blocks_of_an_increment_ascend(blocks: list[int], fits: bool) -> None:
    numbers = b"".join(number.to_bytes(4, "little") for number in (MAGIC, len(blocks), 9, *blocks))
    head = numbers.ljust(8192, b"\0")
    if fits:
        found = read_increment(head, "x", 8192 * 3, 8192)
        assert (list(found.blocks), found.size_bytes(8192), found.truncation) == (blocks, 9 * 8192, 9)
    else:
        with pytest.raises(Damaged):
            read_increment(head, "x", 8192 * (1 + len(blocks)), 8192)
