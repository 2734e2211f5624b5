"""Whether it is worth while to look at what a slot holds already: that takes time too, and often it holds another release.

Source: docs/adr/0012-the-pipeline.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from usbupdate.core.index import Index, IndexedChunk

_PATIENCE: Final = 16
"""Chunks in a row that were looked at in vain, before looking becomes rare."""
_ONE_IN: Final = 8
"""Of the chunks after that, one in so many is looked at."""

_UNKNOWN, _HELD, _OTHER = range(3)


class Likeness:
    """What was seen of one slot in comparison with the chunks of one image that have contents.

    What is answered depends on what was noted before, and on nothing else: whoever asks and notes in the same order gets the
    same answers.
    """

    def __init__(self, index: Index) -> None:
        self._seen = bytearray(len(index))
        self._in_vain = 0
        self._passed_by = 0

    def is_held(self, chunk: IndexedChunk) -> bool:
        """Tell whether the slot was seen to hold a chunk."""
        return self._seen[chunk.number] == _HELD

    def should_look(self, chunk: IndexedChunk) -> bool:
        """Tell whether the slot should be read for a chunk; to be asked once for each, in their order."""
        if self._seen[chunk.number] != _UNKNOWN:
            return False
        if self._in_vain < _PATIENCE:
            return True
        self._passed_by += 1
        if self._passed_by % _ONE_IN == 0:
            return True
        self._seen[chunk.number] = _OTHER
        return False

    def note(self, chunk: IndexedChunk, *, held: bool) -> None:
        """Take down what a look at the slot showed."""
        self._seen[chunk.number] = _HELD if held else _OTHER
        self._in_vain = 0 if held else self._in_vain + 1
