"""Finds the blocks of a base image from which a chunk of a new image can be told in few words.

A block that stands in the base as it is costs almost nothing, wherever it stands. For the others those blocks of the base are
found that share the most short windows with them: of all windows of 24 bytes those count whose hash says so, the same ones
in both images wherever they lie, so that a shift by any number of bytes does not matter.

What a base has to offer is found by reading it once, and is a survey: bytes that can be kept for the next bundle.

Source: design, section 4, "Deltas". Needs numpy, which only the office has.
"""

from __future__ import annotations

import hashlib
import struct
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Final

import numpy as np

from usbupdate.core.delta import BLOCK, DICTIONARY_SIZE_MAX, BlockRange

if TYPE_CHECKING:
    import mmap
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from usbupdate.packager.framecache import FrameCache

_WORD: Final = 8
_WINDOW: Final = 3 * _WORD
_COUNTS: Final = np.uint64(128 - 1)
"""A window counts if its hash has none of these bits, one in 128: 32 a block, of which two that agree are no accident."""

_PIECE: Final = 1 << 18
"""What is worked on at a time, whole blocks: with all that is computed from it, it should stay in the processor's cache."""

_OCCURRENCES_MAX: Final = 8
"""A window that stands in more blocks than this says little about any of them."""

_VOTES_MIN: Final = 2
_CANDIDATES: Final = 2
"""A block that was shifted shares its windows with two blocks of the base."""

_READS_PERCENT: Final = 110
"""The most that may be read from the base for a chunk, in per cent of the chunk: the slot is slow on real boards."""

_ZEROS: Final = bytes(_PIECE + _WINDOW - 1)
_COUNTED: Final = struct.Struct("<QQ")
"""A survey begins with its number of blocks and of windows."""

_HASH_SIZE: Final = 8
_PLACE_SIZE: Final = 4

_NOWHERE: Final = -2
"""A place in the base that no block follows."""

_FACTORS: Final = tuple(np.uint64(each) for each in (0x9E3779B185EBCA87, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9))
_MIXER: Final = np.uint64(0xD6E8FEB86659FD93)
_HALF: Final = np.uint64(32)


def look_at(contents: mmap.mmap, key: bytes, cache: FrameCache, threads: int) -> BaseBlocks:
    """Return what a base image has to offer, as it was found now or earlier.

    Args:
        contents: the base, of which all is read once if it has to be.
        key: from `key_of`, over the base's digest.
        cache: may have its survey.
        threads: how many read at once.
    """
    return BaseBlocks(cache.frame(key, partial(is_survey, size=len(contents)), partial(survey, contents, threads)))


def survey(contents: mmap.mmap, threads: int = 1) -> bytes:
    """Return the survey of a base image, about 100 MB for 1 GiB; it does not depend on the number of threads."""
    count = len(contents) // BLOCK
    with ThreadPoolExecutor(threads, thread_name_prefix="survey") as pool:
        pieces = list(pool.map(partial(_survey_piece, contents, end=count * BLOCK), range(0, count * BLOCK, _PIECE)))
    hashes = np.concatenate([np.empty(0, np.uint64), *(each for each, _, _ in pieces)])
    windows = np.concatenate([np.empty(0, np.uint64), *(each for _, each, _ in pieces)])
    places = np.concatenate([np.empty(0, np.uint32), *(each for _, _, each in pieces)])
    # A window that a block has twice counts once.
    order = np.lexsort((places, windows))
    windows, places = windows[order], places[order]
    fresh = _rises(windows, places)
    windows, places = windows[fresh], places[fresh]
    return b"".join((_COUNTED.pack(count, len(windows)), hashes.tobytes(), windows.tobytes(), places.tobytes()))


def is_survey(raw: bytes, size: int) -> bool:
    """Tell whether some bytes have the form of the survey of a base of so many bytes: of which one, their key says."""
    if len(raw) < _COUNTED.size:
        return False
    count, found = _COUNTED.unpack_from(raw)
    if count != size // BLOCK or len(raw) != _COUNTED.size + count * _HASH_SIZE + found * (_HASH_SIZE + _PLACE_SIZE):
        return False
    _, windows, places = _parts(raw)
    return bool(np.all(places < count) and np.all(_rises(windows, places)))


