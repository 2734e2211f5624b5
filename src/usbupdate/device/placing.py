"""One image and the slot's block device that is to hold it, chunk by chunk: look, prove, write, read back.

Everything here may run in several threads at once, each with a chunk of its own; what was seen is noted by one of them.

Source: design, section 4, "Install, per chunk"; docs/adr/0012-the-pipeline.md.
"""

from __future__ import annotations

import hashlib
import threading
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

from usbupdate.core.chunks import zeros
from usbupdate.core.delta import BLOCK
from usbupdate.device.likeness import Likeness
from usbupdate.device.pipeline import Done, unfinished_max
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
        self._expects_zeros = False
        self._holds_all = True
        # The packager can err, or deceive those who approved an image: the chunks must add up to the image that was signed.
        self._whole = hashlib.sha256()
        self._hashed = 0

    def note(self, look: Looked) -> None:
        """Take down what was seen; to be called for each chunk in order, by one thread."""
        if look.looked:
            self._likeness.note(look.chunk, held=look.held)
            self._holds_all &= look.held
        if look.contents is not None and look.chunk.number == self._hashed:
            # Nothing is written there any more: this was its reading back.
            self._hash(look.contents)

    # --- Before anything is written ---------------------------------------------------------------------------------------

    def proofs(self) -> Iterator[Callable[[], Looked]]:
        """Yield what proves the stored bytes of each chunk that the slot lacks; tasks for `in_order`.

        Zeros need no stick. They are looked at in their turn while the slot holds everything, and else by `looking_meanwhile`.
        """
        for chunk in self.supply.index:
            if not chunk.is_zero:
                yield partial(self._proven, chunk, look=self._likeness.should_look(chunk))
            elif self._likeness.is_held(chunk):
                yield Done(Looked(chunk, looked=False, held=True, contents=zeros(chunk.size)[0]))
            elif self._holds_all and self._likeness.should_look(chunk):
                yield partial(self._looked, chunk)

    def _proven(self, chunk: IndexedChunk, *, look: bool) -> Looked:
        looked = self._looked(chunk) if look else Looked(chunk, looked=False, held=False)
        if not looked.held:
            self.supply.prove(chunk)
        return looked

    @contextmanager
    def looking_meanwhile(self, workers: int) -> Iterator[None]:
        """Look for zeros while the stick is read, from the end on; what is left then is looked for when it is placed."""
        if workers == 1:
            yield
            return
        is_over = threading.Event()

        def look() -> None:
            for number in reversed(range(len(self.supply.index))):
                chunk = self.supply.index[number]
                if is_over.is_set():
                    return
                if chunk.is_zero and self._likeness.should_look(chunk):
                    self._likeness.note(chunk, held=self._looked(chunk).held)

        with ThreadPoolExecutor(1, thread_name_prefix="zeros") as pool:
            looking = pool.submit(look)
            try:
                yield
            finally:
                is_over.set()
        looking.result()

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
        if self._likeness.is_held(chunk):
            return Done(Placed(Looked(chunk, looked=False, held=True), None))
        return partial(self._place, chunk, look=self._likeness.should_look(chunk))

    def _place(self, chunk: IndexedChunk, *, look: bool) -> Placed:
        looked = self._looked(chunk) if look else Looked(chunk, looked=False, held=False)
        if looked.held:
            return Placed(looked, None)
        supplied = self.supply.chunk(chunk)
        self.image.write_at(self._start(chunk), supplied.contents)
        return Placed(looked, supplied)

    # --- What it holds ----------------------------------------------------------------------------------------------------

    def reading_back(self, chunk: IndexedChunk) -> Callable[[], ReadBack]:
        """Return what reads back one chunk, unless it was looked at, and nothing was written there since."""
        if chunk.number < self._hashed or (chunk.is_zero and self._likeness.is_held(chunk)):
            return Done(ReadBack(chunk, None))
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

    def _looked(self, chunk: IndexedChunk) -> Looked:
        try:
            held = self._zeros(chunk) if chunk.is_zero else self._held(chunk)
        except SlotReadError:
            # Writing a sector that has become unreadable often mends it; reading back has the last word.
            return Looked(chunk, looked=True, held=False)
        if held is None or (not chunk.is_zero and hashlib.sha256(held).digest() != chunk.digest):
            return Looked(chunk, looked=True, held=False)
        return Looked(chunk, looked=True, held=True, contents=held)

    def _zeros(self, chunk: IndexedChunk) -> bytes | None:
        """Return zeros if the slot holds them; comparing costs a tenth of hashing."""
        known, _ = zeros(chunk.size)
        # Where zeros were found there are likely to be more; elsewhere a block tells.
        size = min(BLOCK, chunk.size)
        if self._expects_zeros or self.image.read_at(self._start(chunk), size) == known[:size]:
            self._expects_zeros = self._held(chunk) == known
            return known if self._expects_zeros else None
        return None

    def _held(self, chunk: IndexedChunk) -> bytes:
        return self.image.read_at(self._start(chunk), chunk.size)

    def _start(self, chunk: IndexedChunk) -> int:
        return chunk.number * self.artifact.chunk_size
