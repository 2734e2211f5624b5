"""One installation by usbupdate in a process of its own: what the device does once it trusts a manifest.

Run: python ours.py STICK SLOT [--running FILE] [--no-read-back]
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from usbupdate.core import manifest as manifests
from usbupdate.core.words import SlotClass
from usbupdate.device import installer, placing
from usbupdate.device.installer import Installer
from usbupdate.device.pipeline import WORKERS
from usbupdate.device.slotimages import OpenImage
from usbupdate.device.supply import Base
from usbupdate.medium import DirectoryMedium

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from usbupdate.core.index import IndexedChunk
    from usbupdate.core.receipt import Traffic

ROOTFS = SlotClass("rootfs")


class Nobody:
    """Listens to nothing."""

    def began(self, what: str) -> None:
        """Take no notice."""

    def advanced(self, done_bytes: int, total_bytes: int) -> None:
        """Take no notice."""

    def stopped(self, traffic: Traffic) -> None:
        """Take no notice."""

    def first_write(self) -> None:
        """Take no notice."""


class WithoutReadingBack(placing.Placing):
    """Leaves out what no peer does: reading everything back, and hashing it as one image."""

    def steps(self, workers: int, rest: list[IndexedChunk]) -> Iterator[Callable[[], placing.Placed | placing.ReadBack]]:
        """Yield what places each chunk, and nothing else."""
        del workers, rest
        yield from map(self.placement, self.supply.index)


class _AlwaysRight:
    """Stands for the hash of an image that nobody read back."""

    def __init__(self, sha256: str) -> None:
        self._sha256 = sha256

    def hexdigest(self) -> str:
        """Return what was signed."""
        return self._sha256


def main() -> None:
    """Install, and print what was moved."""
    parser = argparse.ArgumentParser()
    parser.add_argument("stick", type=Path)
    parser.add_argument("slot", type=Path)
    parser.add_argument("--running", type=Path)
    parser.add_argument("--no-read-back", action="store_true")
    given = parser.parse_args()

    (file,) = (given.stick / "usbupdate/targets").iterdir()
    manifest = manifests.decode(file.read_bytes())
    bases = {}
    if given.running:
        image = OpenImage(ROOTFS, os.open(given.running, os.O_RDONLY))
        (delta,) = manifest.artifacts[0].deltas
        bases[ROOTFS] = Base(delta, image)
    if given.no_read_back:
        installer.Placing = WithoutReadingBack  # type: ignore[misc]
        right = _AlwaysRight(manifest.artifacts[0].image.sha256)
        installer.hashlib = type(
            "hashlib", (), {"sha256": staticmethod(lambda *data: hashlib.sha256(*data) if data else right)}
        )  # type: ignore[assignment]
    slot = OpenImage(ROOTFS, os.open(given.slot, os.O_RDWR), direct=True)
    medium = DirectoryMedium(given.stick)
    with medium.kept_open():
        work = Installer(manifest, medium, {ROOTFS: slot}, bases, WORKERS)
        work.verify(Nobody())
        moved = work.install(Nobody())
    slot.close()
    print(json.dumps(asdict(moved)))


if __name__ == "__main__":
    main()
