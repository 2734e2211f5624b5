from __future__ import annotations

import hashlib
import struct

import pytest
from hypothesis import given, strategies as st

from tests.matrix import By, On, attack
from usbupdate.core import index as indexes
from usbupdate.core.index import RECORD_SIZE, Index, IndexedChunk, chunk_size_for, stored_size_max
from usbupdate.core.manifest import (
    CHUNK_SIZE_MAX,
    CHUNK_SIZE_MIN,
    IMAGE_SIZE_MAX,
    INDEX_SIZE_MAX,
    PACK_SIZE_MAX,
    Artifact,
    Blob,
)
from usbupdate.core.words import Digest, SlotClass
from usbupdate.errors import MalformedError

CHUNK = CHUNK_SIZE_MIN
DIGEST = bytes(range(32))
ZEROS = hashlib.sha256(bytes(CHUNK)).digest()
EDGES = [0, 1, (1 << 30) - 1, 1 << 30, (1 << 31) - 1, 1 << 31, (1 << 32) - 1]
NUMBERS = st.integers(0, (1 << 32) - 1) | st.sampled_from(EDGES)


def _artifact(image_size: int, packs: list[int], chunk_size: int = CHUNK) -> Artifact:
    digest = Digest("0" * 64)
    return Artifact(
        slot_class=SlotClass("rootfs"),
        image=Blob(digest, image_size),
        chunk_size=chunk_size,
        index=Blob(digest, max(1, -(-image_size // chunk_size) * RECORD_SIZE)),
        packs=tuple(Blob(digest, size) for size in packs),
    )


def _record(pack: int, offset: int, stored_size: int, *, digest: bytes = DIGEST, stored_digest: bytes = DIGEST) -> bytes:
    """Write a record by the letter of docs/format.md and not by our own encoder."""
    return digest + stored_digest + struct.pack(">III", pack, offset, stored_size)


@st.composite
def _images(draw: st.DrawFn) -> tuple[Artifact, list[IndexedChunk]]:
    count = draw(st.integers(1, 12))
    last = draw(st.integers(1, CHUNK))
    pack_sizes = draw(st.lists(st.integers(CHUNK * 2, PACK_SIZE_MAX), min_size=1, max_size=3))
    chunks = []
    for number in range(count):
        size = CHUNK if number < count - 1 else last
        digest = draw(st.binary(min_size=32, max_size=32))
        if draw(st.booleans()):
            chunks.append(IndexedChunk(number, size, hashlib.sha256(bytes(size)).digest(), bytes(32), 0, 0, 0))
            continue
        pack = draw(st.integers(0, len(pack_sizes) - 1))
        stored_size = draw(st.integers(1, stored_size_max(CHUNK)))
        offset = draw(st.integers(0, pack_sizes[pack] - stored_size))
        stored_digest = draw(st.binary(min_size=32, max_size=32))
        chunks.append(IndexedChunk(number, size, digest, stored_digest, pack, offset, stored_size))
    return _artifact((count - 1) * CHUNK + last, pack_sizes), chunks


@given(_images())
def test_round_trip(image: tuple[Artifact, list[IndexedChunk]]) -> None:
    artifact, chunks = image
    raw = indexes.encode(chunks)
    index = Index(raw, artifact)
    assert list(index) == chunks
    assert len(index) == len(chunks)
    assert [index[number] for number in range(len(index))] == chunks
    assert indexes.encode(index) == raw
    assert sum(chunk.size for chunk in index) == artifact.image.size


@given(st.binary(max_size=RECORD_SIZE * 4), st.integers(1, CHUNK * 4), st.lists(st.integers(1, PACK_SIZE_MAX), max_size=2))
def test_arbitrary_bytes_are_an_index_or_malformed(raw: bytes, image_size: int, packs: list[int]) -> None:
    try:
        index = Index(raw, _artifact(image_size, packs))
    except MalformedError:
        return
    _assert_everything_lies_inside(index, image_size, packs)


@given(st.lists(st.tuples(NUMBERS, NUMBERS, NUMBERS), min_size=1, max_size=3), st.lists(NUMBERS.filter(bool), max_size=3))
def test_arbitrary_places_lie_inside_their_packs_or_are_malformed(places: list[tuple[int, int, int]], packs: list[int]) -> None:
    image_size = len(places) * CHUNK
    raw = b"".join(_record(*place) for place in places)
    try:
        index = Index(raw, _artifact(image_size, packs))
    except MalformedError:
        return
    _assert_everything_lies_inside(index, image_size, packs)


def _assert_everything_lies_inside(index: Index, image_size: int, packs: list[int]) -> None:
    assert sum(chunk.size for chunk in index) == image_size
    for chunk in index:
        assert 0 < chunk.size <= CHUNK
        assert chunk.stored_size <= stored_size_max(CHUNK)
        if chunk.is_zero:
            assert (chunk.pack, chunk.offset, chunk.stored_digest) == (0, 0, bytes(32))
        else:
            assert chunk.offset + chunk.stored_size <= packs[chunk.pack]


@pytest.mark.parametrize("pack_size", [1 << 30, (1 << 31) - 1, 1 << 31, (1 << 32) - 1, 1 << 32, 1 << 33])
@pytest.mark.parametrize("stored_size", [1, 1000, stored_size_max(CHUNK)])
def test_a_chunk_may_end_with_its_pack_and_not_one_byte_later(pack_size: int, stored_size: int) -> None:
    artifact = _artifact(CHUNK, [pack_size])
    last = pack_size - stored_size
    if last < 1 << 32:
        assert Index(_record(0, last, stored_size), artifact)[0].offset == last
    if last + 1 < 1 << 32:
        with pytest.raises(MalformedError, match="beyond the end"):
            Index(_record(0, last + 1, stored_size), artifact)


@attack(By.SIGNER, On.SERVICE, "numbers at the edge of 32 bits", "sums are checked, not truncated")
def test_offset_and_size_do_not_wrap_around_at_four_gigabytes() -> None:
    with pytest.raises(MalformedError):
        Index(_record(0, (1 << 32) - 1, 2), _artifact(CHUNK, [PACK_SIZE_MAX]))
    with pytest.raises(MalformedError):
        Index(_record(0, (1 << 32) - 100, 200), _artifact(CHUNK, [100]))


@pytest.mark.parametrize("stored_size", [stored_size_max(CHUNK) + 1, 1 << 30, (1 << 31) - 1, 1 << 31, (1 << 32) - 1])
def test_more_stored_bytes_than_a_chunk_can_need_are_malformed(stored_size: int) -> None:
    with pytest.raises(MalformedError, match="more stored bytes"):
        Index(_record(0, 0, stored_size), _artifact(CHUNK, [1 << 33]))


@pytest.mark.parametrize("pack", [1, 2, (1 << 31) - 1, 1 << 31, (1 << 32) - 1])
def test_a_pack_that_the_manifest_does_not_list_is_malformed(pack: int) -> None:
    with pytest.raises(MalformedError, match="does not list"):
        Index(_record(pack, 0, 10), _artifact(CHUNK, [1000]))


def test_a_stored_chunk_without_any_pack_is_malformed() -> None:
    with pytest.raises(MalformedError):
        Index(_record(0, 0, 10), _artifact(CHUNK, []))


@pytest.mark.parametrize(
    "record",
    [
        _record(1, 0, 0, digest=ZEROS, stored_digest=bytes(32)),
        _record(0, 1, 0, digest=ZEROS, stored_digest=bytes(32)),
        _record(0, 0, 0, digest=ZEROS),
    ],
    ids=["pack", "offset", "digest"],
)
def test_a_zero_chunk_with_a_place_is_malformed(record: bytes) -> None:
    with pytest.raises(MalformedError, match="has a place in a pack"):
        Index(record, _artifact(CHUNK, [1000, 1000]))


@attack(By.SIGNER, On.SLOT, "zeros in place of contents", "a chunk of zeros has the digest of zeros")
@pytest.mark.parametrize("size", [1, CHUNK - 1, CHUNK])
def test_a_zero_chunk_with_the_digest_of_something_else_is_malformed(size: int) -> None:
    def record(contents: bytes) -> bytes:
        return _record(0, 0, 0, digest=hashlib.sha256(contents).digest(), stored_digest=bytes(32))

    assert Index(record(bytes(size)), _artifact(size, []))[0].is_zero
    for other in (bytes(size + 1), b"\1" * size):
        with pytest.raises(MalformedError, match="chunk of zeros"):
            Index(record(other), _artifact(size, []))


@pytest.mark.parametrize("count", [0, 1, 2, 4, 5])
def test_a_wrong_number_of_records_is_malformed(count: int) -> None:
    with pytest.raises(MalformedError, match="not 3 records"):
        Index(_record(0, 0, 10) * count, _artifact(CHUNK * 2 + 1, [1000]))


def test_what_is_wrong_with_an_index_is_told_by_record() -> None:
    artifact = _artifact(CHUNK * 2, [1000])
    with pytest.raises(MalformedError) as caught:
        Index(_record(0, 0, 10) + _record(1, 0, 10), artifact)
    assert (caught.value.document, caught.value.field) == ("index", "record 1")
    with pytest.raises(MalformedError) as caught:
        Index(b"", artifact)
    assert (caught.value.document, caught.value.field) == ("index", "whole")


@pytest.mark.parametrize("cut", [-1, 1, -RECORD_SIZE + 1])
def test_a_part_of_a_record_is_malformed(cut: int) -> None:
    raw = _record(0, 0, 10) * 2
    with pytest.raises(MalformedError):
        Index(raw[:cut] if cut < 0 else raw + bytes(cut), _artifact(CHUNK * 2, [1000]))


@given(st.integers(1, IMAGE_SIZE_MAX))
def test_the_index_of_any_image_is_bounded(image_size: int) -> None:
    chunk_size = chunk_size_for(image_size)
    assert CHUNK_SIZE_MIN <= chunk_size <= CHUNK_SIZE_MAX
    assert chunk_size & (chunk_size - 1) == 0
    assert -(-image_size // chunk_size) * RECORD_SIZE <= INDEX_SIZE_MAX
    # No larger than it must be.
    if chunk_size > CHUNK_SIZE_MIN:
        assert -(-image_size // (chunk_size // 2)) * RECORD_SIZE > INDEX_SIZE_MAX


@pytest.mark.parametrize("doubled", range(4))
def test_chunks_double_with_the_first_image_whose_index_would_be_too_large(doubled: int) -> None:
    largest = (INDEX_SIZE_MAX // RECORD_SIZE) * (CHUNK_SIZE_MIN << doubled)
    assert chunk_size_for(largest) == CHUNK_SIZE_MIN << doubled
    assert chunk_size_for(largest + 1) == CHUNK_SIZE_MIN << (doubled + 1)


@attack(
    By.SIGNER,
    On.SLOT,
    "an image of gigabytes of which only the beginning is covered by what was signed",
    "an index has a record for each chunk to the last byte",
)
@pytest.mark.parametrize(
    "image_size", [1, CHUNK - 1, CHUNK, CHUNK + 1, (1 << 31) - 1, 1 << 31, (1 << 31) + 1, (1 << 32) - 1, 1 << 32, (1 << 32) + 1]
)
def test_chunks_cover_an_image_of_any_size_exactly(image_size: int) -> None:
    count = -(-image_size // CHUNK)
    index = Index(_record(0, 0, 10) * count, _artifact(image_size, [10]))
    assert len(index) == count
    assert index[count - 1].size == image_size - (count - 1) * CHUNK
    assert index[0].size == min(CHUNK, image_size)
