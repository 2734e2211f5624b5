"""From a verified manifest to a slot that holds its images: only proven bytes are written, only those that are missing.

What is left to the caller: the manifest comes from verified targets metadata, the slot is condemned by the boot loader before
`Installer.install` is called, and the state that says so is saved.

Source: design, section 4, "Install, per chunk".
"""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Final, Protocol

from usbupdate.core.chunks import unpack_here
from usbupdate.core.fit import require_fits
from usbupdate.core.receipt import Traffic
from usbupdate.device.pipeline import PIECES, in_order
from usbupdate.device.placing import Placing, ReadBack, Wrote
from usbupdate.device.supply import NO_BASES, Base, Way, open_supplies
from usbupdate.errors import UsbupdateError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from usbupdate.core.index import IndexedChunk
    from usbupdate.core.layout import MediumReader
    from usbupdate.core.manifest import Manifest
    from usbupdate.core.unpack import Unpack
    from usbupdate.core.words import SlotClass
    from usbupdate.device.ports import SlotImage


_CHUNKS_MAX: Final = 24 << 20
"""Bytes of chunks in memory at the same time; one thread works even where its chunks alone are more."""


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


class Installer:
    """The installation of one release from one stick into one slot, whose block devices stay open and exclusive meanwhile.

    Args:
        manifest: from verified targets metadata.
        medium: the stick.
        images: one block device, open, for each slot class of the device.
        bases: what the device runs, for the slot classes for which the release brings a delta from it.
        workers: how many chunks are worked on at once.
        unpack: takes frames apart; what it returns is proven.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - what an installation is made of; the last two have a usual value
        self,
        manifest: Manifest,
        medium: MediumReader,
        images: Mapping[SlotClass, SlotImage],
        bases: Mapping[SlotClass, Base] = NO_BASES,
        workers: int = 1,
        unpack: Unpack = unpack_here,
    ) -> None:
        self._manifest = manifest
        self._medium = medium
        self._images = images
        self._bases = bases
        self._workers = workers
        self._unpack = unpack
        self._placings: list[Placing] = []

    def verify(self, progress: Advance) -> None:
        """Prove the stored bytes of every chunk that the slot lacks, before anything is changed and without decompressing.

        So a damaged or dishonest stick leaves the other slot as it is (ADR 0006). `install` does not rely on it: a stick may
        give other bytes at the second reading. With a base, what is proven of a chunk is its delta; that the base still is what
        it was is not asked here (ADR 0011).

        Raises:
            DeltaOnlyError: the stick holds nothing but deltas, and none for what this device runs.
            RejectedError: the stick lacks something or holds something else.
            MediumError: the stick could not be read.
        """
        progress.began("verifying")
        done, total = 0, self._image_bytes()
        for placing in self._opened():
            before, size = done, placing.artifact.image.size
            workers = self._workers_for(placing)
            with placing.looking_meanwhile(workers), closing(in_order(placing.proofs(), workers)) as proofs:
                for proven in proofs:
                    placing.note(proven)
                    # Where it stands in the image: zeros are passed over.
                    done = before + min((proven.chunk.number + 1) * placing.artifact.chunk_size, size)
                    progress.advanced(done, total)
            if done < before + size:
                done = before + size
                progress.advanced(done, total)

    def install(self, progress: Progress) -> Traffic:
        """Make the slot hold the release, and prove that it does by reading everything back.

        No byte is written that was not proven against the manifest just before. Bytes of a block device beyond its image are
        left alone. Another `Installer` may do it again after any error or cut, with the same stick or another: what the slot
        already holds is kept.

        Args:
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
        require_fits(self._manifest, {slot_class: image.size for slot_class, image in self._images.items()})
        progress.began("installing")
        tally = _Tally(progress, total=2 * self._image_bytes())
        try:
            placings, self._placings = self._opened(), []
            for placing in placings:
                tally.read(placing.supply.read)
                _install(placing, tally, self._workers_for(placing))
        except UsbupdateError:
            progress.stopped(tally.traffic())
            raise
        return tally.traffic()

    def _opened(self) -> list[Placing]:
        """Return each image with what is known of where it goes; every index is proven once and kept as it was then."""
        if not self._placings:
            supplies = open_supplies(self._manifest, self._medium, self._bases, self._unpack)
            self._placings = [Placing(artifact, supply, self._images[artifact.slot_class]) for artifact, supply in supplies]
        return self._placings

    def _workers_for(self, placing: Placing) -> int:
        """Return how many may work at once: chunks of very large images are large too."""
        return max(1, min(self._workers, _CHUNKS_MAX // (PIECES * placing.artifact.chunk_size)))

    def _image_bytes(self) -> int:
        return sum(artifact.image.size for artifact in self._manifest.artifacts)


def _install(placing: Placing, tally: _Tally, workers: int) -> None:
    # 2. What the slot lacks; and meanwhile, what it kept of that.
    with closing(in_order(placing.steps(workers), workers)) as steps:
        for step in steps:
            if isinstance(step, ReadBack):
                placing.take(step)
                tally.read_back(step.chunk)
                continue
            placing.note(step.look)
            if step.wrote is None:
                tally.held(step.look.chunk)
                continue
            if not tally.has_written:
                placing.image.sync()
                tally.first_write()
            tally.wrote(step.wrote)

    # 3. The rest of what it kept, as the device has it and not as memory remembers.
    placing.image.sync()
    with closing(in_order(placing.rest(), workers)) as rest:
        for back in rest:
            placing.take(back)
            tally.read_back(back.chunk)
    placing.require_whole()


class _Tally:
    """What one installation has moved so far."""

    def __init__(self, progress: Progress, *, total: int) -> None:
        self._progress = progress
        self._total = total
        self._done = 0
        self._read = 0
        self._written = 0
        self._skipped = 0
        self._chunks = dict.fromkeys(Way, 0)

    @property
    def has_written(self) -> bool:
        """Whether a chunk that the slot lacked was counted."""
        return self._written > 0

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

    def wrote(self, wrote: Wrote) -> None:
        """Count a chunk that was written."""
        self._chunks[wrote.way] += 1
        self._written += wrote.size
        self._read += wrote.read
        self._advance(wrote.size)

    def read_back(self, chunk: IndexedChunk) -> None:
        """Count a chunk that was read back and compared."""
        self._advance(chunk.size)

    def traffic(self) -> Traffic:
        """Return the counts as a receipt carries them."""
        return Traffic(
            read=self._read,
            written=self._written,
            skipped=self._skipped,
            equal=self._chunks[Way.EQUAL],
            zero=self._chunks[Way.ZERO],
            delta=self._chunks[Way.DELTA],
            full=self._chunks[Way.FULL],
        )

    def _advance(self, size: int) -> None:
        self._done += size
        self._progress.advanced(self._done, self._total)
