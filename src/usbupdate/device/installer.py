"""From a verified manifest to a slot that holds its images: only proven bytes are written, only those that are missing.

What is left to the caller: the manifest comes from verified targets metadata, the slot is condemned by the boot loader before
`install` is called, and the state that says so is saved.

Source: design, section 4, "Install, per chunk".
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING, Protocol, assert_never

from usbupdate.core.chunks import read_stored, restore_chunk
from usbupdate.core.fit import require_fits
from usbupdate.core.layout import payload_path
from usbupdate.core.payload import read_index, require_signed_size
from usbupdate.core.receipt import Traffic
from usbupdate.errors import ImageDiffersError, ReadBackError, SlotReadError, UsbupdateError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from usbupdate.core.index import Index, IndexedChunk
    from usbupdate.core.layout import MediumReader
    from usbupdate.core.manifest import Artifact, Blob, Manifest
    from usbupdate.core.words import SlotClass
    from usbupdate.device.ports import SlotImage


class Advance(Protocol):
    """Is told how far something is that takes its time."""

    def began(self, what: str) -> None:
        """Take notice that another kind of work begins, named by a verb such as "verifying"."""

    def advanced(self, done_bytes: int, total_bytes: int) -> None:
        """Take notice; called after each chunk, with a total that stays the same."""


class Progress(Advance, Protocol):
    """Is told how far an installation is."""

    def stopped(self, traffic: Traffic) -> None:
        """Take notice of what was moved by an installation that an error ends."""

    def first_write(self) -> None:
        """Take notice, once, that a chunk which the slot lacked was verified, written and made durable.

        An interrupted installation that gets here each time comes to its end, however often it is interrupted.
        """


def preflight(manifest: Manifest, medium: MediumReader) -> int:
    """Prove every index that a release needs, and that its packs are there and as large as was signed.

    Returns:
        How many bytes were read from the stick.

    Raises:
        RejectedError: the stick lacks something or holds something else.
        MediumError: the stick could not be read.
    """
    read = 0
    for artifact in manifest.artifacts:
        read_index(artifact, medium)
        read += artifact.index.size
        for pack in artifact.packs:
            require_signed_size(medium, pack)
    return read


def verify_lacking(
    manifest: Manifest,
    medium: MediumReader,
    images: Mapping[SlotClass, SlotImage],
    *,
    progress: Advance,
) -> None:
    """Prove the stored bytes of every chunk that a slot lacks, before anything is changed and without decompressing.

    So a damaged or dishonest stick leaves the other slot as it is (ADR 0006). `install` does not rely on it: a stick may give
    other bytes at the second reading.

    Raises:
        RejectedError: the stick lacks something or holds something else.
        MediumError: the stick could not be read.
    """
    progress.began("verifying")
    preflight(manifest, medium)
    done, total = 0, sum(artifact.image.size for artifact in manifest.artifacts)
    for artifact in manifest.artifacts:
        index, packs, image = read_index(artifact, medium), _Packs(artifact.packs, medium), images[artifact.slot_class]
        for chunk in index:
            if not chunk.is_zero and not _is_held(image, artifact, chunk):
                read_stored(chunk, packs)
            done += chunk.size
            progress.advanced(done, total)


def install(
    manifest: Manifest,
    medium: MediumReader,
    images: Mapping[SlotClass, SlotImage],
    *,
    progress: Progress,
) -> Traffic:
    """Make a slot hold a release, and prove that it does by reading everything back.

    No byte is written that was not proven against the manifest just before. Bytes of a block device beyond its image are left
    alone. It may be called again after any error or cut, with the same stick or another: what the slot already holds is kept.

    Args:
        manifest: from verified targets metadata.
        medium: the stick.
        images: one block device, open, for each slot class of the device.
        progress: is told; its `total_bytes` counts each image twice, once for writing and once for reading back.

    Returns:
        What was moved.

    Raises:
        RefusedError: the release does not fit into the slot; nothing was written.
        RejectedError: the stick lacks something or holds something else; nothing of that was written.
        MediumError: the stick could not be read.
        SlotError: the slot could not be written, or did not keep what was written.
    """
    # 1. Everything that can be known beforehand, so that a stick or a slot which cannot do changes nothing.
    require_fits(manifest, {slot_class: image.size for slot_class, image in images.items()})
    progress.began("installing")
    tally = _Tally(progress, total=2 * sum(artifact.image.size for artifact in manifest.artifacts))
    try:
        _install(manifest, medium, images, tally)
    except UsbupdateError:
        progress.stopped(tally.traffic())
        raise
    return tally.traffic()


def _install(manifest: Manifest, medium: MediumReader, images: Mapping[SlotClass, SlotImage], tally: _Tally) -> None:
    tally.read(preflight(manifest, medium))

    for artifact in manifest.artifacts:
        image = images[artifact.slot_class]
        # 2. One index at a time, proven anew: it is kept as one `bytes` from here on.
        index = read_index(artifact, medium)
        tally.read(artifact.index.size)

        # 3. What the slot lacks.
        for settled in _settle_all(artifact, index, _Packs(artifact.packs, medium), image):
            if settled.contents is not None:
                image.write_at(settled.chunk.number * artifact.chunk_size, settled.contents)
                if not tally.written:
                    image.sync()
                    tally.first_write()
            tally.settled(settled.chunk, settled.way)

        # 4. What the device kept, not what memory remembers.
        image.sync()
        image.drop_cache()
        _require_kept(artifact, index, image, tally)


class _Way(Enum):
    """How a chunk was obtained."""

    EQUAL = auto()
    ZERO = auto()
    FULL = auto()


@dataclass(frozen=True, slots=True)
class _Settled:
    """A chunk, and the bytes to write if the slot lacks it."""

    chunk: IndexedChunk
    way: _Way
    contents: bytes | None


def _settle_all(artifact: Artifact, index: Index, packs: _Packs, image: SlotImage) -> Iterator[_Settled]:
    """Yield every chunk in order, proven; chunks do not depend on each other and never wait for a write."""
    return (_settle(artifact, chunk, packs, image) for chunk in index)


def _settle(artifact: Artifact, chunk: IndexedChunk, packs: _Packs, image: SlotImage) -> _Settled:
    if _is_held(image, artifact, chunk):
        return _Settled(chunk, _Way.EQUAL, None)
    return _Settled(chunk, _Way.ZERO if chunk.is_zero else _Way.FULL, restore_chunk(chunk, packs))


def _is_held(image: SlotImage, artifact: Artifact, chunk: IndexedChunk) -> bool:
    try:
        held = image.read_at(chunk.number * artifact.chunk_size, chunk.size)
    except SlotReadError:
        # Writing a sector that has become unreadable often mends it; reading back has the last word.
        return False
    return hashlib.sha256(held).digest() == chunk.digest


def _require_kept(artifact: Artifact, index: Index, image: SlotImage, tally: _Tally) -> None:
    whole = hashlib.sha256()
    for chunk in index:
        held = image.read_at(chunk.number * artifact.chunk_size, chunk.size)
        if hashlib.sha256(held).digest() != chunk.digest:
            raise ReadBackError(slot_class=artifact.slot_class, chunk=chunk.number)
        whole.update(held)
        tally.read_back(chunk)
    # The packager can err too: receipts name the image by this digest, so the signed index must add up to it.
    if whole.hexdigest() != artifact.image.sha256:
        raise ImageDiffersError(slot_class=artifact.slot_class)


@dataclass(frozen=True, slots=True)
class _Packs:
    """The packs of one artifact on a stick; implements `core.chunks.PackReader`."""

    packs: Sequence[Blob]
    medium: MediumReader

    def read(self, pack: int, offset: int, size: int) -> bytes:
        """Return exactly `size` bytes of a pack from `offset`."""
        return self.medium.read_at(payload_path(self.packs[pack].sha256), offset, size)


class _Tally:
    """What one installation has moved so far."""

    def __init__(self, progress: Progress, *, total: int) -> None:
        self._progress = progress
        self._total = total
        self._done = 0
        self._read = 0
        self.written = 0
        self._skipped = 0
        self._chunks = dict.fromkeys(_Way, 0)

    def first_write(self) -> None:
        """Say that a chunk which the slot lacked is durable."""
        self._progress.first_write()

    def read(self, size: int) -> None:
        """Count bytes from the stick."""
        self._read += size

    def settled(self, chunk: IndexedChunk, way: _Way) -> None:
        """Count a chunk that the slot now holds."""
        self._chunks[way] += 1
        match way:
            case _Way.EQUAL:
                self._skipped += chunk.size
            case _Way.ZERO:
                self.written += chunk.size
            case _Way.FULL:
                self.written += chunk.size
                self._read += chunk.stored_size
            case _:
                assert_never(way)
        self._advance(chunk.size)

    def read_back(self, chunk: IndexedChunk) -> None:
        """Count a chunk that was read back and compared."""
        self._advance(chunk.size)

    def traffic(self) -> Traffic:
        """Return the counts as a receipt carries them."""
        return Traffic(
            read=self._read,
            written=self.written,
            skipped=self._skipped,
            equal=self._chunks[_Way.EQUAL],
            zero=self._chunks[_Way.ZERO],
            full=self._chunks[_Way.FULL],
        )

    def _advance(self, size: int) -> None:
        self._done += size
        self._progress.advanced(self._done, self._total)
