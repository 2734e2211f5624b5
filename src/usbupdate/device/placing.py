"""One image and the slot's block device that is to hold it, chunk by chunk: look, prove, write, read back.

Everything here may run in several threads at once, each with a chunk of its own; what was seen is noted by one of them.

Source: design, section 4, "Install, per chunk"; docs/adr/0012-the-pipeline.md.
"""

from __future__ import annotations

import hashlib
from collections import deque
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

from usbupdate.core.chunks import zeros
from usbupdate.device.likeness import Likeness
from usbupdate.device.pipeline import unfinished_max
from usbupdate.errors import ImageDiffersError, ReadBackError, SlotReadError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from usbupdate.core.index import IndexedChunk
    from usbupdate.core.manifest import Artifact
    from usbupdate.device.ports import SlotImage
    from usbupdate.device.supply import Supplied, Supply

_SEGMENT: Final = 32 << 20
"""Bytes between two syncs: what was written before the last but one is read back while more is written."""


@dataclass(frozen=True, slots=True)
class Looked:
    """Whether the slot was read for a chunk, and whether it held it; `contents` are what was read, if that is the chunk."""

    chunk: IndexedChunk
    looked: bool
    held: bool
    contents: bytes | None = None


@dataclass(frozen=True, slots=True)
class Placed:
    """A chunk that the slot holds now: `supplied` says what was written for it, or is None if it held it before."""

    look: Looked
    supplied: Supplied | None


@dataclass(frozen=True, slots=True)
class ReadBack:
    """What the slot's device holds of a chunk, not compared with anything; None where that is known and hashed already."""

    chunk: IndexedChunk
    contents: bytes | None


