from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from dataclasses import dataclass, replace

import pytest
import zstandard
from hypothesis import given, strategies as st

from tests.matrix import By, On, attack
from usbupdate.core.chunks import restore_chunk, unpack_here
from usbupdate.core.index import IndexedChunk
from usbupdate.core.unpack import WINDOW_MAX, Failed
from usbupdate.errors import (
    ContentsDifferError,
    FrameBrokenError,
    MediumUnreadableError,
    RejectedError,
    StoredBytesDifferError,
)

CHUNK_SIZE = 256 << 10
SKIPPABLE = b"\x50\x2a\x4d\x18" + (4).to_bytes(4, "little") + b"skip"


@dataclass
class Pack:
    """A pack in memory that remembers what was asked of it."""

    contents: bytes
    asked: list[tuple[int, int, int]]

    def read(self, pack: int, offset: int, size: int) -> bytes:
        self.asked.append((pack, offset, size))
        part = self.contents[offset : offset + size]
        if len(part) != size:
            raise MediumUnreadableError(name="pack", problem="end of file")
        return part


def _pack(contents: bytes) -> Pack:
    return Pack(contents, [])


def _chunk(raw: bytes, stored: bytes, *, size: int | None = None) -> IndexedChunk:
    """Return the record of a chunk as a careless or hostile office would sign it."""
    return IndexedChunk(
        number=7,
        size=len(raw) if size is None else size,
        digest=hashlib.sha256(raw).digest(),
        stored_digest=hashlib.sha256(stored).digest(),
        pack=0,
        offset=0,
        stored_size=len(stored),
    )


def _frame(raw: bytes) -> bytes:
    return zstandard.ZstdCompressor(level=3).compress(raw)


def _frame_announcing(raw: bytes, announced: int) -> bytes:
    """Return a frame of one raw block whose header announces another content size."""
    # Frame header descriptor: 8-byte content size, single segment, no checksum, no dictionary (RFC 8878, section 3.1.1.1).
    header = b"\x28\xb5\x2f\xfd" + bytes([0b11100000]) + announced.to_bytes(8, "little")
    return header + ((len(raw) << 3) | 1).to_bytes(3, "little") + raw


def _frame_with_window(raw: bytes, window_log: int) -> bytes:
    """Return a frame of one raw block that claims to need a window of `2 ** window_log` bytes."""
    header = b"\x28\xb5\x2f\xfd" + bytes([0b11000000, (window_log - 10) << 3]) + len(raw).to_bytes(8, "little")
    return header + ((len(raw) << 3) | 1).to_bytes(3, "little") + raw


def test_the_frames_that_are_built_by_hand_are_frames() -> None:
    raw = os.urandom(1000)
    for frame in (_frame_announcing(raw, 1000), _frame_with_window(raw, 10), _frame_with_window(raw, 20)):
        assert zstandard.ZstdDecompressor().decompress(frame) == raw
        assert restore_chunk(_chunk(raw, frame), _pack(frame)) == raw


@given(st.binary(min_size=1, max_size=5000), st.binary(max_size=50))
def test_round_trip_reads_exactly_the_signed_range(raw: bytes, before: bytes) -> None:
    stored = _frame(raw)
    pack = _pack(before + stored + b"after")
    chunk = replace(_chunk(raw, stored), offset=len(before))
    assert restore_chunk(chunk, pack) == raw
    assert pack.asked == [(0, len(before), len(stored))]


@attack(By.STICK, On.SERVICE, "bytes made for a hole in the decompressor", "nothing unsigned reaches it")
@given(st.binary(min_size=1, max_size=2000), st.data())
def test_any_other_stored_byte_is_rejected_before_the_decompressor(raw: bytes, data: st.DataObject) -> None:
    stored = bytearray(_frame(raw))
    stored[data.draw(st.integers(0, len(stored) - 1))] ^= data.draw(st.integers(1, 255))
    with pytest.raises(StoredBytesDifferError):
        restore_chunk(_chunk(raw, _frame(raw)), _pack(bytes(stored)))


@given(st.binary(max_size=400), st.integers(1, CHUNK_SIZE))
def test_arbitrary_signed_bytes_are_rejected_and_nothing_else_happens(stored: bytes, size: int) -> None:
    if not stored:
        return
    with pytest.raises(RejectedError):
        restore_chunk(_chunk(b"something else", stored, size=size), _pack(stored))


