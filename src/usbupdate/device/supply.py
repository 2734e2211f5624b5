"""Where the chunks of a release come from: from a stick, as they are or as what differs from what the device runs.

A delta is only ever a shorter way: what this device cannot rebuild comes from the whole frames, chunk by chunk. A stick that
has no whole frames says so before anything is changed, where that can be known.

Source: design, section 4, "Deltas" and "Install, per chunk".
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from usbupdate.core.chunks import read_stored, restore_chunk, unpack_here
from usbupdate.core.delta import is_unchanged, rebuild_chunk
from usbupdate.core.layout import payload_path
from usbupdate.core.payload import holds_deltas_only, read_delta_index, read_index, require_signed_size
from usbupdate.errors import BaseChangedError, DeltaOnlyError, MediumFileMissingError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from usbupdate.core.delta import BaseReader, DeltaIndex
    from usbupdate.core.index import Index, IndexedChunk
    from usbupdate.core.layout import MediumReader
    from usbupdate.core.manifest import Artifact, Blob, Delta, Manifest
    from usbupdate.core.unpack import Unpack
    from usbupdate.core.words import SlotClass

_PROBES: Final = 8
"""Chunks by which a base that is not known by name is told: whether it truly is the base is seen at each chunk."""


class Way(Enum):
    """How a chunk was obtained."""

    EQUAL = auto()
    ZERO = auto()
    DELTA = auto()
    FULL = auto()


@dataclass(frozen=True, slots=True)
class Base:
    """What the device runs of one slot class, and the delta that was made for it."""

    delta: Delta
    image: BaseReader


NO_BASES: Final[Mapping[SlotClass, Base]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Supplied:
    """The proven bytes of a chunk, how they were obtained, and how many bytes were read from the stick for them."""

    contents: bytes
    way: Way
    read: int


class Supply:
    """The chunks of one artifact from one stick; its indexes are proven once, here, and kept as they were then."""

    def __init__(self, artifact: Artifact, medium: MediumReader, base: Base | None, unpack: Unpack) -> None:
        """Read what tells where everything is.

        Raises:
            RejectedError: the stick lacks an index, or holds something else.
            MediumError: the stick could not be read.
        """
        self.index: Index = read_index(artifact, medium)
        self.read = artifact.index.size
        self._packs = _Packs(artifact.packs, medium)
        self._base = base
        self._unpack = unpack
        self._deltas: DeltaIndex | None = None
        if base is not None:
            self._deltas = read_delta_index(artifact, base.delta, medium)
            self._delta_packs = _Packs(base.delta.packs, medium)
            self.read += base.delta.index.size

    def chunk(self, chunk: IndexedChunk) -> Supplied:
        """Return the bytes of a chunk, which the caller may write without another check.

        Raises:
            BaseChangedError: only a delta for it is there, and the device runs something else than that was made for.
            RejectedError: the stick holds something else than was signed.
            MediumError: the stick could not be read.
        """
        if chunk.is_zero:
            return Supplied(restore_chunk(chunk, self._packs, self._unpack), Way.ZERO, 0)
        read = 0
        if self._base is not None and self._deltas is not None:
            rebuilt = rebuild_chunk(chunk, self._deltas, self._delta_packs, self._base.image, self._unpack)
            record = self._deltas.get(chunk.number)
            read = 0 if record is None else record.stored_size
            if rebuilt is not None:
                return Supplied(rebuilt, Way.DELTA, read)
        try:
            return Supplied(restore_chunk(chunk, self._packs, self._unpack), Way.FULL, read + chunk.stored_size)
        except MediumFileMissingError as error:
            if self._base is None:
                raise
            raise BaseChangedError(chunk=chunk.number) from error

    def prove(self, chunk: IndexedChunk) -> None:
        """Prove the stored bytes that are needed for a chunk, without decompressing them.

        Raises: as `chunk`; but whether the device still runs what a delta was made for is not asked.
        """
        if self._deltas is not None:
            if record := self._deltas.get(chunk.number):
                read_stored(record, self._delta_packs)
        elif not chunk.is_zero:
            read_stored(chunk, self._packs)


def open_supplies(
    manifest: Manifest,
    medium: MediumReader,
    bases: Mapping[SlotClass, Base] = NO_BASES,
    unpack: Unpack = unpack_here,
) -> list[tuple[Artifact, Supply]]:
    """Prove every index that a release needs, and that its packs are there and as large as was signed.

    Raises:
        DeltaOnlyError: the stick holds nothing but deltas, and none for what this device runs.
        RejectedError: the stick lacks something or holds something else.
        MediumError: the stick could not be read.
    """
    supplies = []
    for artifact in manifest.artifacts:
        base = bases.get(artifact.slot_class)
        supplies.append((artifact, Supply(artifact, medium, base, unpack)))
        if base is not None:
            for pack in base.delta.packs:
                require_signed_size(medium, pack)
        if not holds_deltas_only(artifact, medium):
            for pack in artifact.packs:
                require_signed_size(medium, pack)
        elif base is None:
            raise DeltaOnlyError(slot_class=artifact.slot_class)
    return supplies


def base_among(artifact: Artifact, medium: MediumReader, running: Blob | None, image: BaseReader) -> Base | None:
    """Return the delta that was made for what the device runs, or None if there is none.

    Args:
        artifact: of a verified manifest.
        medium: the stick.
        running: the image that the device runs, as far as it knows: a device does not know the one that it was made with.
        image: reads it.

    Raises:
        RejectedError: the stick lacks the index of a delta, or holds something else.
        MediumError: the stick could not be read.
    """
    if running is not None:
        known = next((delta for delta in artifact.deltas if delta.base_sha256 == running.sha256), None)
        return None if known is None else Base(known, image)
    for delta in artifact.deltas:
        if _looks_like_base(artifact, delta, medium, image):
            return Base(delta, image)
    return None


def _looks_like_base(artifact: Artifact, delta: Delta, medium: MediumReader, image: BaseReader) -> bool:
    index, deltas = read_index(artifact, medium), read_delta_index(artifact, delta, medium)
    same = [chunk.number for chunk in index if not chunk.is_zero and deltas.get(chunk.number) is None]
    # Spread over the image: releases begin alike.
    probes = same[:: max(1, len(same) // _PROBES)]
    return bool(probes) and all(is_unchanged(index[number], deltas, image) for number in probes)


@dataclass(frozen=True, slots=True)
class _Packs:
    """The packs of one artifact, or of a delta, on a stick; implements `core.chunks.PackReader`."""

    packs: Sequence[Blob]
    medium: MediumReader

    def read(self, pack: int, offset: int, size: int) -> bytes:
        """Return exactly `size` bytes of a pack from `offset`."""
        return self.medium.read_at(payload_path(self.packs[pack].sha256), offset, size)
