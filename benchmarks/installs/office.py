"""What usbupdate's office makes for a measurement: bundles for one kind of device, and sticks with them."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final

from installs.programs import run

if TYPE_CHECKING:
    from pathlib import Path

USBUPDATE: Final = (sys.executable, "-m", "usbupdate")
COMPATIBLE: Final = "bench,bench"
_ORDER: Final = ("--name", "bench", "--version", "2", "--sequence", "2", "--compatible", COMPATIBLE)


class Office:
    """An office of its own in a folder that is not there yet."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        run(*USBUPDATE, "repo", "init", folder)

    def release(self, image: Path, *more: str | Path) -> None:
        """Make the bundle with an image; `more` are options of `bundle create`."""
        run(*USBUPDATE, "bundle", "create", image, "--repo", self.folder, *_ORDER, *more)

    def write_stick(self, folder: Path, *more: str) -> None:
        """Write a stick; `more` are options of `stick write`."""
        run(*USBUPDATE, "stick", "write", self.folder, folder, *more)

    def close(self) -> None:
        """Remove it."""
        run("rm", "-rf", self.folder)
