"""From a verified manifest to a slot that holds its images: only proven bytes are written, only those that are missing.

What is left to the caller: the manifest comes from verified targets metadata, the slot is condemned by the boot loader before
`install` is called, and the state that says so is saved.

Source: design, section 4, "Install, per chunk".
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Protocol

from usbupdate.core.fit import require_fits
from usbupdate.core.receipt import Traffic
from usbupdate.device.supply import NO_BASES, Base, Supplied, Supply, Way, preflight
from usbupdate.errors import ImageDiffersError, ReadBackError, SlotReadError, UsbupdateError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from usbupdate.core.index import Index, IndexedChunk
    from usbupdate.core.layout import MediumReader
    from usbupdate.core.manifest import Artifact, Manifest
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


def verify_lacking(
    manifest: Manifest,
    medium: MediumReader,
    images: Mapping[SlotClass, SlotImage],
    bases: Mapping[SlotClass, Base] = NO_BASES,
    *,
    progress: Advance,
) -> None:
    """Prove the stored bytes of every chunk that a slot lacks, before anything is changed and without decompressing.

    So a damaged or dishonest stick leaves the other slot as it is (ADR 0006). `install` does not rely on it: a stick may give
    other bytes at the second reading. A delta is proven whole without a look at the slot, for it is small.

    Raises:
        DeltaOnlyError: the stick holds nothing but deltas, and none for what this device runs.
        RejectedError: the stick lacks something or holds something else.
        MediumError: the stick could not be read.
    """
    progress.began("verifying")
    preflight(manifest, medium, bases)
    done, total = 0, sum(artifact.image.size for artifact in manifest.artifacts)
    for artifact in manifest.artifacts:
        base = bases.get(artifact.slot_class)
        supply, image = Supply(artifact, medium, base), images[artifact.slot_class]
        for chunk in supply.index:
            if base is not None or not _is_held(image, artifact, chunk):
                supply.prove(chunk)
            done += chunk.size
            progress.advanced(done, total)


def install(
    manifest: Manifest,
    medium: MediumReader,
    images: Mapping[SlotClass, SlotImage],
    bases: Mapping[SlotClass, Base] = NO_BASES,
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
        bases: what the device runs, for the slot classes for which the release brings a delta from it.
        progress: is told; its `total_bytes` counts each image twice, once for writing and once for reading back.

    Returns:
        What was moved.

    Raises:
        RefusedError: the release does not fit into the slot, or the stick not to what runs; nothing was written.
        RejectedError: the stick lacks something or holds something else; nothing of that was written.
        MediumError: the stick could not be read, or holds deltas only and the device no longer runs what they are for.
        SlotError: the slot could not be written, or did not keep what was written.
    """
    # 1. Everything that can be known beforehand, so that a stick or a slot which cannot do changes nothing.
    require_fits(manifest, {slot_class: image.size for slot_class, image in images.items()})
    progress.began("installing")
    tally = _Tally(progress, total=2 * sum(artifact.image.size for artifact in manifest.artifacts))
    try:
        tally.read(preflight(manifest, medium, bases))
        for artifact in manifest.artifacts:
            _install(artifact, medium, images[artifact.slot_class], bases.get(artifact.slot_class), tally)
    except UsbupdateError:
        progress.stopped(tally.traffic())
        raise
    return tally.traffic()


def _install(artifact: Artifact, medium: MediumReader, image: SlotImage, base: Base | None, tally: _Tally) -> None:
    # 2. One index at a time, proven anew: it is kept as one `bytes` from here on.
    supply = Supply(artifact, medium, base)
    tally.read(supply.read)

    # 3. What the slot lacks.
    for chunk in supply.index:
        if _is_held(image, artifact, chunk):
            tally.held(chunk)
            continue
        supplied = supply.chunk(chunk)
        image.write_at(chunk.number * artifact.chunk_size, supplied.contents)
        if not tally.written:
            image.sync()
            tally.first_write()
        tally.wrote(supplied)

    # 4. What the device kept, not what memory remembers.
    image.sync()
    image.drop_cache()
    _require_kept(artifact, supply.index, image, tally)


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


class _Tally:
    """What one installation has moved so far."""

    def __init__(self, progress: Progress, *, total: int) -> None:
        self._progress = progress
        self._total = total
        self._done = 0
        self._read = 0
        self.written = 0
        self._skipped = 0
        self._chunks = dict.fromkeys(Way, 0)

    def first_write(self) -> None:
        """Say that a chunk which the slot lacked is durable."""
        self._progress.first_write()

    def read(self, size: int) -> None:
        """Count bytes from the stick."""
        self._read += size

    def held(self, chunk: IndexedChunk) -> None:
        """Count a chunk that the slot held already."""
        self._chunks[Way.EQUAL] += 1
        self._skipped += chunk.size
        self._advance(chunk.size)

    def wrote(self, supplied: Supplied) -> None:
        """Count a chunk that was written."""
        self._chunks[supplied.way] += 1
        self.written += len(supplied.contents)
        self._read += supplied.read
        self._advance(len(supplied.contents))

    def read_back(self, chunk: IndexedChunk) -> None:
        """Count a chunk that was read back and compared."""
        self._advance(chunk.size)

    def traffic(self) -> Traffic:
        """Return the counts as a receipt carries them."""
        return Traffic(
            read=self._read,
            written=self.written,
            skipped=self._skipped,
            equal=self._chunks[Way.EQUAL],
            zero=self._chunks[Way.ZERO],
            delta=self._chunks[Way.DELTA],
            full=self._chunks[Way.FULL],
        )

    def _advance(self, size: int) -> None:
        self._done += size
        self._progress.advanced(self._done, self._total)