@given(st.binary(min_size=1, max_size=2000), st.data())
def test_a_broken_frame_that_was_signed_is_rejected(raw: bytes, data: st.DataObject) -> None:
    stored = bytearray(_frame(raw))
    stored[data.draw(st.integers(0, len(stored) - 1))] ^= data.draw(st.integers(1, 255))
    broken = bytes(stored)
    try:
        restored = restore_chunk(_chunk(raw, broken), _pack(broken))
    except RejectedError:
        return
    # Some bits of a frame mean nothing; the contents are proven all the same.
    assert restored == raw


def test_a_stick_that_ends_early_proves_nothing() -> None:
    stored = _frame(b"x" * 1000)
    with pytest.raises(MediumUnreadableError):
        restore_chunk(_chunk(b"x" * 1000, stored), _pack(stored[:-1]))


@pytest.mark.parametrize("announced", [0, 1, 999, 1001, CHUNK_SIZE, 1 << 31, 1 << 32, 1 << 40, (1 << 64) - 3, (1 << 64) - 1])
def test_a_frame_that_lies_about_its_size_is_rejected(announced: int) -> None:
    raw = os.urandom(1000)
    stored = _frame_announcing(raw, announced)
    with pytest.raises(FrameBrokenError):
        restore_chunk(_chunk(raw, stored), _pack(stored))
    # ... and also if the index tells the same lie.
    if 0 < announced <= CHUNK_SIZE:
        with pytest.raises(FrameBrokenError):
            restore_chunk(_chunk(raw, stored, size=announced), _pack(stored))


def test_a_frame_that_announces_no_size_is_rejected() -> None:
    raw = b"x" * 1000
    stored = zstandard.ZstdCompressor(write_content_size=False).compress(raw)
    with pytest.raises(FrameBrokenError):
        restore_chunk(_chunk(raw, stored), _pack(stored))


@pytest.mark.parametrize(
    "extra", [b"\0", SKIPPABLE, _frame(b"second"), _frame(b"")], ids=["byte", "skippable", "frame", "empty"]
)
def test_bytes_after_the_frame_are_rejected(extra: bytes) -> None:
    raw = b"x" * 1000
    stored = _frame(raw) + extra
    with pytest.raises(FrameBrokenError):
        restore_chunk(_chunk(raw, stored), _pack(stored))


@pytest.mark.parametrize("raw", [b"skip", b"\0" * 4, b"x" * 1000], ids=["its-contents", "zeros", "the-frame-behind"])
def test_a_skippable_frame_is_rejected(raw: bytes) -> None:
    for stored in (SKIPPABLE, SKIPPABLE + _frame(raw)):
        with pytest.raises(RejectedError):
            restore_chunk(_chunk(raw, stored), _pack(stored))


def test_a_window_may_be_as_large_as_the_largest_chunk() -> None:
    raw = os.urandom(1000)
    assert WINDOW_MAX == 1 << 24
    stored = _frame_with_window(raw, 24)
    assert restore_chunk(_chunk(raw, stored), _pack(stored)) == raw


@pytest.mark.parametrize(
    ("stored", "error"),
    [
        (b"no frame", FrameBrokenError),
        (_frame_announcing(b"x" * 1000, 999), FrameBrokenError),
        (_frame(b"x" * 1000) + b"more", FrameBrokenError),
        (_frame(b"y" * 1000), ContentsDifferError),
    ],
    ids=["no-frame", "another-size", "more", "other-contents"],
)
def test_what_is_wrong_with_a_chunk_is_told_by_its_number(
    stored: bytes, error: type[FrameBrokenError | ContentsDifferError]
) -> None:
    with pytest.raises((FrameBrokenError, ContentsDifferError)) as caught:
        restore_chunk(_chunk(b"x" * 1000, stored), _pack(stored))
    assert type(caught.value) is error
    assert caught.value.chunk == 7


def test_stored_bytes_that_differ_are_told_by_the_number_of_their_chunk() -> None:
    with pytest.raises(StoredBytesDifferError) as caught:
        restore_chunk(_chunk(b"x", b"signed"), _pack(b"others"))
    assert caught.value.chunk == 7


