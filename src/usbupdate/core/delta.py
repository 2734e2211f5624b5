"""Deltas: the chunks of an image as far as they differ from one base image, which the device runs.

A delta index lists the chunks that differ, in rising order; a chunk that it does not list stands in the base at the same place.
The stored bytes of a listed chunk are a recipe and a zstd frame. The recipe says which blocks of the base make up the
dictionary that the frame needs. A base that is not what it was only means that a chunk has to come from somewhere else.

Source: design, section 4, "Deltas"; docs/format.md, section 6.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from usbupdate.core.chunks import read_stored, unpack_here
from usbupdate.core.index import stored_size_max
from usbupdate.core.unpack import Failed
from usbupdate.errors import FrameBrokenError, MalformedError, SlotReadError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from usbupdate.core.chunks import PackReader
    from usbupdate.core.index import IndexedChunk
    from usbupdate.core.manifest import Artifact, Delta
    from usbupdate.core.unpack import Unpack

BLOCK: Final = 4096
"""The unit of ranges of the base, in bytes."""

DICTIONARY_SIZE_MAX: Final = 1 << 20
_BLOCKS_MAX: Final = DICTIONARY_SIZE_MAX // BLOCK
_RECORD: Final = struct.Struct(">I32sIII")
RECORD_SIZE: Final = _RECORD.size
_VARINT_BYTES_MAX: Final = 5
RECIPE_SIZE_MAX: Final = _VARINT_BYTES_MAX * (1 + 2 * _BLOCKS_MAX)
_MORE: Final = 0x80


class BaseReader(Protocol):
    """Reads the slot that the device runs; what it says proves nothing."""

    def read_at(self, offset: int, size: int) -> bytes:
        """Return exactly `size` bytes from `offset`; raises `SlotReadError`."""


@dataclass(frozen=True, slots=True)
class BlockRange:
    """Blocks of the base, `BLOCK` bytes each: `count` of them from the `first` on."""

    first: int
    count: int


@dataclass(frozen=True, slots=True)
class DeltaChunk:
    """One record of a delta index; sizes and offsets in bytes, the digest raw."""

    number: int
    stored_digest: bytes
    pack: int
    offset: int
    stored_size: int


def encode(chunks: Iterable[DeltaChunk]) -> bytes:
    """Return the delta index of chunks that stand in rising order."""
    return b"".join(
        _RECORD.pack(chunk.number, chunk.stored_digest, chunk.pack, chunk.offset, chunk.stored_size) for chunk in chunks
    )


class DeltaIndex:
    """A verified delta index; every record has been checked against the manifest's sizes."""

    def __init__(self, raw: bytes, artifact: Artifact, delta: Delta) -> None:
        """Take `raw`, whose digest the caller has compared with `delta.index`.

        Raises:
            MalformedError: records out of order, of chunks that the image does not have, or that point outside their packs.

        Source: docs/format.md, section 6.
        """
        if len(raw) % RECORD_SIZE:
            raise MalformedError(document="delta index", field="whole", problem=f"no records of {RECORD_SIZE} bytes")
        self._raw = raw
        self._delta = delta
        self._chunk_size = artifact.chunk_size
        self._places: dict[int, int] = {}
        count = -(-artifact.image.size // artifact.chunk_size)
        before = -1
        for place in range(len(raw) // RECORD_SIZE):
            chunk = self._at(place)
            if not before < chunk.number < count:
                raise _broken(place, "out of order, or no chunk of the image")
            self._require_inside(place, chunk)
            before = chunk.number
            self._places[chunk.number] = place

    def __iter__(self) -> Iterator[DeltaChunk]:
        return (self._at(place) for place in self._places.values())

    @property
    def base_size(self) -> int:
        """How many bytes the base image had when the delta was made."""
        return self._delta.base_size

    def start_of(self, number: int) -> int:
        """Return where a chunk begins, in the image as in the base."""
        return number * self._chunk_size

    def get(self, number: int) -> DeltaChunk | None:
        """Return the record of a chunk, or None for one that stands in the base at the same place."""
        place = self._places.get(number)
        return None if place is None else self._at(place)

    def _at(self, place: int) -> DeltaChunk:
        return DeltaChunk(*_RECORD.unpack_from(self._raw, place * RECORD_SIZE))

    def _require_inside(self, place: int, chunk: DeltaChunk) -> None:
        if not 1 <= chunk.stored_size <= stored_size_max(self._chunk_size) + RECIPE_SIZE_MAX:
            raise _broken(place, "no stored bytes, or more than a chunk can need")
        if chunk.pack >= len(self._delta.packs):
            raise _broken(place, "names a pack that the manifest does not list")
        if chunk.offset + chunk.stored_size > self._delta.packs[chunk.pack].size:
            raise _broken(place, "reaches beyond the end of its pack")


def rebuild_chunk(
    chunk: IndexedChunk, deltas: DeltaIndex, packs: PackReader, base: BaseReader, unpack: Unpack = unpack_here
) -> bytes | None:
    """Return one chunk's raw bytes rebuilt from the base, or None where this base does not give them.

    The caller may write them to a slot without another check: they are proven to be those that the signed index names.

    Args:
        chunk: an entry of an index that was verified against its manifest; no chunk of zeros.
        deltas: verified against the same manifest.
        packs: the packs that `deltas` counts.
        base: what the device runs. It may have changed since the delta was made, or fail to be read.
        unpack: takes the frame apart; what it returns is proven here.

    Raises:
        RejectedError: the stick holds something else than was signed, or what was signed is no delta.
        MediumError: the stick could not be read, which proves nothing about its contents.
    """
    record = deltas.get(chunk.number)
    if record is None:
        return _or_none(chunk, lambda: _in_place(chunk, deltas, base))
    # 1. The bytes that were signed: neither a decoder nor a decompressor sees anything else.
    stored = read_stored(record, packs)
    return _or_none(chunk, lambda: _from_dictionary(chunk, stored, deltas, base, unpack))


def is_unchanged(chunk: IndexedChunk, deltas: DeltaIndex, base: BaseReader) -> bool:
    """Tell whether a chunk that a delta does not list stands in a base at its place."""
    return deltas.get(chunk.number) is None and _or_none(chunk, lambda: _in_place(chunk, deltas, base)) is not None


def _in_place(chunk: IndexedChunk, deltas: DeltaIndex, base: BaseReader) -> bytes:
    return base.read_at(deltas.start_of(chunk.number), chunk.size)


def _or_none(chunk: IndexedChunk, obtain: Callable[[], bytes]) -> bytes | None:
    """Return what is obtained from a base, if it is what the signed index names; that is the only thing that tells."""
    try:
        raw = obtain()
    except SlotReadError:
        return None
    return raw if hashlib.sha256(raw).digest() == chunk.digest else None


def _from_dictionary(chunk: IndexedChunk, stored: bytes, deltas: DeltaIndex, base: BaseReader, unpack: Unpack) -> bytes:
    # 2. No byte from outside the base, and a bounded dictionary.
    ranges, frame = decode_recipe(stored, chunk.number, deltas.base_size // BLOCK)
    dictionary = b"".join(base.read_at(each.first * BLOCK, each.count * BLOCK) for each in ranges)

    # 3. Size and window before memory, as for any frame.
    unpacked = unpack(frame, chunk.size, dictionary)
    if isinstance(unpacked, bytes):
        return unpacked
    if unpacked is Failed.UNFIT:
        raise FrameBrokenError(chunk=chunk.number)
    # The dictionary is not signed: another one makes nonsense of a good frame. What comes out is compared in any case.
    return b""


# --- Recipes ---------------------------------------------------------------------------------------------------------


def encode_recipe(ranges: Sequence[BlockRange]) -> bytes:
    """Return the recipe of a dictionary whose ranges rise and do not touch each other."""
    parts = [_varint(len(ranges))]
    end = 0
    for each in ranges:
        parts += [_varint(each.first - end), _varint(each.count)]
        end = each.first + each.count
    return b"".join(parts)


def decode_recipe(stored: bytes, chunk: int, base_blocks: int) -> tuple[list[BlockRange], bytes]:
    """Return the ranges of a dictionary and the frame that follows them.

    Raises:
        MalformedError: a range reaches out of the base, the dictionary would be too large, or it is written in another way than
            `encode_recipe` writes it.
    """
    numbers = _Varints(stored, chunk)
    count = numbers.take()
    if count > _BLOCKS_MAX:
        raise _broken_recipe(chunk, "more ranges than a dictionary has blocks")
    ranges: list[BlockRange] = []
    end, total = 0, 0
    for place in range(count):
        gap, length = numbers.take(), numbers.take()
        if length == 0 or (gap == 0 and place > 0):
            raise _broken_recipe(chunk, "an empty range, or two that touch each other")
        ranges.append(BlockRange(end + gap, length))
        end += gap + length
        total += length
        if end > base_blocks or total > _BLOCKS_MAX:
            raise _broken_recipe(chunk, "a range outside the base, or too large a dictionary")
    return ranges, numbers.rest()


class _Varints:
    """Reads unsigned LEB128 numbers in their shortest form from the front of some bytes."""

    def __init__(self, stored: bytes, chunk: int) -> None:
        self._stored = stored
        self._chunk = chunk
        self._position = 0

    def take(self) -> int:
        """Return the next number."""
        value = 0
        for shift in range(0, 7 * _VARINT_BYTES_MAX, 7):
            if self._position >= len(self._stored):
                raise _broken_recipe(self._chunk, "it ends too early")
            byte = self._stored[self._position]
            self._position += 1
            value |= (byte & ~_MORE) << shift
            if byte < _MORE:
                if byte == 0 and shift:
                    raise _broken_recipe(self._chunk, "a number that is longer than it needs to be")
                return value
        raise _broken_recipe(self._chunk, "a number that is too large")

    def rest(self) -> bytes:
        """Return what follows."""
        return self._stored[self._position :]


def _varint(value: int) -> bytes:
    parts = bytearray()
    while value >= _MORE:
        parts.append(value & ~_MORE & 0xFF | _MORE)
        value >>= 7
    parts.append(value)
    return bytes(parts)


def _broken(place: int, problem: str) -> MalformedError:
    return MalformedError(document="delta index", field=f"record {place}", problem=problem)


def _broken_recipe(chunk: int, problem: str) -> MalformedError:
    return MalformedError(document="delta", field=f"chunk {chunk}", problem=problem)