class BaseBlocks:
    """What a base image has to offer, block by block.

    Args:
        found: its survey.
    """

    def __init__(self, found: bytes) -> None:
        self._hashes, self._windows, self._blocks = _parts(found)
        self.count = len(self._hashes)
        hashes = self._hashes.tolist()
        # The first of equal ones wins.
        self._first = dict(zip(reversed(hashes), range(self.count - 1, -1, -1), strict=True))
        self._first.pop(_short_hash(bytes(BLOCK)), None)

    def dictionary_for(self, chunk: bytes, first_block: int) -> list[BlockRange]:
        """Return the blocks that help to tell a chunk, as ranges that rise and do not touch.

        Args:
            chunk: its raw bytes.
            first_block: where it begins in the new image, in blocks; what stands there in the base is often its older self.
        """
        most = min(max(1, len(chunk) * _READS_PERCENT // 100 // BLOCK), DICTIONARY_SIZE_MAX // BLOCK)
        wanted: set[int] = set()
        unknown: list[int] = []
        before = _NOWHERE
        for place, start in enumerate(range(0, len(chunk), BLOCK)):
            found = self._exact(chunk[start : start + BLOCK], before + 1)
            if found is None:
                unknown.append(place)
            else:
                wanted.add(found)
            before = _NOWHERE if found is None else found
        for each in self._alike(chunk, unknown, first_block):
            if len(wanted) >= most:
                break
            wanted.add(each)
        return _ranges(sorted(wanted)[:most])

    def _exact(self, block: bytes, expected: int) -> int | None:
        """Return a block of the base that is equal, by preference the one that follows the last."""
        known = _short_hash(block)
        if 0 <= expected < self.count and self._hashes[expected] == known:
            return expected if known in self._first else None
        return self._first.get(known)

    def _alike(self, chunk: bytes, unknown: list[int], first_block: int) -> Iterator[int]:
        """Yield blocks of the base that are like the unknown ones, the most alike of each first."""
        if not unknown:
            return
        votes = self._votes(chunk, unknown)
        ranked = [sorted(votes.get(place, {}).items(), key=lambda each: (-each[1], each[0])) for place in unknown]
        for rank in range(_CANDIDATES):
            for place, found in zip(unknown, ranked, strict=True):
                good = [block for block, count in found if count >= _VOTES_MIN]
                if rank < len(good):
                    yield good[rank]
                elif rank == 0 and first_block + place < self.count and any(chunk[place * BLOCK : (place + 1) * BLOCK]):
                    yield first_block + place

    def _votes(self, chunk: bytes, unknown: list[int]) -> dict[int, dict[int, int]]:
        """Return for each unknown block how many of its windows each block of the base has."""
        windows, positions = _sampled(np.frombuffer(chunk, dtype=np.uint8))
        places = positions // BLOCK
        keep = np.isin(places, np.array(unknown))
        windows, places = windows[keep], places[keep]
        low = np.searchsorted(self._windows, windows, side="left")
        high = np.searchsorted(self._windows, windows, side="right")
        votes: dict[int, dict[int, int]] = {}
        for place, start, end in zip(places.tolist(), low.tolist(), high.tolist(), strict=True):
            if start < end <= start + _OCCURRENCES_MAX:
                counts = votes.setdefault(place, {})
                for block in self._blocks[start:end].tolist():
                    counts[block] = counts.get(block, 0) + 1
        return votes


def _ranges(blocks: list[int]) -> list[BlockRange]:
    ranges: list[BlockRange] = []
    for each in blocks:
        if ranges and ranges[-1].first + ranges[-1].count == each:
            ranges[-1] = BlockRange(ranges[-1].first, ranges[-1].count + 1)
        else:
            ranges.append(BlockRange(each, 1))
    return ranges


def _short_hash(block: bytes) -> int:
    """Return 64 bits of a hash: what they are used for is only a guess that is checked afterwards."""
    return int.from_bytes(hashlib.blake2b(block, digest_size=8).digest(), "little")


def _parts(found: bytes) -> tuple[NDArray[np.uint64], NDArray[np.uint64], NDArray[np.uint32]]:
    """Return of a survey the hash of each block, the windows that count, sorted, and the block in which each begins."""
    count, windows = _COUNTED.unpack_from(found)
    start = _COUNTED.size + count * _HASH_SIZE
    return (
        np.frombuffer(found, np.uint64, count, _COUNTED.size),
        np.frombuffer(found, np.uint64, windows, start),
        np.frombuffer(found, np.uint32, windows, start + windows * _HASH_SIZE),
    )


def _rises(windows: NDArray[np.uint64], places: NDArray[np.uint32]) -> NDArray[np.bool_]:
    """Tell of each window whether it and its place stand behind those before it."""
    rises = np.ones(len(windows), dtype=bool)
    rises[1:] = (windows[1:] > windows[:-1]) | ((windows[1:] == windows[:-1]) & (places[1:] > places[:-1]))
    return rises


def _survey_piece(
    contents: mmap.mmap, start: int, end: int
) -> tuple[NDArray[np.uint64], NDArray[np.uint64], NDArray[np.uint32]]:
    """Return the hashes of the blocks of one piece, and its windows that count in front of `end` with their blocks."""
    piece = contents[start : min(start + _PIECE + _WINDOW - 1, end)]
    blocks = range(0, min(_PIECE, end - start), BLOCK)
    if piece == _ZEROS[: len(piece)]:
        return np.full(len(blocks), _short_hash(bytes(BLOCK)), np.uint64), np.empty(0, np.uint64), np.empty(0, np.uint32)
    hashes = np.fromiter((_short_hash(piece[each : each + BLOCK]) for each in blocks), np.uint64, len(blocks))
    windows, positions = _sampled(np.frombuffer(piece, dtype=np.uint8))
    return hashes, windows, ((positions + start) // BLOCK).astype(np.uint32)


def _sampled(contents: NDArray[np.uint8]) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """Return the hashes of the windows that count, and where each begins."""
    hashes, positions = [], []
    for shift in range(_WORD):
        usable = (len(contents) - shift) // _WORD * _WORD
        if usable < _WINDOW:
            continue
        words = contents[shift : shift + usable].view(np.uint64)
        mixed = (words[:-2] * _FACTORS[0]) ^ (words[1:-1] * _FACTORS[1]) ^ (words[2:] * _FACTORS[2])
        mixed ^= mixed >> _HALF
        mixed *= _MIXER
        mixed ^= mixed >> _HALF
        # Windows of zeros are everywhere.
        chosen = np.flatnonzero(((mixed & _COUNTS) == 0) & (mixed != 0))
        hashes.append(mixed[chosen])
        positions.append(chosen * _WORD + shift)
    if not hashes:
        return np.empty(0, np.uint64), np.empty(0, np.int64)
    return np.concatenate(hashes), np.concatenate(positions)