@attack(By.SIGNER, On.SERVICE, "a frame that wants a window of gigabytes", "a limit on windows")
@pytest.mark.parametrize("window_log", [25, 26, 27, 30, 31, 41])
def test_a_frame_that_wants_a_huge_window_is_rejected(window_log: int) -> None:
    raw = os.urandom(1000)
    stored = _frame_with_window(raw, window_log)
    with pytest.raises(FrameBrokenError):
        restore_chunk(_chunk(raw, stored), _pack(stored))


def test_a_frame_that_needs_a_dictionary_is_rejected() -> None:
    dictionary = zstandard.ZstdCompressionDict(b"abc" * 1000, dict_type=zstandard.DICT_TYPE_RAWCONTENT)
    raw = b"abc" * 900
    stored = zstandard.ZstdCompressor(dict_data=dictionary).compress(raw)
    with pytest.raises(RejectedError):
        restore_chunk(_chunk(raw, stored), _pack(stored))


def test_a_frame_comes_out_with_the_dictionary_that_it_was_made_with_and_with_no_other() -> None:
    dictionary = b"".join(hashlib.sha256(bytes([number])).digest() for number in range(64))
    raw = dictionary[100:1900]
    made_with = zstandard.ZstdCompressionDict(dictionary, dict_type=zstandard.DICT_TYPE_RAWCONTENT)
    frame = zstandard.ZstdCompressor(dict_data=made_with).compress(raw)
    assert unpack_here(frame, len(raw), dictionary) == raw
    assert unpack_here(frame, len(raw)) is Failed.BROKEN


@given(st.binary(min_size=1, max_size=500), st.binary(min_size=1, max_size=500))
def test_a_whole_frame_of_other_contents_is_rejected(signed: bytes, other: bytes) -> None:
    if signed == other:
        return
    stored = _frame(other)
    with pytest.raises((ContentsDifferError, FrameBrokenError)):
        restore_chunk(_chunk(signed, stored), _pack(stored))


@pytest.mark.parametrize("size", [1, 4096, CHUNK_SIZE])
def test_zeros_need_no_stick_and_only_zeros_do(size: int) -> None:
    pack = _pack(b"")
    zero = IndexedChunk(0, size, hashlib.sha256(bytes(size)).digest(), bytes(32), 0, 0, 0)
    assert restore_chunk(zero, pack) == bytes(size)
    assert pack.asked == []
    with pytest.raises(ContentsDifferError):
        restore_chunk(replace(zero, digest=hashlib.sha256(b"x").digest()), pack)


BOMB = """
import hashlib, resource, sys, zstandard
from usbupdate.core.chunks import restore_chunk
from usbupdate.core.index import IndexedChunk
from usbupdate.errors import RejectedError

class Pack:
    def __init__(self, contents): self.contents = contents
    def read(self, pack, offset, size): return self.contents[offset:offset + size]

def compress(size, announce):
    # Piece by piece, so that making the bomb takes no memory either.
    compressor = zstandard.ZstdCompressor(level=3, write_content_size=announce).compressobj(size=size if announce else -1)
    zeros = bytes(1 << 20)
    return b"".join([*(compressor.compress(zeros) for _ in range(size >> 20)), compressor.flush()])

bombs = [compress(1 << 30, announce) for announce in (True, False)]
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for bomb in bombs:
    assert len(bomb) < 1 << 18
    # The index says one chunk; the frame unfolds to a gigabyte.
    lies = bytes([0b11100000]) + (1 << 18).to_bytes(8, "little")
    for stored in (bomb, bomb[:4] + lies + bomb[13:]):
        chunk = IndexedChunk(0, 1 << 18, bytes(32), hashlib.sha256(stored).digest(), 0, 0, len(stored))
        try:
            restore_chunk(chunk, Pack(stored))
        except RejectedError:
            continue
        sys.exit("taken")
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@attack(By.SIGNER, On.SERVICE, "a signed decompression bomb", "the announced size is compared before memory is taken")
@pytest.mark.skipif(sys.platform != "linux", reason="counts memory in KiB as Linux does")
def test_a_decompression_bomb_takes_no_memory() -> None:
    done = subprocess.run([sys.executable, "-c", BOMB], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 16 << 10, "KiB more than before"
