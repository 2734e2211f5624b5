"""One image and the slot's block device that is to hold it, chunk by chunk: look, prove, write, read back.

What is yielded here are tasks, which may run in several threads at once, each with a chunk of its own. Whoever takes their
results asks for the tasks and notes what was seen, in one thread and in the order of the image.

Source: design, section 4, "Install, per chunk"; docs/adr/0012-the-pipeline.md.
"""

from __future__ import annotations

import hashlib
from collections import deque
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

from usbupdate.core.index import zeros
from usbupdate.device.likeness import Likeness
from usbupdate.device.pipeline import Done, unfinished_max
from usbupdate.device.zeros import HeldZeros
from usbupdate.errors import ImageDiffersError, ReadBackError, SlotError, SlotReadError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from typing import NoReturn

    from usbupdate.core.index import IndexedChunk
    from usbupdate.core.manifest import Artifact
    from usbupdate.device.ports import SlotImage
    from usbupdate.device.supply import Supply, Way

_SEGMENT: Final = 32 << 20
"""Bytes between two syncs: what was written before the last but one is read back while more is written."""


@dataclass(frozen=True, slots=True)
class Looked:
    """What was seen of a chunk in the slot: `contents` are the chunk's, where the slot was read and holds it."""

    chunk: IndexedChunk
    was_read: bool
    contents: bytes | None = None


@dataclass(frozen=True, slots=True)
class Wrote:
    """What was written for a chunk: how it was obtained, for how many bytes from the stick, and how many bytes it has."""

    way: Way
    read: int
    size: int


