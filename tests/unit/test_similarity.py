"""What is found of a base image for a chunk of a new one."""

from __future__ import annotations

import mmap
import random
import struct

import pytest

from usbupdate.core.delta import BLOCK, DICTIONARY_SIZE_MAX, BlockRange
from usbupdate.packager.similarity import BaseBlocks, is_survey, survey

BLOCKS = 400


def noise(blocks: int, seed: int) -> bytes:
    return random.Random(seed).randbytes(blocks * BLOCK)  # noqa: S311 - contents for tests, the same each time


BASE = noise(BLOCKS, 1)


def mapped(contents: bytes) -> mmap.mmap:
    image = mmap.mmap(-1, len(contents))
    image.write(contents)
    return image


def base_of(contents: bytes) -> BaseBlocks:
    return BaseBlocks(survey(mapped(contents)))


@pytest.fixture(scope="module")
def base() -> BaseBlocks:
    return base_of(BASE)


def part(first: int, count: int) -> bytes:
    return BASE[first * BLOCK : (first + count) * BLOCK]


def blocks_of(ranges: list[BlockRange]) -> set[int]:
    found = [each.first + number for each in ranges for number in range(each.count)]
    assert found == sorted(set(found))
    assert all(0 <= block < BLOCKS for block in found)
    assert len(found) * BLOCK <= DICTIONARY_SIZE_MAX
    return set(found)


def test_blocks_that_moved_are_found_wherever_they_are(base: BaseBlocks) -> None:
    chunk = part(300, 5) + part(7, 3) + part(120, 56)
    assert base.dictionary_for(chunk, 200) == [BlockRange(7, 3), BlockRange(120, 56), BlockRange(300, 5)]


@pytest.mark.parametrize("shift", [1, 7, 8, 100, 4095])
def test_bytes_that_moved_by_no_whole_block_are_found(base: BaseBlocks, shift: int) -> None:
    chunk = BASE[50 * BLOCK + shift : 90 * BLOCK + shift]
    found = blocks_of(base.dictionary_for(chunk, 300))
    assert len(found & set(range(50, 91))) >= 38
    assert len(found) <= 44


def test_a_block_of_which_a_part_changed_is_found(base: BaseBlocks) -> None:
    changed = bytearray(part(33, 1))
    changed[1000:1400] = noise(1, 5)[:400]
    assert 33 in blocks_of(base.dictionary_for(bytes(changed) + noise(3, 6), 200))


def test_for_what_is_new_the_same_place_is_tried_and_no_more_read_than_may_be(base: BaseBlocks) -> None:
    assert blocks_of(base.dictionary_for(noise(64, 9), 10)) == set(range(10, 74))
    assert base.dictionary_for(noise(2, 9), BLOCKS + 5) == []


def test_zeros_need_nothing(base: BaseBlocks) -> None:
    assert base.dictionary_for(bytes(8 * BLOCK), 10) == []


def test_runs_are_kept_together_where_blocks_stand_in_several_places() -> None:
    twice = base_of(part(0, 4) + noise(4, 2) + part(0, 8))
    chunk = part(3, 5)
    assert twice.dictionary_for(chunk, 0) == [BlockRange(3, 1), BlockRange(12, 4)]
    assert twice.dictionary_for(part(0, 4), 0) == [BlockRange(0, 4)]


def test_a_large_chunk_stays_within_the_dictionary(base: BaseBlocks) -> None:
    ranges = base.dictionary_for(part(0, 300) + noise(212, 3), 0)
    assert len(blocks_of(ranges)) == DICTIONARY_SIZE_MAX // BLOCK


def test_a_base_of_less_than_a_block_offers_nothing() -> None:
    assert base_of(b"small").dictionary_for(noise(1, 1), 0) == []


def test_the_last_piece_of_a_block_counts(base: BaseBlocks) -> None:
    chunk = part(40, 1) + part(41, 1)[:100]
    assert 40 in blocks_of(base.dictionary_for(chunk, 200))


@pytest.mark.parametrize("size", [1, 100, BLOCK - 1])
def test_what_follows_the_last_whole_block_of_a_base_is_never_named(size: int) -> None:
    tail = noise(1, 17)[:size]
    longer = base_of(part(0, 4) + tail)
    chunk = noise(1, 18)[: BLOCK - size] + tail + part(3, 1)[:-7] + tail
    assert blocks_of(longer.dictionary_for(chunk, 200)) <= set(range(4))


def test_blocks_beyond_long_stretches_of_zeros_are_found_where_they_are() -> None:
    sparse = base_of(bytes(130 * BLOCK) + part(0, 30) + bytes(200 * BLOCK) + part(30, 30))
    assert sparse.dictionary_for(part(0, 60), 0) == [BlockRange(130, 30), BlockRange(360, 30)]
    assert blocks_of(sparse.dictionary_for(part(30, 20)[99:], 0)) >= set(range(360, 379))


@pytest.mark.parametrize("size", [1, BLOCK, 65 * BLOCK + 7, len(BASE)])
def test_a_survey_does_not_depend_on_the_number_of_threads(size: int) -> None:
    alone = survey(mapped(BASE[:size]))
    assert survey(mapped(BASE[:size]), 3) == alone
    assert is_survey(alone, size)


RIGHT = survey(mapped(BASE))
BLOCKS_END = 16 + 8 * BLOCKS
(WINDOWS,) = struct.unpack_from("<Q", RIGHT, 8)
PLACES = BLOCKS_END + 8 * WINDOWS
WRONG = {
    "nothing": b"",
    "no counts": RIGHT[:15],
    "cut short": RIGHT[:-1],
    "longer": RIGHT + b"!",
    "of a larger base": survey(mapped(BASE + part(0, 1))),
    "more windows than there are": struct.pack("<QQ", BLOCKS, WINDOWS + 1) + RIGHT[16:],
    "windows in disorder": RIGHT[:BLOCKS_END] + b"\xff" * 8 + RIGHT[BLOCKS_END + 8 :],
    "a window twice": RIGHT[: BLOCKS_END + 8] + RIGHT[BLOCKS_END : PLACES - 8] + RIGHT[PLACES : PLACES + 4] + RIGHT[PLACES:-4],
    "a place outside": RIGHT[:-4] + struct.pack("=I", BLOCKS),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_has_not_the_form_of_a_survey_is_none(what: str) -> None:
    assert is_survey(RIGHT, len(BASE))
    assert not is_survey(WRONG[what], len(BASE))