class Placing:
    """The way of one image into one block device.

    Args:
        artifact: the image.
        supply: its chunks.
        image: the block device.
    """

    def __init__(self, artifact: Artifact, supply: Supply, image: SlotImage) -> None:
        self.artifact = artifact
        self.supply = supply
        self.image = image
        self._likeness = Likeness(supply.index)
        # The packager can err, or deceive those who approved an image: the chunks must add up to the image that was signed.
        self._whole = hashlib.sha256()
        self._hashed = 0

    def note(self, look: Looked) -> None:
        """Take down what was seen; to be called for each chunk in order, by one thread."""
        if look.looked:
            self._likeness.note(look.chunk, held=look.held)
        if look.contents is not None and look.chunk.number == self._hashed:
            # Nothing is written there any more: this was its reading back.
            self._hash(look.contents)

    # --- Before anything is written ---------------------------------------------------------------------------------------

    def proofs(self) -> Iterator[Callable[[], Looked]]:
        """Yield what proves the stored bytes of each chunk that the slot lacks; tasks for `in_order`."""
        for chunk in self.supply.index:
            yield partial(self._proven, chunk, look=self._likeness.should_look(chunk))

    def _proven(self, chunk: IndexedChunk, *, look: bool) -> Looked:
        held = self._found(chunk) if look else None
        if held is None:
            self.supply.prove(chunk)
        return Looked(chunk, look, held is not None, held)

    # --- Writing ----------------------------------------------------------------------------------------------------------

    def steps(self, workers: int, rest: list[IndexedChunk]) -> Iterator[Callable[[], Placed | ReadBack]]:
        """Yield what places each chunk, and what reads back those that are durable; tasks for `in_order`.

        Args:
            workers: as `in_order` will be given.
            rest: takes the chunks that are placed by these tasks and not read back by them, in order.
        """
        segment = max(_SEGMENT // self.artifact.chunk_size, unfinished_max(workers) + 1)
        durable: deque[IndexedChunk] = deque()
        written: list[IndexedChunk] = []
        being_written: list[IndexedChunk] = []
        for chunk in self.supply.index:
            yield self.placement(chunk)
            if durable:
                yield self.reading_back(durable.popleft())
            being_written.append(chunk)
            if len(being_written) == segment:
                # Tasks that lie a segment back are finished; those of this one need not be.
                self.image.sync()
                durable.extend(written)
                written, being_written = being_written, []
        rest += [*durable, *written, *being_written]

    def placement(self, chunk: IndexedChunk) -> Callable[[], Placed]:
        """Return what places one chunk; to be asked for each in order, by one thread."""
        return partial(self._place, chunk, look=self._likeness.should_look(chunk), held=self._likeness.is_held(chunk))

    def _place(self, chunk: IndexedChunk, *, look: bool, held: bool) -> Placed:
        if held:
            return Placed(Looked(chunk, look, held=True), None)
        if look and (found := self._found(chunk)) is not None:
            return Placed(Looked(chunk, look, held=True, contents=found), None)
        supplied = self.supply.chunk(chunk)
        self.image.write_at(self._start(chunk), supplied.contents)
        return Placed(Looked(chunk, look, held=False), supplied)

    # --- What it holds ----------------------------------------------------------------------------------------------------

    def reading_back(self, chunk: IndexedChunk) -> Callable[[], ReadBack]:
        """Return what reads back one chunk, unless it was looked at, and nothing was written there since."""
        if chunk.number < self._hashed or (chunk.is_zero and self._likeness.is_held(chunk)):
            return partial(ReadBack, chunk, None)
        return partial(self._read_back, chunk)

    def _read_back(self, chunk: IndexedChunk) -> ReadBack:
        return ReadBack(chunk, self._held(chunk))

    def take(self, back: ReadBack) -> None:
        """Take down what was read back; to be called for each chunk in order, by one thread."""
        if back.chunk.number == self._hashed:
            self._hash(zeros(back.chunk.size)[0] if back.contents is None else back.contents)

    def _hash(self, contents: bytes) -> None:
        self._whole.update(contents)
        self._hashed += 1

    def require_whole(self) -> None:
        """Return only if what was read back is the image that was signed.

        Raises:
            ReadBackError: the slot did not keep what was written.
            SlotReadError: it gave other bytes at two readings.
            ImageDiffersError: it kept all chunks, and they are those of another image.
        """
        if self._whole.hexdigest() != self.artifact.image.sha256:
            self.require_kept()
            raise ImageDiffersError(slot_class=self.artifact.slot_class)

    def require_kept(self) -> None:
        """Return only if every chunk is as it was written, and if that is not what the image is.

        To be asked where the chunks that were read back do not add up to the image: to tell whose fault it is.

        Raises:
            ReadBackError: a chunk is not what was written.
            SlotReadError: the device gives the image now, and gave other bytes before.
        """
        whole = hashlib.sha256()
        for chunk in self.supply.index:
            contents = self._held(chunk)
            if hashlib.sha256(contents).digest() != chunk.digest:
                raise ReadBackError(slot_class=self.artifact.slot_class, chunk=chunk.number)
            whole.update(contents)
        if whole.hexdigest() == self.artifact.image.sha256:
            raise SlotReadError(slot_class=self.artifact.slot_class, problem="it gave other bytes at two readings")

    def _found(self, chunk: IndexedChunk) -> bytes | None:
        """Return what the slot holds in the place of a chunk, if it is the chunk."""
        try:
            held = self._held(chunk)
        except SlotReadError:
            # Writing a sector that has become unreadable often mends it; reading back has the last word.
            return None
        if chunk.is_zero:
            # Comparing costs a tenth of hashing; and of zeros one copy is enough.
            known, _ = zeros(chunk.size)
            return known if held == known else None
        return held if hashlib.sha256(held).digest() == chunk.digest else None

    def _held(self, chunk: IndexedChunk) -> bytes:
        return self.image.read_at(self._start(chunk), chunk.size)

    def _start(self, chunk: IndexedChunk) -> int:
        return chunk.number * self.artifact.chunk_size
