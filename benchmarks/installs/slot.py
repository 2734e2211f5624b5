"""The slot that an installation finds, and whether it holds the image afterwards."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

_PIECE: Final = 1 << 20


def lay_down(slot: Path, size: int) -> None:
    """Make an erased slot that has its place on the disk, as a partition has.

    Of zeros: so those who leave out zeros, or what a file system does not use, leave the same behind as those who write all.
    """
    with slot.open("r+b" if slot.exists() else "wb") as file:
        file.truncate(size)
        for start in range(0, size, _PIECE):
            file.write(bytes(min(_PIECE, size - start)))
        os.fsync(file.fileno())


def holds(slot: Path, image: Path) -> bool:
    """Tell whether a slot begins with an image."""
    with slot.open("rb") as held, image.open("rb") as wanted:
        while piece := wanted.read(_PIECE):
            if held.read(len(piece)) != piece:
                return False
    return True
