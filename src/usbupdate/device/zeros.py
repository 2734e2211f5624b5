"""Which of an image's chunks of zeros a slot holds already: they are a third of many an image, and need no stick.

Source: docs/adr/0012-the-pipeline.md.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from usbupdate.core.delta import BLOCK
from usbupdate.core.index import zeros
from usbupdate.device.pipeline import threads
from usbupdate.errors import SlotReadError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from usbupdate.core.index import Index, IndexedChunk
    from usbupdate.device.ports import SlotImage

_UNKNOWN, _HELD, _OTHER = range(3)


class HeldZeros:
    """What the slot was seen to hold in the place of each chunk of zeros. Any thread may ask.

    Args:
        index: of the image.
        chunk_size: in bytes.
        image: the slot's block device. Nobody writes in the place of a chunk before he has asked for it here.
    """

    def __init__(self, index: Index, chunk_size: int, image: SlotImage) -> None:
        self._index = index
        self._chunk_size = chunk_size
        self._image = image
        self._seen = bytearray(len(index))
        # A hint, which threads may overwrite for each other: it decides how is looked, never what is found.
        self._expected = False
        self._begin = threading.Event()

    def were_seen(self, chunk: IndexedChunk) -> bool:
        """Tell whether the slot is known to hold this chunk; asks no device."""
        return self._seen[chunk.number] == _HELD

    def are_there(self, chunk: IndexedChunk) -> bool:
        """Tell whether the slot holds this chunk; the device is asked where that is not known yet."""
        if self._seen[chunk.number] == _UNKNOWN:
            self._seen[chunk.number] = _HELD if self._look(chunk) else _OTHER
        return self.were_seen(chunk)

    def seek(self) -> None:
        """Let the thread of `sought_meanwhile` begin."""
        self._begin.set()

    @contextmanager
    def sought_meanwhile(self) -> Iterator[None]:
        """Look in a thread of its own, from the end of the image on, from when `seek` is called until this context ends."""
        is_over = False

        def look() -> None:
            self._begin.wait()
            for number in reversed(range(len(self._index))):
                chunk = self._index[number]
                if is_over:
                    return
                if chunk.is_zero:
                    self.are_there(chunk)

        with threads(1, "zeros") as pool:
            # Where there is no thread for it, they are looked at when their turn comes.
            seeking = None if pool is None else pool.submit(look)
            try:
                yield
            finally:
                is_over = True
                self._begin.set()
        # On a busy machine it may never have begun: then there is nothing to tell.
        if seeking is not None and not seeking.cancelled():
            seeking.result()

    def _look(self, chunk: IndexedChunk) -> bool:
        start, (wanted, _) = chunk.number * self._chunk_size, zeros(chunk.size)
        first = min(BLOCK, chunk.size)
        try:
            # Where zeros were found there are likely to be more; anything else shows in its first block.
            if self._expected or self._image.read_at(start, first) == wanted[:first]:
                self._expected = self._image.read_at(start, chunk.size) == wanted
                return self._expected
        except SlotReadError:
            # Writing a sector that has become unreadable often mends it.
            self._expected = False
        return False
