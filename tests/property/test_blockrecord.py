"""What a cut leaves of recorded writes is what a disk may leave; and what is no record is refused."""

from __future__ import annotations

import struct
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Final

import pytest
from hypothesis import given, strategies as st

from tests.vm.blockrecord import MAGIC, SECTOR, BrokenRecordError, Cut, Flag, Part, read_record

if TYPE_CHECKING:
    from collections.abc import Sequence

DISK: Final = 16
"""Sectors of the disk that is written to."""
WHOLE: Final = Part(0, DISK * SECTOR)

Write = tuple[Flag, int, int]
"""Flags, first sector, number of sectors; the data are the entry's own number, from 1."""

ENTRIES: Final = st.lists(
    st.one_of(
        st.tuples(st.sampled_from((Flag.NONE, Flag.FUA, Flag.FLUSH, Flag.DISCARD)), st.integers(0, 12), st.integers(1, 4)),
        st.just((Flag.FLUSH, 0, 0)),
        st.just((Flag.MARK, 0, 0)),
    ),
    min_size=1,
    max_size=30,
)


def encoded(entries: Sequence[Write], sector: int = SECTOR) -> bytes:
    parts = [struct.pack("<QQQI", MAGIC, 1, len(entries), sector).ljust(sector, b"\0")]
    for number, (flags, first, count) in enumerate(entries, start=1):
        parts.append(struct.pack("<QQQQ", first, count, flags, 0).ljust(sector, b"\0"))
        if not flags & (Flag.DISCARD | Flag.MARK):
            parts.append(bytes([number]) * (count * sector))
    return b"".join(parts)


def after(raw: bytes, cut: Cut, part: Part = WHOLE) -> bytes:
    """Return what is on a disk that held 0xFF everywhere."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "record"
        path.write_bytes(raw)
        disk = bytearray(b"\xff" * part.size)
        for start, data in read_record(path).surviving(cut, part):
            disk[start : start + len(data)] = data
    return bytes(disk)


def sectors(contents: bytes) -> list[int]:
    """Return who wrote each sector, which must be whole."""
    found = [set(contents[start : start + SECTOR]) for start in range(0, len(contents), SECTOR)]
    assert all(len(each) == 1 for each in found)
    return [each.pop() for each in found]


@given(ENTRIES, st.data())
def test_a_cut_leaves_what_was_flushed_and_nothing_else(entries: list[Write], data: st.DataObject) -> None:
    last = data.draw(st.integers(0, len(entries) - 1))
    flushed = max((number for number in range(last + 1) if entries[number][0] & Flag.FLUSH), default=-1)
    expected = [0xFF] * DISK
    for number, (flags, first, count) in enumerate(entries[: last + 1]):
        if number < flushed or flags & Flag.FUA:
            expected[first : first + count] = [0 if flags & Flag.DISCARD else number + 1] * count
    assert sectors(after(encoded(entries), Cut(last))) == expected


@given(ENTRIES, st.integers(0, 2**32), st.data())
def test_what_no_flush_protects_may_be_there_sector_by_sector(entries: list[Write], seed: int, data: st.DataObject) -> None:
    last = data.draw(st.integers(0, len(entries) - 1))
    flushed = max((number for number in range(last + 1) if entries[number][0] & Flag.FLUSH), default=-1)
    found = sectors(after(encoded(entries), Cut(last, seed)))
    allowed = [{0xFF} for _ in range(DISK)]
    for number, (flags, first, count) in enumerate(entries[: last + 1]):
        for sector in range(first, first + count):
            writer = 0 if flags & Flag.DISCARD else number + 1
            is_sure = number < flushed or flags & Flag.FUA
            allowed[sector] = {writer} if is_sure else {*allowed[sector], writer}
    assert all(writer in possible for writer, possible in zip(found, allowed, strict=True))


@given(ENTRIES, st.none() | st.integers(0, 99), st.integers(0, DISK - 1), st.integers(1, DISK), st.data())
def test_a_part_of_the_disk_says_the_same_as_the_whole(
    entries: list[Write], seed: int | None, first: int, count: int, data: st.DataObject
) -> None:
    cut = Cut(data.draw(st.integers(0, len(entries) - 1)), seed)
    part = Part(first * SECTOR, min(count, DISK - first) * SECTOR)
    whole = after(encoded(entries), cut)
    assert after(encoded(entries), cut, part) == whole[part.start : part.start + part.size]


@given(ENTRIES, st.data())
def test_a_record_that_is_cut_short_is_refused(entries: list[Write], data: st.DataObject) -> None:
    raw = encoded(entries)
    with pytest.raises(BrokenRecordError):
        after(raw[: data.draw(st.integers(0, len(raw) - SECTOR))], Cut(0))


@given(st.binary(max_size=2000), st.booleans())
def test_arbitrary_bytes_are_refused_or_read(noise: bytes, is_headed: bool) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "record"
        path.write_bytes(struct.pack("<QQ", MAGIC, 1) + noise if is_headed else noise)
        try:
            record = read_record(path)
        except BrokenRecordError:
            return
        assert all(each.end <= path.stat().st_size for each in record.entries)
