"""The slot that an installation finds, and whether it holds the image afterwards."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

_BLOCK: Final = 4096
_PIECE: Final = 1 << 20
BEFORE: Final = b"\xaa"
"""What every byte of a slot is before: nothing of an image is there already, not even its zeros."""


def lay_down(slot: Path, size: int) -> None:
    """Make a slot that holds nothing of any image and has its place on the disk, as a partition has."""
    piece = BEFORE * _PIECE
    with slot.open("r+b" if slot.exists() else "wb") as file:
        file.truncate(size)
        for start in range(0, size, _PIECE):
            file.write(piece[: size - start])
        os.fsync(file.fileno())


def holds(slot: Path, image: Path, *, unused_left: bool) -> bool:
    """Tell whether a slot begins with an image.

    Args:
        slot: what was written.
        image: what it has to hold.
        unused_left: blocks of zeros may be as they were before.
    """
    zeros, before = bytes(_BLOCK), BEFORE * _BLOCK
    with slot.open("rb") as held, image.open("rb") as wanted:
        while piece := wanted.read(_PIECE):
            found = held.read(len(piece))
            if found == piece:
                continue
            if not unused_left or len(found) != len(piece):
                return False
            for start in range(0, len(piece), _BLOCK):
                have, want = found[start : start + _BLOCK], piece[start : start + _BLOCK]
                if have != want and (have, want) != (before, zeros):
                    return False
    return True
