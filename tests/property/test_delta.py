"""Delta indexes and recipes: what is written is what is read, and nothing else is taken; what comes out is what was signed."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

import pytest
import zstandard
from hypothesis import given, strategies as st

from tests.matrix import By, On, attack
from usbupdate.core.delta import (
    BLOCK,
    DICTIONARY_SIZE_MAX,
    RECORD_SIZE,
    BlockRange,
    DeltaChunk,
    DeltaIndex,
    decode_recipe,
    encode,
    encode_recipe,
    is_unchanged,
    rebuild_chunk,
)
from usbupdate.core.frames import raw_dictionary
from usbupdate.core.index import IndexedChunk, stored_size_max
from usbupdate.core.manifest import Artifact, Blob, Delta
from usbupdate.core.words import Digest, SlotClass
from usbupdate.errors import (
    FrameBrokenError,
    MalformedError,
    RejectedError,
    SlotReadError,
    StoredBytesDifferError,
)

CHUNK = 256 << 10
BASE_BLOCKS = 100
BASE = b"".join(hashlib.sha256(number.to_bytes(4, "big")).digest() * (BLOCK // 32) for number in range(BASE_BLOCKS))
ANY = Digest("0" * 64)
HUGE_SIZE = 1 << 40


def artifact(chunks: int = 10) -> Artifact:
    return Artifact(SlotClass("rootfs"), Blob(ANY, chunks * CHUNK), CHUNK, Blob(ANY, 76 * chunks), ())


def delta(*pack_sizes: int, base_size: int = len(BASE)) -> Delta:
    return Delta(ANY, base_size, Blob(ANY, 48), tuple(Blob(ANY, size) for size in pack_sizes))


@dataclass
class Bytes:
    """A pack, or a base, in memory."""

    contents: bytes

    def read(self, pack: int, offset: int, size: int) -> bytes:
        assert pack == 0
        return self.contents[offset : offset + size]

    def read_at(self, offset: int, size: int) -> bytes:
        part = self.contents[offset : offset + size]
        if len(part) != size:
            raise SlotReadError(slot_class="rootfs", problem="it ends there")
        return part


# --- The index ---


@st.composite
def some_records(draw: st.DrawFn) -> list[DeltaChunk]:
    numbers = sorted(draw(st.sets(st.integers(0, 9), max_size=10)))
    return [
        DeltaChunk(number, draw(st.binary(min_size=32, max_size=32)), draw(st.integers(0, 1)), number * 100, 1 + number)
        for number in numbers
    ]


@given(some_records())
def test_an_index_is_read_as_it_was_written(chunks: list[DeltaChunk]) -> None:
    index = DeltaIndex(encode(chunks), artifact(), delta(2000, 2000))
    assert list(index) == chunks
    listed = {chunk.number: chunk for chunk in chunks}
    assert [index.get(number) for number in range(10)] == [listed.get(number) for number in range(10)]


@given(st.binary(max_size=RECORD_SIZE * 3))
def test_arbitrary_bytes_are_an_index_or_malformed(raw: bytes) -> None:
    try:
        index = DeltaIndex(raw, artifact(), delta(1 << 20))
    except MalformedError:
        return
    numbers = [chunk.number for chunk in index]
    assert numbers == sorted(set(numbers))
    assert all(number < 10 for number in numbers)
    assert all(chunk.pack == 0 and 0 < chunk.stored_size <= (1 << 20) - chunk.offset for chunk in index)


GOOD = DeltaChunk(3, bytes(32), 0, 0, 10)


ORDER, STORED = "out of order, or no chunk of the image", "no stored bytes, or more than a chunk can need"
UNLISTED, BEYOND = "names a pack that the manifest does not list", "reaches beyond the end of its pack"
STORED_MAX = stored_size_max(CHUNK) + 5 * (1 + 2 * DICTIONARY_SIZE_MAX // BLOCK)
"""A frame, and a recipe whose numbers all take five bytes."""


@pytest.mark.parametrize(
    ("chunks", "record", "problem"),
    [
        pytest.param([GOOD, GOOD], 1, ORDER, id="a chunk twice"),
        pytest.param([GOOD, replace(GOOD, number=2)], 1, ORDER, id="falling"),
        pytest.param([replace(GOOD, number=10)], 0, ORDER, id="no chunk of the image"),
        pytest.param([replace(GOOD, stored_size=0)], 0, STORED, id="nothing stored"),
        pytest.param([replace(GOOD, stored_size=STORED_MAX + 1)], 0, STORED, id="one byte more than a chunk can need"),
        pytest.param([replace(GOOD, stored_size=(1 << 32) - 1)], 0, STORED, id="more than a chunk can need"),
        pytest.param([GOOD, replace(GOOD, number=4, pack=1)], 1, UNLISTED, id="a pack that is not listed"),
        pytest.param([replace(GOOD, offset=91)], 0, BEYOND, id="beyond the end of its pack"),
        pytest.param([replace(GOOD, offset=(1 << 32) - 1)], 0, BEYOND, id="far beyond"),
    ],
)
def test_an_index_that_points_nowhere_is_malformed(chunks: list[DeltaChunk], record: int, problem: str) -> None:
    with pytest.raises(MalformedError) as caught:
        DeltaIndex(encode(chunks), artifact(), delta(100))
    assert (caught.value.document, caught.value.field, caught.value.problem) == ("delta index", f"record {record}", problem)


def test_records_may_reach_to_every_edge() -> None:
    first, last = replace(GOOD, number=0, stored_size=1), replace(GOOD, number=9, offset=90)
    assert list(DeltaIndex(encode([first, GOOD, last]), artifact(), delta(100))) == [first, GOOD, last]
    largest = replace(GOOD, stored_size=STORED_MAX)
    assert list(DeltaIndex(encode([largest]), artifact(), delta(STORED_MAX))) == [largest]


def test_an_image_that_ends_within_a_chunk_has_that_chunk_too() -> None:
    image = replace(artifact(), image=Blob(ANY, 3 * CHUNK + 1))
    assert list(DeltaIndex(encode([GOOD]), image, delta(100))) == [GOOD]
    with pytest.raises(MalformedError):
        DeltaIndex(encode([replace(GOOD, number=4)]), image, delta(100))


@pytest.mark.parametrize("size", [1, RECORD_SIZE - 1, RECORD_SIZE + 1])
def test_a_part_of_a_record_is_malformed(size: int) -> None:
    with pytest.raises(MalformedError) as caught:
        DeltaIndex((encode([GOOD]) * 2)[:size], artifact(), delta(100))
    assert (caught.value.document, caught.value.field) == ("delta index", "whole")
    assert caught.value.problem == f"no records of {RECORD_SIZE} bytes"


# --- The recipe ---


@st.composite
def some_ranges(draw: st.DrawFn) -> list[BlockRange]:
    ranges, end = [], -1
    for gap, count in draw(st.lists(st.tuples(st.integers(1, 1 << 20), st.integers(1, 20)), max_size=12)):
        ranges.append(BlockRange(end + gap, count))
        end += gap + count
    return ranges


@given(some_ranges(), st.binary(max_size=100))
def test_a_recipe_is_read_as_it_was_written(ranges: list[BlockRange], frame: bytes) -> None:
    assert decode_recipe(encode_recipe(ranges) + frame, 0, HUGE_SIZE // BLOCK) == (ranges, frame)


@attack(
    By.SIGNER,
    On.SERVICE,
    "a delta that copies from outside its base",
    "ranges are bounded by the base and by the dictionary's limit",
)
@given(st.binary(max_size=60), st.integers(0, 1000))
def test_arbitrary_bytes_are_a_recipe_inside_the_base_or_malformed(stored: bytes, base_blocks: int) -> None:
    try:
        ranges, rest = decode_recipe(stored, 0, base_blocks)
    except MalformedError:
        return
    assert encode_recipe(ranges) + rest == stored
    assert all(each.first + each.count <= base_blocks for each in ranges)
    assert sum(each.count for each in ranges) * BLOCK <= DICTIONARY_SIZE_MAX


EARLY, MANY = "it ends too early", "more ranges than a dictionary has blocks"
EMPTY, OUTSIDE = "an empty range, or two that touch each other", "a range outside the base, or too large a dictionary"
LONG, LARGE = "a number that is longer than it needs to be", "a number that is too large"


@pytest.mark.parametrize(
    ("recipe", "problem"),
    [
        pytest.param(b"", EARLY, id="nothing"),
        pytest.param(b"\x01\x00", EARLY, id="cut off"),
        pytest.param(b"\x01\x00\x81", EARLY, id="cut off in a number"),
        pytest.param(b"\x01\x00\x00", EMPTY, id="an empty range"),
        pytest.param(b"\x02\x00\x01\x00\x01", EMPTY, id="two that touch"),
        pytest.param(encode_recipe([BlockRange(99, 2)]), OUTSIDE, id="reaches out of the base"),
        pytest.param(encode_recipe([BlockRange(1 << 34, 1)]), OUTSIDE, id="far outside the base"),
        pytest.param(encode_recipe([BlockRange(0, 257)]), OUTSIDE, id="larger than a dictionary"),
        pytest.param(b"\x81\x00\x00\x01", LONG, id="a number longer than it needs to be"),
        pytest.param(b"\xff\xff\xff\xff\xff\x01", LARGE, id="a number too large"),
        pytest.param(b"\x81\x02" + b"\x01\x01" * 257, MANY, id="more ranges than blocks"),
    ],
)
def test_a_recipe_that_asks_for_too_much_is_malformed(recipe: bytes, problem: str) -> None:
    with pytest.raises(MalformedError) as caught:
        decode_recipe(recipe, 7, BASE_BLOCKS)
    assert (caught.value.document, caught.value.field, caught.value.problem) == ("delta", "chunk 7", problem)


def test_together_ranges_may_be_no_larger_than_a_dictionary() -> None:
    halves = [BlockRange(0, 128), BlockRange(200, 128)]
    assert decode_recipe(encode_recipe(halves), 0, 1000) == (halves, b"")
    with pytest.raises(MalformedError):
        decode_recipe(encode_recipe([halves[0], BlockRange(200, 129)]), 0, 1000)


def test_ranges_may_reach_to_every_edge() -> None:
    whole = [BlockRange(0, BASE_BLOCKS)]
    assert decode_recipe(encode_recipe(whole), 0, BASE_BLOCKS) == (whole, b"")
    singles = [BlockRange(number * 2, 1) for number in range(256)]
    assert decode_recipe(encode_recipe(singles) + b"frame", 0, 511) == (singles, b"frame")
    far = [BlockRange((1 << 35) - 1, 1)]
    assert decode_recipe(encode_recipe(far), 0, 1 << 35) == (far, b"")


@pytest.mark.parametrize(("number", "raw"), [(127, b"\x7f"), (128, b"\x80\x01"), (300, b"\xac\x02"), (16_384, b"\x80\x80\x01")])
def test_numbers_of_a_recipe_are_written_as_leb128(number: int, raw: bytes) -> None:
    assert encode_recipe([BlockRange(number, 1)]) == b"\x01" + raw + b"\x01"
    assert decode_recipe(b"\x01" + raw + b"\x01", 0, HUGE_SIZE) == ([BlockRange(number, 1)], b"")


def test_a_dictionary_may_be_as_large_as_the_limit() -> None:
    ranges = [BlockRange(3, 256)]
    assert decode_recipe(encode_recipe(ranges), 0, 1000) == (ranges, b"")


# --- Rebuilding ---


def stored_for(raw: bytes, ranges: list[BlockRange]) -> bytes:
    dictionary = b"".join(BASE[each.first * BLOCK : (each.first + each.count) * BLOCK] for each in ranges)
    known = zstandard.ZstdCompressionDict(dictionary, dict_type=zstandard.DICT_TYPE_RAWCONTENT) if dictionary else None
    return encode_recipe(ranges) + zstandard.ZstdCompressor(level=3, dict_data=known, write_dict_id=False).compress(raw)


def indexed(raw: bytes, number: int = 0) -> IndexedChunk:
    return IndexedChunk(number, len(raw), hashlib.sha256(raw).digest(), bytes(32), 0, 0, 1)


def deltas_of(*stored: bytes) -> DeltaIndex:
    """Return an index in which chunk 0, 1 and so on have these stored bytes, one after the other in one pack."""
    chunks, offset = [], 0
    for number, each in enumerate(stored):
        chunks.append(DeltaChunk(number, hashlib.sha256(each).digest(), 0, offset, len(each)))
        offset += len(each)
    return DeltaIndex(encode(chunks), artifact(), delta(max(1, offset)))


SHUFFLED = BASE[9 * BLOCK : 12 * BLOCK] + b"new" * 100 + BASE[2 * BLOCK : 3 * BLOCK]
SHUFFLED_FROM = [BlockRange(2, 1), BlockRange(9, 3)]


def test_a_chunk_is_rebuilt_from_blocks_that_moved_and_from_what_is_new() -> None:
    stored = stored_for(SHUFFLED, SHUFFLED_FROM)
    assert len(stored) < 100
    assert rebuild_chunk(indexed(SHUFFLED), deltas_of(stored), Bytes(stored), Bytes(BASE)) == SHUFFLED


def test_a_chunk_that_is_not_listed_stands_in_the_base_at_its_place() -> None:
    whole = BASE + bytes(2 * CHUNK)
    second = whole[CHUNK : 2 * CHUNK]
    assert rebuild_chunk(indexed(second, 1), deltas_of(), Bytes(b""), Bytes(whole)) == second
    assert is_unchanged(indexed(second, 1), deltas_of(), Bytes(whole))
    assert not is_unchanged(indexed(second, 1), deltas_of(), Bytes(bytes(len(whole))))
    assert rebuild_chunk(indexed(second, 1), deltas_of(), Bytes(b""), Bytes(BASE[:CHUNK])) is None


def test_a_chunk_that_is_listed_is_not_unchanged_even_where_it_stands_in_its_place() -> None:
    raw = BASE[:CHUNK]
    assert is_unchanged(indexed(raw), deltas_of(), Bytes(BASE))
    assert not is_unchanged(indexed(raw), deltas_of(b"anything"), Bytes(BASE))


def test_signed_bytes_that_are_no_recipe_are_told_by_their_chunk() -> None:
    signed = deltas_of(b"first", b"\x01\x00\x00")
    with pytest.raises(MalformedError) as caught:
        rebuild_chunk(indexed(b"x", 1), signed, Bytes(b"first\x01\x00\x00"), Bytes(BASE))
    assert caught.value.field == "chunk 1"


def test_a_dictionary_is_raw_contents_whatever_it_begins_with() -> None:
    assert raw_dictionary(b"") is None
    # What begins so is a dictionary with tables of its own to a library that looks.
    base = b"\x37\xa4\x30\xec" + BASE[4:]
    raw = base[: 2 * BLOCK]
    known = zstandard.ZstdCompressionDict(raw, dict_type=zstandard.DICT_TYPE_RAWCONTENT)
    frame = zstandard.ZstdCompressor(level=3, dict_data=known, write_dict_id=False).compress(raw)
    stored = encode_recipe([BlockRange(0, 2)]) + frame
    assert rebuild_chunk(indexed(raw), deltas_of(stored), Bytes(stored), Bytes(base)) == raw


@attack(By.OWNER, On.SLOT, "the running system was changed under a delta", "what comes out is compared with the signed index")
@given(st.integers(0, len(BASE) - 1), st.integers(1, 255))
def test_a_base_that_changed_gives_the_right_bytes_or_none(position: int, flip: int) -> None:
    stored = stored_for(SHUFFLED, SHUFFLED_FROM)
    changed = bytearray(BASE)
    changed[position] ^= flip
    rebuilt = rebuild_chunk(indexed(SHUFFLED), deltas_of(stored), Bytes(stored), Bytes(bytes(changed)))
    is_used = any(each.first * BLOCK <= position < (each.first + each.count) * BLOCK for each in SHUFFLED_FROM)
    assert rebuilt in ({None, SHUFFLED} if is_used else {SHUFFLED})


def test_a_base_that_cannot_be_read_gives_none() -> None:
    stored = stored_for(SHUFFLED, SHUFFLED_FROM)
    assert rebuild_chunk(indexed(SHUFFLED), deltas_of(stored), Bytes(stored), Bytes(BASE[: 10 * BLOCK])) is None


@given(st.data())
def test_any_other_stored_byte_is_rejected_before_it_is_looked_at(data: st.DataObject) -> None:
    stored = bytearray(stored_for(SHUFFLED, SHUFFLED_FROM))
    signed = deltas_of(bytes(stored))
    stored[data.draw(st.integers(0, len(stored) - 1))] ^= data.draw(st.integers(1, 255))
    with pytest.raises(StoredBytesDifferError):
        rebuild_chunk(indexed(SHUFFLED), signed, Bytes(bytes(stored)), Bytes(BASE))


@given(st.binary(min_size=1, max_size=300))
def test_arbitrary_signed_bytes_are_rejected_or_give_none(stored: bytes) -> None:
    try:
        assert rebuild_chunk(indexed(b"something else"), deltas_of(stored), Bytes(stored), Bytes(BASE)) is None
    except RejectedError:
        return


def test_a_frame_that_announces_another_size_is_rejected_before_it_takes_memory() -> None:
    bomb = encode_recipe([]) + zstandard.ZstdCompressor(level=1).compress(bytes(64 << 20))
    with pytest.raises(FrameBrokenError) as caught:
        rebuild_chunk(indexed(bytes(CHUNK)), deltas_of(bomb), Bytes(bomb), Bytes(BASE))
    assert caught.value.chunk == 0


def test_more_than_one_frame_gives_none() -> None:
    twice = stored_for(SHUFFLED, SHUFFLED_FROM) + zstandard.ZstdCompressor().compress(b"more")
    assert rebuild_chunk(indexed(SHUFFLED), deltas_of(twice), Bytes(twice), Bytes(BASE)) is None
