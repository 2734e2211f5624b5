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
from usbupdate.errors import ReadBackError, SlotReadError

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
    """Whether the slot was read for a chunk, and whether it held it."""

    chunk: IndexedChunk
    looked: bool
    held: bool


@dataclass(frozen=True, slots=True)
class Placed:
    """A chunk that the slot holds now: `supplied` says what was written for it, or is None if it held it before."""

    look: Looked
    supplied: Supplied | None


@dataclass(frozen=True, slots=True)
class ReadBack:
    """What the slot's device holds of a chunk, not compared with anything."""

    chunk: IndexedChunk
    contents: bytes


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

    def note(self, look: Looked) -> None:
        """Take down what was seen; to be called for each chunk in order, by one thread."""
        if look.looked:
            self._likeness.note(look.chunk, held=look.held)

    # --- Before anything is written ---------------------------------------------------------------------------------------

    def proofs(self) -> Iterator[Callable[[], Looked]]:
        """Yield what proves the stored bytes of each chunk that the slot lacks; tasks for `in_order`."""
        for chunk in self.supply.index:
            # Deltas are small, and a chunk of zeros needs no stick: neither is worth a look now.
            is_looked_for = not chunk.is_zero and not self.supply.has_base and self._likeness.should_look(chunk)
            yield partial(self._proven, chunk, look=is_looked_for)

    def _proven(self, chunk: IndexedChunk, *, look: bool) -> Looked:
        held = look and self._is_held(chunk)
        if not held:
            self.supply.prove(chunk)
        return Looked(chunk, look, held)

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
                yield partial(self.read_back, durable.popleft())
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
        if held or (look and self._is_held(chunk)):
            return Placed(Looked(chunk, look, held=True), None)
        supplied = self.supply.chunk(chunk)
        self.image.write_at(self._start(chunk), supplied.contents)
        return Placed(Looked(chunk, look, held=False), supplied)

    # --- What it holds ----------------------------------------------------------------------------------------------------

    def read_back(self, chunk: IndexedChunk) -> ReadBack:
        """Return what the slot's device holds of a chunk."""
        return ReadBack(chunk, self._held(chunk))

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

    def _is_held(self, chunk: IndexedChunk) -> bool:
        try:
            held = self._held(chunk)
        except SlotReadError:
            # Writing a sector that has become unreadable often mends it; reading back has the last word.
            return False
        # Comparing costs a tenth of hashing.
        return held == zeros(chunk.size)[0] if chunk.is_zero else hashlib.sha256(held).digest() == chunk.digest

    def _held(self, chunk: IndexedChunk) -> bytes:
        return self.image.read_at(self._start(chunk), chunk.size)

    def _start(self, chunk: IndexedChunk) -> int:
        return chunk.number * self.artifact.chunk_size