@dataclass(frozen=True, slots=True)
class Placed:
    """A chunk that the slot holds now: `wrote` says what was written for it, or is None if it held it before."""

    look: Looked
    wrote: Wrote | None


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
        self._zeros = HeldZeros(supply.index, artifact.chunk_size, image)
        self._lacks_something = False
        self._rest: list[IndexedChunk] = []
        # The packager can err, or deceive those who approved an image: the chunks must add up to the image that was signed.
        self._whole = hashlib.sha256()
        self._hashed = 0

    def note(self, look: Looked) -> None:
        """Take down what was seen of a chunk."""
        if not look.was_read:
            return
        if not look.chunk.is_zero:
            self._likeness.note(look.chunk, held=look.contents is not None)
        if look.contents is None:
            self._lacks_something = True
            self._zeros.seek()
        elif look.chunk.number == self._hashed:
            # Nothing is written there any more: this was its reading back.
            self._hash(look.contents)

    # --- Before anything is written ---------------------------------------------------------------------------------------

    def proofs(self) -> Iterator[Callable[[], Looked]]:
        """Yield what proves the stored bytes of each chunk that the slot lacks.

        Zeros need no stick. They are looked at in their turn while the slot holds everything, and else by `looking_meanwhile`.
        """
        for chunk in self.supply.index:
            if self._likeness.is_held(chunk):
                continue
            if not chunk.is_zero:
                yield partial(self._proven, chunk, look=self._likeness.should_look(chunk))
            elif not self._lacks_something:
                yield partial(self._looked, chunk)

    def _proven(self, chunk: IndexedChunk, *, look: bool) -> Looked:
        looked = self._looked(chunk) if look else Looked(chunk, was_read=False)
        if looked.contents is None:
            self.supply.prove(chunk)
        return looked

    def looking_meanwhile(self, workers: int) -> AbstractContextManager[None]:
        """Look for zeros beside the proofs, which wait for the stick; what is left then is looked for when it is placed."""
        return nullcontext() if workers == 1 else self._zeros.sought_meanwhile()

    # --- Writing ----------------------------------------------------------------------------------------------------------

    def steps(self, workers: int) -> Iterator[Callable[[], Placed | ReadBack]]:
        """Yield what places each chunk, and what reads back those that are durable.

        Args:
            workers: as `in_order` will be given.
        """
        segment = max(_SEGMENT // self.artifact.chunk_size, unfinished_max(workers) + 1)
        durable: deque[IndexedChunk] = deque()
        written: list[IndexedChunk] = []
        being_written: list[IndexedChunk] = []
        for chunk in self.supply.index:
            yield self.placement(chunk)
            if durable:
                yield self._reading_back(durable.popleft())
            being_written.append(chunk)
            if len(being_written) == segment:
                # Tasks that lie a segment back are finished; those of this one need not be.
                try:
                    self.image.sync()
                except SlotError as error:
                    # In its turn: what became of the tasks before it comes first.
                    yield partial(_fail, error)
                    return
                durable.extend(written)
                written, being_written = being_written, []
        self._rest = [*durable, *written, *being_written]

    def rest(self) -> Iterator[Callable[[], ReadBack]]:
        """Yield what reads back the chunks that `steps` has left; for when all of its tasks are done and synced."""
        return map(self._reading_back, self._rest)

    def placement(self, chunk: IndexedChunk) -> Callable[[], Placed]:
        """Return what places one chunk."""
        seen = self._zeros.were_seen(chunk) if chunk.is_zero else self._likeness.is_held(chunk)
        if seen:
            return Done(Placed(Looked(chunk, was_read=False), None))
        return partial(self._place, chunk, look=chunk.is_zero or self._likeness.should_look(chunk))

    def _place(self, chunk: IndexedChunk, *, look: bool) -> Placed:
        looked = self._looked(chunk) if look else Looked(chunk, was_read=False)
        if looked.contents is not None:
            return Placed(looked, None)
        supplied = self.supply.chunk(chunk)
        self.image.write_at(self._start(chunk), supplied.contents)
        return Placed(looked, Wrote(supplied.way, supplied.read, len(supplied.contents)))

    # --- What it holds ----------------------------------------------------------------------------------------------------

    def take(self, back: ReadBack) -> None:
        """Take down what was read back."""
        if back.chunk.number == self._hashed:
            self._hash(zeros(back.chunk.size)[0] if back.contents is None else back.contents)

    def require_whole(self) -> None:
        """Return only if what was read back is the image that was signed.

        Raises:
            ReadBackError: the slot did not keep what was written.
            SlotReadError: it gave other bytes at two readings.
            ImageDiffersError: it kept all chunks, and they are those of another image.
        """
        if self._whole.hexdigest() != self.artifact.image.sha256:
            self._require_kept()
            raise ImageDiffersError(slot_class=self.artifact.slot_class)

    def _require_kept(self) -> None:
        """Raise if it is the slot's fault that it does not hold the image; return if the office signed other chunks."""
        whole = hashlib.sha256()
        for chunk in self.supply.index:
            contents = self._held(chunk)
            if hashlib.sha256(contents).digest() != chunk.digest:
                raise ReadBackError(slot_class=self.artifact.slot_class, chunk=chunk.number)
            whole.update(contents)
        if whole.hexdigest() == self.artifact.image.sha256:
            raise SlotReadError(slot_class=self.artifact.slot_class, problem="it gave other bytes at two readings")

    def _reading_back(self, chunk: IndexedChunk) -> Callable[[], ReadBack]:
        """Return what reads back one chunk, unless it was looked at, and nothing was written there since."""
        if chunk.number < self._hashed or (chunk.is_zero and self._zeros.were_seen(chunk)):
            return Done(ReadBack(chunk, None))
        return partial(self._read_back, chunk)

    def _read_back(self, chunk: IndexedChunk) -> ReadBack:
        return ReadBack(chunk, self._held(chunk))

    def _hash(self, contents: bytes) -> None:
        self._whole.update(contents)
        self._hashed += 1

    def _looked(self, chunk: IndexedChunk) -> Looked:
        if chunk.is_zero:
            found = zeros(chunk.size)[0] if self._zeros.are_there(chunk) else None
            return Looked(chunk, was_read=True, contents=found)
        try:
            held = self._held(chunk)
        except SlotReadError:
            # Writing a sector that has become unreadable often mends it; reading back has the last word.
            return Looked(chunk, was_read=True)
        return Looked(chunk, was_read=True, contents=held if hashlib.sha256(held).digest() == chunk.digest else None)

    def _held(self, chunk: IndexedChunk) -> bytes:
        return self.image.read_at(self._start(chunk), chunk.size)

    def _start(self, chunk: IndexedChunk) -> int:
        return chunk.number * self.artifact.chunk_size


def _fail(error: SlotError) -> NoReturn:
    raise error
